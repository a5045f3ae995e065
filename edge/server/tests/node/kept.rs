//! Setup: a connection that is kept, as pools of proxies and of HTTP clients keep theirs. Action:
//! requests one behind another, an upgrade among them. Expectation: HTTP decides for each request:
//! any of them may be the upgrade, with the rules and the answers of a first one, and nothing of the
//! connection stays behind at REST.

use std::io::{Read, Write};
use std::net::TcpStream;

use uuid::Uuid;

use crate::peer::{Encoding, Peer, content, upgrade};
use crate::rig::{Node, PATIENCE, eventually, rest_of};

const NOWHERE: &str = "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n";

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next answer, head and body, and no byte behind it.
fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn status(answer: &str) -> &str {
    &answer[9..12]
}

/// A message from one to the other arrives.
fn talk(from: &mut Peer, to: &mut Peer, to_user: Uuid) {
    from.send(to_user, b"hello there");
    assert_eq!(content(&to.hear_kind("new_message")), b"hello there");
}

#[test]
fn an_upgrade_behind_other_requests_is_a_websocket_like_any_other() {
    let node = Node::start(&["workers=2"]);
    for encoding in [Encoding::Json, Encoding::Bin] {
        let users = [Uuid::new_v4(), Uuid::new_v4()];
        let mut peers = users.map(|user| {
            let mut stream = connect(&node);
            for _ in 0..3 {
                assert_eq!(status(&ask(&mut stream, NOWHERE)), "404");
            }
            let mut peer = Peer::shake_hands(stream, encoding);
            peer.say_hello(&node, user, 1);
            peer.hear_kind("queue_empty");
            peer
        });
        let [from, to] = &mut peers;
        talk(from, to, users[1]);
    }
    eventually("REST has none of them", || node.metric("ringpost_rest_connections") == 0);
    let back = r#"ringpost_edge_connections_fate_total{fate="back_from_rest"}"#;
    eventually("all came back", || node.metric(back) == 4);
    assert_eq!(node.metric("ringpost_edge_returning"), 0);
}

#[test]
fn an_upgrade_in_the_same_write_as_the_request_before_it_and_its_first_frame() {
    let node = Node::start(&[]);
    let user = Uuid::new_v4();
    for round in 0..20 {
        let mut stream = connect(&node);
        let upgrade = upgrade("Sec-WebSocket-Protocol: ringpost.v1.json\r\n");
        let ping = crate::peer::frame(0x89, b"first");
        let all = [NOWHERE.as_bytes(), NOWHERE.as_bytes(), upgrade.as_bytes(), &ping].concat();
        stream.write_all(&all).unwrap();
        for expected in ["404", "404", "101"] {
            assert_eq!(status(&answer(&mut stream)), expected, "round {round}");
        }
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).unwrap();
        assert_eq!(pong, *b"\x8a\x05first");
        let mut peer = Peer::on(stream, Encoding::Json);
        peer.say_hello(&node, user, 1);
        peer.hear_kind("queue_empty");
        peer.ping();
    }
    eventually("REST has none of them", || node.metric("ringpost_rest_connections") == 0);
}

#[test]
fn an_upgrade_that_is_refused_gets_the_answer_of_a_first_one_and_the_connection_goes_on() {
    let node = Node::start(&[]);
    let cases = [
        ("426", upgrade("").replace("Version: 13", "Version: 8")),
        ("403", upgrade("Origin: https://evil.example\r\n")),
        ("400", upgrade("Sec-WebSocket-Protocol: chat\r\n")),
        ("426", "GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
    ];
    let mut kept = connect(&node);
    assert_eq!(status(&ask(&mut kept, NOWHERE)), "404");
    for (code, request) in &cases {
        let mut fresh = connect(&node);
        fresh.write_all(request.as_bytes()).unwrap();
        let first = rest_of(&mut fresh);
        let later = ask(&mut kept, request);
        assert_eq!(status(&first), *code, "{first}");
        let without =
            |answer: &str| answer.replace(", close", "").replace("Connection: close\r\n", "");
        assert_eq!(without(&first), without(&later));
        assert!(!later.contains("close"), "{later}");
        let needed = *code == "426";
        assert_eq!(
            first.contains("\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            needed
        );
        assert_eq!(status(&ask(&mut kept, NOWHERE)), "404", "behind {request}");
    }
    Peer::shake_hands(kept, Encoding::Json).say_hello(&node, Uuid::new_v4(), 1);
}

/// What two readers could understand in two ways is refused by whichever of ours reads it.
#[test]
fn an_ambiguous_request_is_refused_as_a_first_one_and_as_a_later_one() {
    let node = Node::start(&[]);
    let post = "POST /v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for bad in [
        format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        "GET /v1/nowhere HTTP/1.1\nHost: x\n\n".to_owned(),
        "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\nX: y\n\r\n".to_owned(),
    ] {
        let mut fresh = connect(&node);
        fresh.write_all(bad.as_bytes()).unwrap();
        let first = rest_of(&mut fresh);
        let mut kept = connect(&node);
        assert_eq!(status(&ask(&mut kept, NOWHERE)), "404");
        kept.write_all(bad.as_bytes()).unwrap();
        let later = rest_of(&mut kept);
        assert_eq!((status(&first), &first), ("400", &later), "{bad}");
        assert!(first.contains("Connection: close"), "{first}");
    }
}

#[test]
fn an_empty_line_in_front_of_a_request_is_skipped() {
    let node = Node::start(&[]);
    let mut stream = connect(&node);
    for _ in 0..3 {
        assert_eq!(status(&ask(&mut stream, &format!("\r\n{NOWHERE}"))), "404");
    }
    assert_eq!(status(&ask(&mut stream, &format!("\r\n{}", upgrade("")))), "101");
    let mut stream = connect(&node);
    assert_eq!(status(&ask(&mut stream, &format!("\r\n{}", upgrade("")))), "101");
}

/// A kept connection gives its limits up with nobody: who came back counts as who comes.
#[test]
fn who_comes_back_from_rest_counts_by_its_address_and_must_sign_in() {
    let node = Node::start(&[
        "limits.unauthenticated_per_address_max=1",
        "limits.auth_deadline=1s",
        "limits.handshake_deadline=1s",
    ]);
    let mut first = connect(&node);
    assert_eq!(status(&ask(&mut first, NOWHERE)), "404");
    let mut second = connect(&node);
    assert_eq!(status(&ask(&mut second, NOWHERE)), "404");
    assert_eq!(status(&ask(&mut first, &upgrade(""))), "101");
    assert_eq!(status(&ask(&mut second, &upgrade(""))), "503");
    let mut first = Peer::on(first, Encoding::Json);
    assert_eq!(first.last_word(), Some(4408));
}
