//! Credentials: access tokens and resume tickets. Nothing but what was signed here is good.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringpost_server::auth::{
    AuthError, TOKEN_LIFE_MAX, TicketKey, TicketSecrets, TokenRules, TokenSigner, TokenVerifier,
    Verified,
};
use ringpost_wire::{DeviceId, UserId};
use serde::Deserialize;
use serde_json::Value;

/// The moment of every check, milliseconds since 1970.
const NOW_MS: u64 = 1_800_000_000_000;

const SKEW: Duration = Duration::from_secs(60);

/// What stands before the 32 bytes of an Ed25519 key in PKCS#8 (RFC 8410).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Keys of no one, the same in every run, so that an input means the same in every run.
struct Keys {
    pair: Ed25519KeyPair,
    signer: TokenSigner,
    verifier: TokenVerifier,
    tickets: TicketKey,
    token: String,
    ticket: Vec<u8>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let document = [&PKCS8_HEAD[..], &[7; 32]].concat();
    let pair = Ed25519KeyPair::from_pkcs8(&document).expect("a key");
    let signer = TokenSigner::from_pkcs8(&document).expect("the same key");
    let rules = TokenRules { audience: "chat".to_owned(), clock_skew: SKEW };
    let verifier = TokenVerifier::new(&signer, "ringpost", rules);
    let tickets = TicketKey::new(&TicketSecrets::new([9; 32], NOW_MS), Duration::from_secs(600));
    let device = DeviceId::new(5).expect("1 to 127");
    let hour = Duration::from_secs(3600);
    let token = signer.sign("ringpost", "chat", (UserId([6; 16]), device), NOW_MS, hour).token;
    let session = verifier.verify(&token, NOW_MS).expect("a token of ours");
    let ticket = tickets.issue(&session, NOW_MS).bytes.to_vec();
    Keys { pair, signer, verifier, tickets, token, ticket }
});

/// The first byte chooses: a token as it is, a header and claims that we sign, the changes to a
/// good token or to a good ticket, or secrets as their file keeps them.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Some((&choice, rest)) = input.split_first() else { return };
    match choice % 5 {
        0 => any_token(&String::from_utf8_lossy(rest)),
        1 => any_claims(rest),
        2 => any_token(&String::from_utf8_lossy(&changed(KEYS.token.as_bytes(), rest))),
        3 => any_ticket(&changed(&KEYS.ticket, rest)),
        _ => any_secrets(rest),
    }
}

/// `good` with bytes replaced: a script of places (two bytes) and values.
fn changed(good: &[u8], script: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for change in script.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[place] = change[2];
    }
    bytes
}

fn any_token(token: &str) {
    if KEYS.verifier.verify(token, NOW_MS).is_ok() {
        assert_eq!(token, KEYS.token, "nobody else has the key");
    }
}

fn any_ticket(ticket: &[u8]) {
    match KEYS.tickets.open(ticket, NOW_MS) {
        Ok(_) => assert_eq!(ticket, KEYS.ticket, "nobody else has the secret"),
        Err(error) => assert_eq!(error, AuthError::Ticket),
    }
}

/// A header and claims, parted by NUL, under a good signature; without a header ours stands
/// before them.
fn any_claims(input: &[u8]) {
    let mut parts = input.split(|&byte| byte == 0);
    let claims = parts.next().unwrap_or_default();
    let ours = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, KEYS.signer.key_id());
    let header = parts.next().unwrap_or(ours.as_bytes());
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(KEYS.pair.sign(text.as_bytes()));
    if let Ok(verified) = KEYS.verifier.verify(&format!("{text}.{signature}"), NOW_MS) {
        says_what_it_claims(&verified, claims);
    }
}

/// The claims that have a meaning here. Others may be any JSON, such as a number that no type holds.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    device: u64,
    iat: u64,
    exp: u64,
}

/// The rules, read once more from the claims by another reader.
fn says_what_it_claims(verified: &Verified, claims: &[u8]) {
    let claims: Claims = serde_json::from_slice(claims).expect("good claims are JSON");
    assert_eq!(claims.iss, "ringpost");
    let audience = &claims.aud;
    let named = audience.as_array().is_some_and(|all| all.iter().any(|one| one == "chat"));
    assert!(audience == "chat" || named);
    assert_eq!(u64::from(verified.device.number()), claims.device);
    assert!(!verified.user.is_nil());
    let skew_ms = SKEW.as_millis() as u64;
    let life_end_ms = claims.iat.saturating_add(TOKEN_LIFE_MAX.as_secs()).saturating_mul(1000);
    let expiry_ms = claims.exp.saturating_mul(1000).min(life_end_ms);
    assert_eq!(verified.expires_at_ms, expiry_ms.saturating_add(skew_ms));
    assert!(NOW_MS < verified.expires_at_ms, "not expired");
    assert!(verified.issued_at_ms <= NOW_MS + skew_ms, "not of the future");
    assert_eq!(verified.issued_at_ms / 1000, claims.iat);
}

fn any_secrets(bytes: &[u8]) {
    let Some(secrets) = TicketSecrets::decode(bytes) else { return };
    assert_eq!(secrets.encode(), bytes);
    // Whoever finds the very secrets may open the ticket, and a fuzzer does.
    let opened = TicketKey::new(&secrets, Duration::from_secs(600)).open(&KEYS.ticket, NOW_MS);
    assert!(opened.is_ok() || opened == Err(AuthError::Ticket));
}
