//! Credentials of a `hello`: tokens as other threads check them, tickets as a worker opens them.
//!
//! The fuzzer's corpus for them is a script of changes; what is compared here is a good token.

use std::hint::black_box;
use std::time::Duration;

use ringpost_server::auth::{TicketKey, TicketSecrets, TokenRules, TokenSigner, TokenVerifier};
use ringpost_wire::limits::TOKEN_COST_BYTES;
use ringpost_wire::{DeviceId, UserId};

use super::Case;

const PARSER: &str = "token";
const NOW_MS: u64 = 1_800_000_000_000;
const TOKEN_BYTES: usize = 8_000;
/// What stands before the 32 bytes of an Ed25519 key in PKCS#8 (RFC 8410).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Keys of no one.
struct Keys {
    verifier: TokenVerifier,
    tickets: TicketKey,
    token: String,
    ticket: Vec<u8>,
}

fn keys() -> Keys {
    let document = [&PKCS8_HEAD[..], &[7; 32]].concat();
    let signer = TokenSigner::from_pkcs8(&document).expect("a key");
    let rules = TokenRules { audience: "chat".to_owned(), clock_skew: Duration::from_secs(60) };
    let verifier = TokenVerifier::new(&signer, "ringpost", rules);
    let hour = Duration::from_secs(3_600);
    let tickets = TicketKey::new(&TicketSecrets::new([9; 32], NOW_MS), hour);
    let device = DeviceId::new(5).expect("1 to 127");
    let token = signer.sign("ringpost", "chat", (UserId([6; 16]), device), NOW_MS, hour).token;
    let session = verifier.verify(&token, NOW_MS).expect("a token of ours");
    let ticket = tickets.issue(&session, NOW_MS).bytes.to_vec();
    Keys { verifier, tickets, token, ticket }
}

thread_local! {
    static KEYS: Keys = keys();
}

fn check_token(token: &[u8]) {
    let token = std::str::from_utf8(token).expect("a text");
    KEYS.with(|keys| {
        let _ = black_box(keys.verifier.verify(black_box(token), NOW_MS));
    });
}

fn check_ticket(ticket: &[u8]) {
    KEYS.with(|keys| {
        let _ = black_box(keys.tickets.open(black_box(ticket), NOW_MS));
    });
}

/// A `hello` with a token: what its check costs is charged beside its bytes.
fn token(name: &'static str, token: String) -> Case {
    let mut case = Case::of_frames(PARSER, name, vec![token.into_bytes()], check_token);
    case.cost += u64::from(TOKEN_COST_BYTES);
    case
}

fn ticket(name: &'static str, ticket: Vec<u8>) -> Case {
    Case::of_frames(PARSER, name, vec![ticket], check_ticket)
}

pub(super) fn cases() -> Vec<Case> {
    let (good, good_ticket) = KEYS.with(|keys| (keys.token.clone(), keys.ticket.clone()));
    let (header, rest) = good.split_once('.').expect("three parts");
    let (claims, signature) = rest.split_once('.').expect("three parts");
    let mut changed = signature.as_bytes().to_vec();
    changed[3] = if changed[3] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("base64");
    let mut ticket_changed = good_ticket.clone();
    ticket_changed[30] ^= 1;
    let encoded = |text: &str| base64url(text.as_bytes());
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let part = format!(r#""x":{deep},"#);
    let busy = format!(r#"{{{}"alg":"EdDSA"}}"#, part.repeat(700 / part.len()));
    vec![
        token("corpus", good.clone()),
        token("signature changed", format!("{header}.{claims}.{changed}")),
        token("claims are long", format!("{header}.{}.{signature}", "A".repeat(TOKEN_BYTES - 300))),
        token("header is busy", format!("{}.e30.AAAA", encoded(&busy))),
        token(
            "header of numbers",
            format!(
                "{}.e30.AAAA",
                encoded(&format!(r#"{{"x":[{}0]}}"#, "2.4703282292062327208e-324,".repeat(27)))
            ),
        ),
        token("dots", ".".repeat(TOKEN_BYTES)),
        ticket("ticket", good_ticket),
        ticket("ticket changed", ticket_changed),
        ticket("ticket of zeros", vec![0; 512]),
    ]
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            let six = bits >> (18 - 6 * place) & 0x3f;
            text.push(char::from(ALPHABET[six as usize]));
        }
    }
    text
}
