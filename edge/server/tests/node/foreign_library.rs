//! A client library that others use speaks both subprotocols with the server.

use std::collections::VecDeque;
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};
use uuid::Uuid;

use crate::peer::{binary_command, content, events_of, message};
use crate::rig::{Node, PATIENCE};

struct Library {
    socket: WebSocket<TcpStream>,
    binary: bool,
    events: VecDeque<Value>,
}

impl Library {
    fn sign_in(node: &Node, subprotocol: &str, user: Uuid) -> Self {
        let mut request = format!("ws://{}/v1/ws", node.address).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
        let stream = TcpStream::connect(node.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, response) = tungstenite::client(request, stream).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], subprotocol);
        let binary = subprotocol == "ringpost.v1.bin";
        let mut library = Self { socket, binary, events: VecDeque::new() };
        library.say(&json!({"type": "hello", "token": node.token(user, 1), "device": 1}));
        library.hear("welcome");
        library.hear("queue_empty");
        library
    }

    fn say(&mut self, command: &Value) {
        let text = command.to_string();
        let message = match self.binary {
            true => Message::binary(binary_command(&text)),
            false => Message::text(text),
        };
        self.socket.send(message).unwrap();
    }

    fn hear(&mut self, kind: &str) -> Value {
        while self.events.is_empty() {
            match self.socket.read().unwrap() {
                Message::Text(text) => {
                    assert!(!self.binary);
                    self.events.push_back(serde_json::from_str(&text).unwrap());
                }
                Message::Binary(bytes) => {
                    assert!(self.binary);
                    assert_eq!(events_of(&bytes, &mut self.events), bytes.len());
                }
                other => panic!("{other:?}"),
            }
        }
        let event = self.events.pop_front().unwrap();
        assert_eq!(event["type"], kind, "{event}");
        event
    }
}

#[test]
fn both_subprotocols_carry_a_message_and_its_receipts() {
    let node = Node::start(&[]);
    for (one, other) in [
        ("ringpost.v1.json", "ringpost.v1.json"),
        ("ringpost.v1.json", "ringpost.v1.bin"),
        ("ringpost.v1.bin", "ringpost.v1.json"),
        ("ringpost.v1.bin", "ringpost.v1.bin"),
    ] {
        let (alice, bob) = (Uuid::new_v4(), Uuid::new_v4());
        let mut a = Library::sign_in(&node, one, alice);
        let mut b = Library::sign_in(&node, other, bob);
        a.say(&message(Uuid::new_v4(), bob, b"hello"));
        let sent = a.hear("receipt");
        assert_eq!((&sent["status"], &sent["tag"]), (&json!("sent"), &json!(9)));
        let got = b.hear("new_message");
        assert_eq!(content(&got), b"hello");
        assert_eq!((&got["id"], &got["from"]), (&sent["id"], &json!(alice)));
        b.say(&json!({"type": "ack", "push": got["push"]}));
        assert_eq!(a.hear("receipt")["status"], "delivered");
        b.say(&json!({"type": "receipt", "status": "read", "id": got["id"]}));
        let read = a.hear("receipt");
        assert_eq!((&read["status"], &read["id"]), (&json!("read"), &sent["id"]));
        // Its own pings are answered with their payload, and its close with a close.
        a.socket.send(Message::Ping(b"are you there"[..].into())).unwrap();
        assert_eq!(a.socket.read().unwrap(), Message::Pong(b"are you there"[..].into()));
        a.socket.close(None).unwrap();
        while a.socket.read().is_ok() {}
        assert!(!a.socket.can_read());
    }
}
