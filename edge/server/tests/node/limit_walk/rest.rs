//! What REST bounds: connections, their time, bodies, and sign-in by phone.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::Answer::{self, Cut, Later, Status};
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

/// A connection whose request is under way: the server has asked for its body.
fn busy(node: &Node) -> TcpStream {
    let mut stream = connect(node);
    let head = "POST /v1/auth/code HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()]).unwrap();
    stream
}

pub(super) fn one_connection_too_many(node: &Node) -> Answer {
    let _kept = busy(node);
    ask(node, NOWHERE)
}

pub(super) fn a_kept_connection(node: &Node) -> Answer {
    let mut idle = connect(node);
    idle.write_all(NOWHERE.as_bytes()).unwrap();
    let answer = rest_of(&mut idle);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    Cut
}

/// The first request of a connection is read by the edge, whose deadline is that of a handshake.
pub(super) fn a_slow_head(node: &Node) -> Answer {
    let mut slow = connect(node);
    slow.write_all(NOWHERE.as_bytes()).unwrap();
    slow.write_all(b"GET /v1/again HTTP/1.1\r\nHo").unwrap();
    let answers = rest_of(&mut slow);
    assert!(answers.starts_with("HTTP/1.1 404 "), "{answers}");
    let (_, last) = answers.rsplit_once("HTTP/1.1 ").unwrap();
    Status(last[..3].parse().unwrap())
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

/// Of two texts one address may cause one. The others are answered alike, and send nothing.
pub(super) fn too_many_codes(node: &Node) -> Answer {
    let asked: Vec<(u16, Value)> = (0..3).map(|_| ask_code(node, "+491701234567")).collect();
    assert!(asked.iter().all(|(status, request)| *status == 202 && request.is_string()));
    told_code(node, &asked[0].1);
    assert_eq!(node.log().matches("one-time").count(), 1);
    Later
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
