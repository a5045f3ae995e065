//! Setup: requests that REST refuses for all its reasons, with bodies that are whole, missing, cut, too
//! long or malformed. Action: each is sent by hand. Expectation: one request, one answer; and behind it
//! either the next request is answered, or the answer had said `Connection: close`; a HEAD is answered
//! without content, and what is refused is counted, whichever door the request came to.

use std::io::Write;
use std::net::TcpStream;

use crate::rig::{Node, eventually, rest_of};

/// A line and fields, and what is answered where the body does not come into it.
const REQUESTS: [(&str, u16); 6] = [
    ("POST /v1/nowhere HTTP/1.1\r\nHost: x\r\n", 404),
    ("PUT /v1/messages HTTP/1.1\r\nHost: x\r\n", 405),
    ("POST /v1/auth/logout HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n", 401),
    ("GET /v1/messages HTTP/1.1\r\nHost: x\r\n", 401),
    ("POST /v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n", 415),
    ("POST /v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n", 400),
];

/// The other fields, and what is sent behind the head.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("", Vec::new()),
        ("Content-Length: 0\r\n", Vec::new()),
        ("Content-Length: 2\r\n", b"[]".to_vec()),
        ("Content-Length: 20\r\n", b"half".to_vec()),
        ("Content-Length: 1000000\r\n", vec![b' '; 100_000]),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n[]\r\n0\r\n\r\n".to_vec()),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n[".to_vec()),
        ("Transfer-Encoding: chunked\r\n", b"zz\r\n[]\r\n".to_vec()),
        ("Transfer-Encoding: chunked\r\n", b"2\n[]\r\n0\r\n\r\n".to_vec()),
        ("Transfer-Encoding: chunked\r\n", [&b"fffff\r\n"[..], &[b' '; 70_000]].concat()),
    ]
}

#[test]
fn a_request_gets_one_answer_which_says_whether_another_may_follow() {
    let node = Node::start(&["rest.request_deadline=1s", "rest.body_bytes_max=16KiB"]);
    let mut kept = 0;
    for (request, expected) in REQUESTS {
        for (fields, body) in bodies() {
            let case = format!(
                "{request}{fields}{}",
                String::from_utf8_lossy(&body[..body.len().min(20)])
            );
            let mut stream = TcpStream::connect(node.address).unwrap();
            stream
                .write_all(&[request.as_bytes(), fields.as_bytes(), b"\r\n", &body].concat())
                .unwrap();
            // Another one, where the first may be whole: it is answered if the first does not close.
            let next = b"GET /v1/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let is_whole = fields.is_empty()
                || fields.ends_with(": 0\r\n")
                || body.ends_with(b"[]")
                || body.ends_with(b"[]\r\n0\r\n\r\n") && body.starts_with(b"2\r\n");
            if is_whole {
                let _ = stream.write_all(next);
            }
            let told = rest_of(&mut stream);
            let answers: Vec<&str> = told.split("HTTP/1.1 ").skip(1).collect();
            assert!(!answers.is_empty(), "no answer to {case}");
            let closes = answers[0].to_ascii_lowercase().contains("connection: close");
            assert_eq!(answers.len(), if closes { 1 } else { 2 }, "{case}: {told}");
            kept += usize::from(!closes);
            let status: u16 = answers[0][..3].parse().unwrap();
            // Where the body is read it is what is refused.
            let of_body = expected == 400 && [400, 413, 503].contains(&status);
            assert!(of_body || status == expected, "{case}: {told}");
        }
    }
    assert!(kept >= REQUESTS.len() * 2, "requests without a body keep their connection: {kept}");
}

/// At the worker's door, and behind another request at REST's: both count, and say so in the log.
#[test]
fn what_both_doors_refuse_is_counted_and_a_head_is_answered_without_content() {
    let node = Node::start(&["limits.origins=[\"https://chat.example\"]"]);
    let first = "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let upgrade =
        format!("/v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}");
    let head = format!("HEAD {upgrade}\r\n");
    let foreign = format!("GET {upgrade}Origin: https://evil.example\r\n\r\n");
    for (before, door) in [("", "edge"), (first, "rest")] {
        for (request, reason, status) in
            [(&head, "method_not_allowed", 405), (&foreign, "origin", 403)]
        {
            let mut stream = TcpStream::connect(node.address).unwrap();
            stream.write_all(format!("{before}{request}").as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let told = rest_of(&mut stream);
            let (_, answer) = told.rsplit_once("HTTP/1.1 ").unwrap();
            assert!(answer.starts_with(&status.to_string()), "{told}");
            assert_eq!(answer.ends_with("\r\n\r\n"), request == &head, "{told}");
            let counted = format!("ringpost_{door}_upgrades_refused_total{{reason=\"{reason}\"}}");
            eventually("it is counted", || node.metric(&counted) == 1);
        }
    }
    let lines = || node.log().matches("a web page whose origin is not in limits.origins").count();
    eventually("both doors tell the log", || lines() == 2);
}
