//! What REST bounds: connections, their time, bodies, and sign-in by phone.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::Answer::{self, Cut, Status};
use crate::http::post;
use crate::rig::{Node, PATIENCE, eventually, rest_of};

const NOWHERE: &str = "GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n";

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Says this on a connection of its own and reads to its end; the status of what was answered.
fn ask(node: &Node, request: &str) -> Answer {
    let mut stream = connect(node);
    stream.write_all(request.as_bytes()).unwrap();
    let answer = rest_of(&mut stream);
    Status(answer[9..12].parse().unwrap())
}

pub(super) fn one_connection_too_many(node: &Node) -> Answer {
    let mut kept = connect(node);
    kept.write_all(NOWHERE.as_bytes()).unwrap();
    eventually("it is open", || node.metric("ringpost_rest_connections") == 1);
    ask(node, NOWHERE)
}

/// The first request of a connection is read by the edge, whose deadline is that of a handshake.
pub(super) fn a_slow_head(node: &Node) -> Answer {
    let mut slow = connect(node);
    slow.write_all(NOWHERE.as_bytes()).unwrap();
    slow.write_all(b"GET /v1/again HTTP/1.1\r\nHo").unwrap();
    let answers = rest_of(&mut slow);
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.starts_with("HTTP/1.1 404 "), "{answers}");
    Cut
}

pub(super) fn a_slow_body(node: &Node) -> Answer {
    let head = "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    ask(node, head)
}

pub(super) fn a_large_body(node: &Node) -> Answer {
    let large = json!({"phone": "1".repeat(1_024)});
    Status(post(node.address, "/v1/auth/code", "", &large).status)
}

/// Asks for a code; the status, and the name of the request.
fn ask_code(node: &Node, phone: &str) -> (u16, Value) {
    let answer = post(node.address, "/v1/auth/code", "", &json!({"phone": phone}));
    (answer.status, answer.json()["request"].clone())
}

pub(super) fn too_many_codes(node: &Node) -> Answer {
    let asked: Vec<u16> = (0..3).map(|_| ask_code(node, "+491701234567").0).collect();
    assert_eq!(asked[..2], [202, 202]);
    Status(asked[2])
}

pub(super) fn too_many_calls(node: &Node) -> Answer {
    let asked: Vec<u16> =
        (0..4).map(|number| ask_code(node, &format!("+49170123456{number}")).0).collect();
    assert_eq!(asked[..3], [202, 202, 202]);
    Status(asked[3])
}

/// The code that the log says.
fn told_code(node: &Node, request: &Value) -> String {
    let request = request.as_str().unwrap();
    let mut code = None;
    eventually("the code is told", || {
        let log = node.log();
        let line = log.lines().find(|line| line.contains("one-time") && line.contains(request));
        code = line.map(|line| line.split("code=").nth(1).unwrap()[..6].to_owned());
        code.is_some()
    });
    code.unwrap()
}

pub(super) fn too_many_guesses(node: &Node) -> Answer {
    let (_, request) = ask_code(node, "+491701234567");
    let right = told_code(node, &request);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let verify = |code: &str| {
        let body = json!({"request": request, "phone": "+491701234567", "code": code, "device": 1});
        let answer = post(node.address, "/v1/auth/verify", "", &body);
        assert_eq!(answer.json()["type"], "urn:ringpost:problem:bad_code", "{answer:?}");
        answer.status
    };
    assert_eq!([verify(wrong), verify(wrong)], [401, 401]);
    Status(verify(&right))
}
