//! Other people's ids over REST: row 27 of the abuse table. Whatever is asked about them, and by
//! whichever method, the answer is that to an id which nobody has: not even existence is told.
//!
//! Setup: Alice and Bob have a conversation, Eve has one of her own. Action: Eve asks by every
//! method, at every path, with every id of theirs. Expectation: status, head and body are those of
//! the same request with an unknown id.

use std::net::SocketAddr;

use serde_json::json;
use uuid::Uuid;

use crate::http::{Answer, call, post};
use crate::peer::{Encoding, Peer};
use crate::rig::Node;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// Where an id could be named: paths that there are, and paths that a guess would try.
const PATHS: [&str; 19] = [
    "/v1/messages?user_id=ID",
    "/v1/messages?user_id=ID&limit=1",
    "/v1/messages?user_id=ID&before=ID",
    "/v1/messages?user_id=OWN&before=ID",
    "/v1/messages?after=&user_id=ID",
    "/v1/messages?after=ID",
    "/v1/messages?group_id=ID",
    "/v1/messages?id=ID",
    "/v1/messages?user_id=OWN&user_id=ID",
    "/v1/messages/ID",
    "/v1/messages/ID/receipts",
    "/v1/users/ID",
    "/v1/users/ID/devices/1",
    "/v1/groups/ID",
    "/v1/groups/ID/members",
    "/v1/keys/ID",
    "/v1/media/ID",
    "/v1/auth/ID",
    "/admin/explain/ID",
];

/// An answer but for what differs from one moment to the next.
fn shape(answer: &Answer) -> (u16, String, String) {
    let fields = answer.head.lines().filter(|line| !line.to_lowercase().starts_with("date:"));
    (answer.status, fields.collect::<Vec<_>>().join("\n"), answer.body.clone())
}

/// An id that nobody has and that stands where `id` stands: at the same time, of the same form.
fn unknown_beside(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128() ^ 0xff00)
}

#[test]
fn abuse_row_27_ids_of_others_are_answered_as_ids_that_nobody_has() {
    let node = Node::start(&[]);
    let [alice, bob, eve, carol] = [(); 4].map(|()| Uuid::new_v4());
    let mut a = Peer::sign_in_live(&node, Encoding::Json, alice, 1);
    let mut b = Peer::sign_in_live(&node, Encoding::Tcp, bob, 1);
    let mut e = Peer::sign_in_live(&node, Encoding::Bin, eve, 1);
    drop(Peer::sign_in_live(&node, Encoding::Tcp, carol, 1));
    e.send(carol, b"before theirs");
    let id: Uuid = a.send(bob, b"not for Eve").parse().unwrap();
    let pushed = b.hear_kind("new_message");
    let message_id: Uuid = pushed["message_id"].as_str().unwrap().parse().unwrap();
    e.send(carol, b"after theirs");
    // All three are theirs: what is not told to Eve is there.
    let token = node.token(bob, 1);
    let path = format!("/v1/messages?user_id={alice}");
    let own = call(node.address, "GET", &path, &token, "");
    assert_eq!(own.json()["messages"][0]["id"], id.to_string(), "{own:?}");

    let token = node.token(eve, 1);
    let mut checked = 0;
    for foreign in [alice, bob, id, message_id] {
        for path in PATHS.map(|path| path.replace("OWN", &carol.to_string())) {
            for method in METHODS {
                let ask = |id: Uuid| {
                    let path = path.replace("ID", &id.to_string());
                    call(node.address, method, &path, &token, "")
                };
                let (told, unknown) = (ask(foreign), ask(unknown_beside(foreign)));
                assert_eq!(shape(&told), shape(&unknown), "{method} {path} {foreign}");
                assert!(!told.body.contains(&foreign.to_string()), "{method} {path}: {told:?}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 4 * PATHS.len() * METHODS.len());
    // In Eve's own conversation the id of another's message is as unknown as an invented one.
    let before = |id: Uuid| {
        let path = format!("/v1/messages?user_id={carol}&before={id}");
        shape(&call(node.address, "GET", &path, &token, ""))
    };
    assert_eq!((before(id).0, before(id)), (400, before(Uuid::new_v4())));
    check_cursors(&node, eve, &node.token(bob, 1));
    check_codes(node.address);
}

/// A cursor counts in the timeline of whoever presents it: Bob's leads Eve nowhere but into hers.
fn check_cursors(node: &Node, eve: Uuid, bobs: &str) {
    let all = |token: &str, cursor: &str| {
        let path = format!("/v1/messages?after={cursor}");
        call(node.address, "GET", &path, token, "").json()
    };
    let theirs = all(bobs, "")["next"].as_str().unwrap().to_owned();
    let token = node.token(eve, 1);
    let mut rows = 0;
    for cursor in ["", &theirs] {
        for message in all(&token, cursor)["messages"].as_array().unwrap() {
            assert_eq!(message["from"], eve.to_string(), "{message}");
            rows += 1;
        }
    }
    assert!(rows >= 2, "her own are there");
}

/// The name of another's request for a code is worth what an invented one is.
fn check_codes(at: SocketAddr) {
    let asked = post(at, "/v1/auth/code", "", &json!({"phone": "+491701234567"}));
    assert_eq!(asked.status, 202, "{asked:?}");
    let theirs = asked.json()["request"].as_str().unwrap().to_owned();
    let invented = "A".repeat(theirs.len());
    let verify = |request: &str, phone: &str| {
        let body = json!({"request": request, "phone": phone, "code": "000000", "device": 1});
        shape(&post(at, "/v1/auth/verify", "", &body))
    };
    let answers = [
        verify(&theirs, "+491707654321"),
        verify(&invented, "+491707654321"),
        verify(&invented, "+491701234567"),
        verify(&theirs, "+491701234567"),
    ];
    assert_eq!(answers[0].0, 401, "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}
