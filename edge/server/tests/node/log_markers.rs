//! What the log of a whole run holds, at its most talkative level and in both forms: neither
//! content, nor a credential, nor a phone number, nor a one-time code, whole or encoded.
//!
//! Setup: a node that sends codes by webhook. Action: sign-in by phone, messages over each
//! transport, every kind of refusal that can carry a secret, a `kill -9`, a recovery, an orderly
//! end. Expectation: each secret was planted with a marker, and no marker is in the log, which
//! tells of the run all the same.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{call, post};
use crate::peer::{BINARY, Encoding, Heard, Peer, TEXT, message, upgrade};
use crate::rig::{Node, PATIENCE, eventually, exchange};

const PHONE: &str = "+4915730987612";
const OTHER_PHONE: &str = "+4915730987634";
const WRONG_CODE: &str = "271828";

/// What must not be in the log, and what it is.
#[derive(Default)]
struct Markers(Vec<(&'static str, String)>);

impl Markers {
    fn plant(&mut self, what: &'static str, text: impl Into<String>) -> String {
        let text = text.into();
        assert!(text.len() >= 6, "{what}: {text} could be there by chance");
        self.0.push((what, text.clone()));
        text
    }

    /// Bytes, which a careless line could write in several forms.
    fn plant_content(&mut self, what: &'static str) -> Vec<u8> {
        let content = format!("{what} {}", Uuid::new_v4()).into_bytes();
        self.plant(what, String::from_utf8(content.clone()).unwrap());
        self.plant(what, BASE64.encode(&content).trim_end_matches('='));
        let hex = content.iter().fold(String::new(), |mut hex, octet| {
            write!(hex, "{octet:02x}").unwrap();
            hex
        });
        self.plant(what, hex);
        self.plant(what, format!("{content:?}").trim_matches(['[', ']']));
        content
    }

    fn check(&self, log: &str) {
        // Six digits may stand in a time by chance.
        let told: String = log.lines().map(without_time).collect();
        for (what, marker) in &self.0 {
            assert!(!told.contains(marker.as_str()), "{what}, {marker:?}, is in\n{log}");
        }
    }
}

/// A line of the log but for its time.
fn without_time(line: &str) -> String {
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(line) {
        fields.remove("timestamp");
        return format!("{}\n", Value::Object(fields));
    }
    let (_, told) = line.split_once(' ').unwrap_or(("", line));
    format!("{told}\n")
}

/// A receiver of codes, that takes the first call and then refuses one in two.
fn webhook() -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (codes, received) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let posted = json_of(&mut stream);
            let status = if number % 2 == 0 { "204 No Content" } else { "500 Broken" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            // The test may be over.
            let _ = codes.send(posted);
        }
    });
    (at, received)
}

/// The JSON body of a request.
fn json_of(stream: &mut TcpStream) -> Value {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 1_024];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "a whole request");
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if let Ok(value) = serde_json::from_str(body) {
            return value;
        }
    }
}

/// Signs Alice in by her phone, with a wrong guess before; her session.
fn by_phone(node: &Node, codes: &Receiver<Value>, markers: &mut Markers) -> Value {
    let asked = post(node.address, "/v1/auth/code", "", &json!({"phone": PHONE}));
    assert_eq!(asked.status, 202, "{asked:?}");
    let request = asked.json()["request"].as_str().unwrap().to_owned();
    let sent = codes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(sent["phone"], PHONE);
    let code = markers.plant("code", sent["code"].as_str().unwrap());
    let verify = |code: &str| {
        let body = json!({"request": request, "phone": PHONE, "code": code, "device": 1});
        post(node.address, "/v1/auth/verify", "", &body)
    };
    assert_eq!(verify(WRONG_CODE).status, 401);
    let session = verify(&code);
    assert_eq!(session.status, 200, "{session:?}");
    // One more, whose delivery fails.
    let asked = post(node.address, "/v1/auth/code", "", &json!({"phone": OTHER_PHONE}));
    assert_eq!(asked.status, 202, "{asked:?}");
    let lost = codes.recv_timeout(PATIENCE).unwrap();
    markers.plant("lost code", lost["code"].as_str().unwrap());
    eventually("a failed delivery", || node.log().contains("was not delivered"));
    session.json()
}

/// Uses Alice's refresh token twice, and signs her out.
fn use_up(node: &Node, session: &Value, markers: &mut Markers) {
    let refresh = |session: &Value| {
        let body = json!({"refresh_token": session["refresh_token"]});
        post(node.address, "/v1/auth/refresh", "", &body)
    };
    // The second is the newest: its use ends the time of grace of the first.
    let mut renewed = session.clone();
    for _ in 0..2 {
        renewed = refresh(&renewed).json();
        for field in ["access_token", "refresh_token"] {
            markers.plant("renewed token", renewed[field].as_str().unwrap());
        }
    }
    assert_eq!(refresh(session).status, 401);
    let access = renewed["access_token"].as_str().unwrap();
    assert_eq!(call(node.address, "POST", "/v1/auth/logout", access, "").status, 401);
    let unknown = markers.plant("unknown refresh token", format!("rpr1_{}", Uuid::new_v4()));
    let body = json!({"refresh_token": unknown});
    assert_eq!(post(node.address, "/v1/auth/refresh", "", &body).status, 401);
}

/// A message that arrives, an ephemeral one, and refusals that carry content; over one transport.
fn talk(node: &Node, encoding: Encoding, alice: &mut Peer, markers: &mut Markers) {
    let bob = Uuid::new_v4();
    let mut b = Peer::sign_in_live(node, encoding, bob, 1);
    alice.send(bob, &markers.plant_content("content"));
    let pushed = b.hear_kind("new_message");
    b.say(&json!({"type": "ack", "push": pushed["push"]}));
    let delivered = alice.hear_kind("receipt");
    alice.say(&json!({"type": "ack", "push": delivered["push"]}));
    let to_alice = pushed["from"].as_str().unwrap().parse().unwrap();
    let mut ephemeral = message(Uuid::new_v4(), to_alice, &markers.plant_content("ephemeral"));
    ephemeral["ephemeral"] = true.into();
    b.say(&ephemeral);
    alice.hear_kind("new_message");
    // To nobody, in the clear, too large.
    b.refused(&message(Uuid::new_v4(), Uuid::new_v4(), &markers.plant_content("lost")), 7);
    let plain = String::from_utf8(markers.plant_content("plain")).unwrap();
    let mut in_the_clear = message(Uuid::new_v4(), bob, b"");
    in_the_clear.as_object_mut().unwrap().remove("encrypted_content");
    in_the_clear["content"] = plain.into();
    b.refused(&in_the_clear, 5);
    let mut large = markers.plant_content("large");
    large.resize(2_000, b'-');
    b.refused(&message(Uuid::new_v4(), bob, &large), 6);
    let renewal = markers.plant("renewal", format!("eyJhbGciOiJub25lIn0.{}.x", Uuid::new_v4()));
    b.refused(&json!({"type": "auth", "token": renewal}), 16);
    b.ping();
}

/// Bytes that are no command, credentials that are none, requests that are wrong.
fn nonsense(node: &Node, markers: &mut Markers) {
    for encoding in [Encoding::Tcp, Encoding::Json, Encoding::Bin] {
        let mut peer = Peer::connect(node, encoding);
        let token =
            markers.plant("bad token", format!("eyJhbGciOiJFZERTQSJ9.{}.x", Uuid::new_v4()));
        peer.say(&json!({"type": "hello", "token": token, "device": 1}));
        assert_eq!(peer.listen(), Heard::End(Some(4401)));
    }
    let garbage = markers.plant("garbage", Uuid::new_v4());
    let mut peer = Peer::sign_in_live(node, Encoding::Json, Uuid::new_v4(), 1);
    for text in [
        garbage.clone(),
        format!("{{\"type\":\"{garbage}\"}}"),
        format!("{{\"{garbage}\":1,\"{garbage}\":2}}"),
        format!(
            "{{\"type\":\"send_message\",\"to\":\"{garbage}\",\"encrypted_content\":\"{garbage}!\"}}"
        ),
    ] {
        peer.frame(TEXT, text.as_bytes());
        peer.hear_kind("error");
    }
    peer.frame(BINARY, garbage.as_bytes());
    peer.last_word();
    let mut peer = Peer::connect(node, Encoding::Tcp);
    peer.write(garbage.as_bytes());
    peer.last_word();
    exchange(node.address, format!("{garbage}\r\n\r\n").as_bytes());
    let fields = format!("User-Agent: {garbage}\r\nSec-WebSocket-Protocol: {garbage}\r\n");
    exchange(node.address, upgrade(&fields).as_bytes());
    for (method, path) in [
        ("GET", format!("/v1/messages?user_id={garbage}&access_token={garbage}")),
        ("GET", format!("/{garbage}")),
        ("PATCH", format!("/v1/auth/code?{garbage}")),
        ("POST", "/v1/auth/code".to_owned()),
        ("POST", "/v1/auth/verify".to_owned()),
        ("POST", "/v1/auth/refresh".to_owned()),
    ] {
        let answer =
            call(node.address, method, &path, &garbage, &format!("{{\"phone\":\"{garbage}\""));
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    for path in ["explain", "users", "connections?after="] {
        let path = format!("/admin/{path}/x{garbage}");
        assert!(call(node.admin, "GET", &path, &garbage, "").status >= 400);
    }
}

fn run(format: &str) {
    let (at, codes) = webhook();
    let mut markers = Markers::default();
    let mut node = Node::start(&[
        "log.level=debug",
        &format!("log.format={format}"),
        "auth.code_sender=webhook",
        &format!("auth.webhook_url=http://{at}/codes"),
        "auth.requests_per_address_minute=1000",
        "limits.message_bytes_max=1KiB",
    ]);
    for phone in [PHONE, OTHER_PHONE] {
        markers.plant("phone", &phone[1..]);
    }
    markers.plant("wrong code", WRONG_CODE);
    let session = by_phone(&node, &codes, &mut markers);
    for field in ["access_token", "refresh_token"] {
        markers.plant("token", session[field].as_str().unwrap());
    }
    let access = session["access_token"].as_str().unwrap();
    markers.plant("signature of a token", access.rsplit('.').next().unwrap());

    let mut alice = Peer::connect(&node, Encoding::Json);
    alice.say(&json!({"type": "hello", "token": access, "device": 1}));
    let welcome = alice.hear_kind("welcome");
    markers.plant("ticket", welcome["ticket"].as_str().unwrap().trim_end_matches('='));
    alice.hear_kind("queue_empty");
    for encoding in [Encoding::Tcp, Encoding::Json, Encoding::Bin] {
        talk(&node, encoding, &mut alice, &mut markers);
    }
    nonsense(&node, &mut markers);
    let history = call(node.address, "GET", "/v1/messages?after=", access, "");
    assert_eq!(history.json()["messages"].as_array().map(Vec::len), Some(3), "{history:?}");

    // A recovery has the content before it once more.
    node.kill();
    let mut node = node.restart();
    use_up(&node, &session, &mut markers);
    let mut away = Peer::connect(&node, Encoding::Tcp);
    away.say(&json!({"type": "hello", "ticket": welcome["ticket"], "device": 1}));
    assert_eq!(away.last_word(), Some(4401), "her credentials are void");
    node.signal(Signal::SIGTERM);
    assert!(node.wait().success());

    let log = node.log();
    for told in ["refused", "was not delivered", "came twice", "stopped; everything acknowledged"] {
        assert!(log.contains(told), "{told} is not in\n{log}");
    }
    markers.check(&log);
}

#[test]
fn abuse_row_39_no_secret_of_a_whole_run_is_in_the_log_as_text() {
    run("text");
}

#[test]
fn abuse_row_39_no_secret_of_a_whole_run_is_in_the_log_as_json() {
    run("json");
}

#[test]
fn at_debug_the_log_says_who_signs_in_how_and_by_what() {
    let node = Node::start(&["log.level=debug"]);
    let user = Uuid::new_v4();
    let mut first = Peer::connect(&node, Encoding::Tcp);
    first.say(&json!({"type": "hello", "token": node.token(user, 3), "device": 3}));
    let ticket = first.hear_kind("welcome")["ticket"].clone();
    let mut second = Peer::connect(&node, Encoding::Json);
    second.say(&json!({"type": "hello", "ticket": ticket, "device": 3}));
    second.hear_kind("welcome");
    for (transport, by) in [("binary", "token"), ("websocket_json", "ticket")] {
        let line = format!(
            "signed in user={user} device=3 transport=\"{transport}\" by=\"{by}\" \
             address=127.0.0.1"
        );
        eventually("the sign-in is told", || node.log().contains(&line));
    }
}
