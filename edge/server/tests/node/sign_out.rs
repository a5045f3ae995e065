//! The end of a session by its owner, or by a thief who is noticed, against the real server: row
//! 21 of the abuse table. The connection ends and nothing that was issued before opens another one.
//! Behind a thief what waits for the device waits on; who signs out is no device any more, and what
//! comes meanwhile stands in history.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::http;
use crate::peer::{Encoding, Heard, Peer};
use crate::rig::{Node, eventually};
use crate::siege::Siege;

const SIGN_IN_AGAIN: &str = r#"ringpost_edge_closed_total{code="sign_in_again"}"#;
const REVOKED: &str = r#"ringpost_shard_sign_ins_refused_total{reason="revoked"}"#;
const REUSED: &str = r#"ringpost_rest_requests_total{outcome="bad_refresh_token"}"#;

/// `POST` with a JSON body: the status, and the answer if there is one.
fn post(node: &Node, path: &str, bearer: &str, body: &Value) -> (u16, Value) {
    let answer = http::post(node.address, path, bearer, body);
    (answer.status, answer.json())
}

/// Signs in by phone; the code is read where the development sender writes it.
fn by_phone(node: &Node, phone: &str) -> Value {
    let (status, asked) = post(node, "/v1/auth/code", "", &json!({"phone": phone}));
    assert_eq!(status, 202, "{asked}");
    let request = asked["request"].as_str().unwrap();
    let line = || {
        let log = node.log();
        log.lines().find(|line| line.contains(request)).map(str::to_owned)
    };
    eventually("a code in the log", || line().is_some());
    let line = line().unwrap();
    let code = &line.split_once(" code=").unwrap().1[..6];
    let claims = json!({"request": request, "phone": phone, "code": code, "device": 1});
    let (status, session) = post(node, "/v1/auth/verify", "", &claims);
    assert_eq!(status, 200, "{session}");
    session
}

/// A connection that presents this.
fn present(node: &Node, kind: &str, credential: &Value) -> Peer {
    let mut peer = Peer::connect(node, Encoding::Json);
    peer.say(&json!({"type": "hello", kind: credential, "device": 1}));
    peer
}

/// None of these opens a session.
fn check_void(node: &Node, credentials: &[(&str, Value)]) {
    for (kind, credential) in credentials {
        let mut peer = present(node, kind, credential);
        assert_eq!(peer.listen(), Heard::End(Some(4401)), "{kind}");
    }
}

#[test]
fn abuse_row_21_a_device_that_is_signed_out_is_closed_and_history_has_its_messages() {
    let siege = Siege::begin(&[]);
    let node = &siege.node;
    let mut void = Vec::new();
    for (phone, stolen) in [("+491701234567", false), ("+491707654321", true)] {
        let session = by_phone(node, phone);
        let mut b = present(node, "token", &session["access_token"]);
        let ticket = b.hear_kind("welcome")["ticket"].clone();
        b.hear_kind("queue_empty");
        let mut old = vec![("ticket", ticket), ("token", session["access_token"].clone())];
        if stolen {
            // Whoever comes with a refresh token behind the newest shows that two have it.
            let refresh = json!({"refresh_token": session["refresh_token"]});
            let (status, renewed) = post(node, "/v1/auth/refresh", "", &refresh);
            assert_eq!(status, 200, "{renewed}");
            old.push(("token", renewed["access_token"].clone()));
            let newest = json!({"refresh_token": renewed["refresh_token"]});
            assert_eq!(post(node, "/v1/auth/refresh", "", &newest).0, 200);
            assert_eq!(post(node, "/v1/auth/refresh", "", &refresh).0, 401);
        } else {
            let bearer = session["access_token"].as_str().unwrap();
            assert_eq!(post(node, "/v1/auth/logout", bearer, &json!({})).0, 204);
        }
        assert_eq!(b.last_word(), Some(4401), "stolen: {stolen}");
        check_void(node, &old);
        let bob: Uuid = session["user_id"].as_str().unwrap().parse().unwrap();
        let mut sender = Peer::sign_in_live(node, Encoding::Tcp, Uuid::new_v4(), 1);
        let id = sender.send(bob, b"kept");
        let again = by_phone(node, phone);
        assert_eq!(again["user_id"], session["user_id"]);
        let mut b = present(node, "token", &again["access_token"]);
        b.hear_kind("welcome");
        if stolen {
            assert_eq!(b.hear_kind("new_message")["id"], id);
            b.say(&json!({"type": "ack", "push": 1}));
        }
        b.hear_kind("queue_empty");
        let bearer = again["access_token"].as_str().unwrap();
        let kept = http::call(node.address, "GET", "/v1/messages?after=", bearer, "").json();
        assert!(kept.to_string().contains(&id), "{kept}");
        void.extend(old);
    }
    siege.counted("ringpost_auth_refresh_reused_total", 1);
    let mut node = siege.end(&[(SIGN_IN_AGAIN, 7), (REVOKED, 5), (REUSED, 1)]);
    // Revocations are durable before they are answered.
    node.kill();
    check_void(&node.restart(), &void);
}
