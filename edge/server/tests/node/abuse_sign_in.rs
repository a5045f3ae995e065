//! Credentials that must not pass, against the real server, and what its log says of them.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ringpost_server::auth::{Keys, TokenSigner};
use ringpost_server::clock::wall_ms;
use ringpost_wire::CloseReason::{
    self, SessionExpired, TokenExpired, TokenForeign, TokenMalformed, TokenNotYet, TokenUnsigned,
};
use ringpost_wire::{DeviceId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::{Encoding, Heard, Peer, upgrade};
use crate::rig::{Node, eventually, exchange};
use crate::siege::Siege;

const CREDENTIALS: &str = r#"ringpost_edge_refused_total{reason="credentials"}"#;

fn encoded(value: &Value) -> String {
    BASE64_URL.encode(value.to_string())
}

fn signer(node: &Node) -> TokenSigner {
    Keys::signer_of(&node.data_dir()).unwrap().unwrap()
}

/// A token of the server's own key that begins now plus `offset_s`.
fn signed(node: &Node, (issuer, audience): (&str, &str), offset_s: i64, ttl_s: u64) -> String {
    let who = (UserId::from(Uuid::new_v4()), DeviceId::new(1).unwrap());
    let begin_ms = wall_ms().checked_add_signed(offset_s * 1_000).unwrap();
    signer(node).sign(issuer, audience, who, begin_ms, Duration::from_secs(ttl_s)).token
}

/// A sign-in with this token: refused as the protocol says, and by REST as well.
fn check_refused(node: &Node, what: &str, token: &str, reason: CloseReason) {
    for encoding in [Encoding::Tcp, Encoding::Json] {
        let mut peer = Peer::connect(node, encoding);
        peer.say(&json!({"type": "hello", "token": token, "device": 1}));
        assert_eq!(peer.listen(), Heard::End(Some(4401)), "{what}");
        assert_eq!(peer.reason(), reason.text(), "{what}");
    }
    let request = format!(
        "GET /v1/messages?after= HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    let answer = exchange(node.address, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401 "), "{what}: {answer}");
}

#[test]
fn abuse_row_19_tokens_that_choose_their_own_algorithm_are_refused() {
    let siege = Siege::begin(&[]);
    let node = &siege.node;
    let good = signed(node, ("ringpost", "ringpost"), 0, 600);
    let [head, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let key_id = signer(node).key_id().to_owned();
    let with_head =
        |head: &Value, signature: &str| format!("{}.{claims}.{signature}", encoded(head));
    // The public key is no secret: as the secret of an HMAC it must not count.
    let document = std::fs::read(node.data_dir().join("keys/token.pk8")).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(&document).unwrap();
    let hmac = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key_id.clone());
        let text: Value = serde_json::from_slice(&BASE64_URL.decode(claims).unwrap()).unwrap();
        let key = EncodingKey::from_secret(pair.public_key().as_ref());
        jsonwebtoken::encode(&header, &text, &key).unwrap()
    };
    let other_user = json!({
        "iss": "ringpost", "aud": "ringpost", "sub": Uuid::new_v4(), "device": 1,
        "iat": wall_ms() / 1_000, "exp": wall_ms() / 1_000 + 600,
    });
    let embedded = json!({
        "alg": "EdDSA", "kid": key_id, "jku": "http://127.0.0.1:1/keys", "crit": ["jku"],
    });
    for (what, token, reason) in [
        ("alg none", with_head(&json!({"alg": "none", "kid": key_id}), ""), TokenMalformed),
        ("alg None", with_head(&json!({"alg": "None", "kid": key_id}), signature), TokenMalformed),
        ("no signature", format!("{head}.{claims}."), TokenUnsigned),
        ("two parts", format!("{head}.{claims}"), TokenMalformed),
        ("HS256 by the public key", hmac, TokenMalformed),
        (
            "HS256 by name alone",
            with_head(&json!({"alg": "HS256", "kid": key_id}), signature),
            TokenMalformed,
        ),
        ("other claims", format!("{head}.{}.{signature}", encoded(&other_user)), TokenUnsigned),
        (
            "an unknown key",
            with_head(&json!({"alg": "EdDSA", "kid": "other"}), signature),
            TokenUnsigned,
        ),
        (
            "a path",
            with_head(&json!({"alg": "EdDSA", "kid": "../keys/token.pk8"}), signature),
            TokenUnsigned,
        ),
        ("a key to fetch", with_head(&embedded, signature), TokenMalformed),
        ("a bit of the signature", format!("{}A", &good[..good.len() - 1]), TokenUnsigned),
    ] {
        // The last digit may have been an A.
        if token != good {
            check_refused(node, what, &token, reason);
        }
    }
    let mut peer = Peer::connect(node, Encoding::Tcp);
    peer.say(&json!({"type": "hello", "token": good, "device": 1}));
    peer.hear_kind("welcome");
    siege.end(&[
        (CREDENTIALS, 20),
        (r#"ringpost_auth_token_checks_total{outcome="algorithm"}"#, 1),
        (r#"ringpost_auth_token_checks_total{outcome="signature"}"#, 1),
    ]);
}

#[test]
fn abuse_row_20_tokens_of_another_time_issuer_or_audience_are_refused() {
    let siege = Siege::begin(&["auth.clock_skew=1m"]);
    let node = &siege.node;
    for (what, token, reason) in [
        ("expired", signed(node, ("ringpost", "ringpost"), -700, 600), TokenExpired),
        ("not yet", signed(node, ("ringpost", "ringpost"), 120, 600), TokenNotYet),
        ("another issuer", signed(node, ("evil", "ringpost"), 0, 600), TokenForeign),
        ("another audience", signed(node, ("ringpost", "elsewhere"), 0, 600), TokenForeign),
    ] {
        check_refused(node, what, &token, reason);
    }
    // Within the skew both ends pass.
    for (offset_s, ttl_s) in [(-620, 600), (30, 600)] {
        let mut peer = Peer::connect(node, Encoding::Tcp);
        let token = signed(node, ("ringpost", "ringpost"), offset_s, ttl_s);
        peer.say(&json!({"type": "hello", "token": token, "device": 1}));
        peer.hear_kind("welcome");
    }
    siege.end(&[
        (CREDENTIALS, 8),
        (r#"ringpost_auth_token_checks_total{outcome="expired"}"#, 1),
        (r#"ringpost_auth_token_checks_total{outcome="not_yet"}"#, 1),
        (r#"ringpost_auth_token_checks_total{outcome="issuer"}"#, 1),
        (r#"ringpost_auth_token_checks_total{outcome="audience"}"#, 1),
    ]);
}

#[test]
fn abuse_row_21_a_connection_ends_with_its_token_and_its_messages_stay() {
    let siege = Siege::begin(&["auth.clock_skew=0s"]);
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let mut b = Peer::connect(&siege.node, Encoding::Json);
    let token = siege.node.token_with(bob, 1, &["--ttl", "3"]);
    b.say(&json!({"type": "hello", "token": token, "device": 1}));
    b.hear_kind("welcome");
    b.hear_kind("queue_empty");
    let id = Peer::sign_in_live(&siege.node, Encoding::Tcp, alice, 1).send(bob, b"kept");
    assert_eq!((b.last_word(), b.reason()), (Some(4401), SessionExpired.text()));
    let mut b = Peer::sign_in(&siege.node, Encoding::Json, bob, 1);
    assert_eq!(b.hear_kind("new_message")["id"], id);
    siege.end(&[(r#"ringpost_edge_closed_total{code="sign_in_again"}"#, 1)]);
}

#[test]
fn abuse_row_39_neither_tokens_nor_content_nor_forged_lines_reach_the_log() {
    let siege = Siege::begin(&["log.level=debug"]);
    let node = &siege.node;
    let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let token = node.token(alice, 1);
    let mut peer = Peer::connect(node, Encoding::Json);
    peer.say(&json!({"type": "hello", "token": token, "device": 1}));
    let ticket = peer.hear_kind("welcome")["ticket"].as_str().unwrap().to_owned();
    peer.hear_kind("queue_empty");
    Peer::sign_in_live(node, Encoding::Tcp, bob, 1);
    peer.send(bob, b"the words of the message");
    peer.refused(&json!({"type": "auth", "token": format!("{token}x")}), 16);
    peer.frame(0x81, b"{\"type\":\"\x1b[31mforged\\r\\nINFO forged\"}");
    peer.hear_kind("error");
    check_refused(node, "a forged token", &format!("{token}\u{e4}forged"), TokenMalformed);
    let fields = "User-Agent: forged\x1b[31m\r\n";
    exchange(node.address, upgrade(fields).as_bytes());
    // A page's origin is told, which helps who forgot to list it, and tells nothing that it is not.
    let fields = "Origin: https://p\u{e4}ge\u{202e}.example\r\n";
    exchange(node.address, upgrade(fields).as_bytes());
    let path = format!("GET /v1/messages?access_token={token}&forged=%1b%0a HTTP/1.1\r\n");
    exchange(node.address, format!("{path}Host: forged\r\nConnection: close\r\n\r\n").as_bytes());
    let shown = r#"origin="https://p\\xc3\\xa4ge\\xe2\\x80\\xae.example""#;
    eventually("the page's line", || node.log().contains(shown));
    let log = node.log();
    let signature = token.rsplit('.').next().unwrap();
    for secret in [token.as_str(), signature, &ticket, "words of the message", "forged", "\u{1b}"] {
        assert!(!log.contains(secret), "{secret:?} in\n{log}");
    }
    siege.end(&[(r#"ringpost_edge_refused_total{reason="upgrade"}"#, 2)]);
}
