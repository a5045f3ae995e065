//! HTTP/1.1 by hand against a node: any method, any path, one request to a connection.

use std::net::SocketAddr;

use serde_json::Value;

use crate::rig::exchange;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// One request. An empty `bearer` and an empty `body` are none; a body is sent as JSON.
pub(crate) fn call(at: SocketAddr, method: &str, path: &str, bearer: &str, body: &str) -> Answer {
    let mut fields = String::new();
    if !bearer.is_empty() {
        fields.push_str(&format!("Authorization: Bearer {bearer}\r\n"));
    }
    if !body.is_empty() {
        let length = body.len();
        let form = "Content-Type: application/json";
        fields.push_str(&format!("{form}\r\nContent-Length: {length}\r\n"));
    }
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n{body}"
    );
    let answer = exchange(at, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// `POST` with a JSON body.
pub(crate) fn post(at: SocketAddr, path: &str, bearer: &str, body: &Value) -> Answer {
    call(at, "POST", path, bearer, &body.to_string())
}
