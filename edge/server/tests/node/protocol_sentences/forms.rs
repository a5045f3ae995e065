//! What a row says, and in which forms.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::peer::binary_command;

/// The code of what is no command.
pub(super) const MALFORMED: u16 = 1;

pub(super) const HELLO: u8 = 0x01;
pub(super) const SEND: u8 = 0x03;
pub(super) const ACK: u8 = 0x04;
pub(super) const RECEIPT: u8 = 0x05;
pub(super) const SUBSCRIBE: u8 = 0x07;
pub(super) const BYE: u8 = 0x0a;
pub(super) const PING: u8 = 0x7e;

/// How far a connection is when a row is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Before `hello`.
    Stranger,
    SignedIn,
}

/// What the server does.
#[derive(Debug)]
pub(super) enum Answer {
    /// An `error` with the tag of the command, and with its message id where it is `named`.
    Refused { code: u16, named: bool },
    /// An event with these fields.
    Event(Value),
    /// Nothing is said, and the connection goes on.
    Nothing,
    /// The connection ends.
    Closed(u16),
}

/// What is said.
#[derive(Debug)]
pub(super) enum Said {
    /// The fields of a text, which get the tag; over the binary transports the same command, by the
    /// server's own codec.
    Command(String),
    /// The fields of a text, for JSON alone.
    Text(String),
    /// A text as it stands, for JSON alone.
    Raw(String),
    /// Kind, flags and payload of a frame, for the binary transports.
    Frame(u8, u8, Vec<u8>),
    /// Both of these.
    Both(String, (u8, u8, Vec<u8>)),
}

/// One sentence and one try.
pub(super) struct Row {
    pub(super) sentence: &'static str,
    pub(super) stage: Stage,
    pub(super) said: Said,
    pub(super) answer: Answer,
}

impl Row {
    /// Text and frame; `None` where the row says nothing in the form that is asked for. `TOKEN` in a
    /// text becomes the token of the client, `OTHER` that of another user.
    pub(super) fn forms(
        &self,
        is_json: bool,
        token: &str,
        other: &str,
    ) -> Option<(String, Vec<u8>)> {
        let text = |fields: &str| {
            let text = format!(r#"{{{fields},"tag":7}}"#);
            text.replace("TOKEN", token).replace("OTHER", other)
        };
        let frame = |(kind, flags, payload): (u8, u8, &[u8])| frame_of(kind, flags, payload);
        match &self.said {
            Said::Command(fields) if is_json => Some((text(fields), Vec::new())),
            Said::Command(fields) => Some((String::new(), binary_command(&text(fields)))),
            Said::Text(fields) => is_json.then(|| (text(fields), Vec::new())),
            Said::Raw(text) => is_json.then(|| (text.clone(), Vec::new())),
            Said::Both(fields, _) if is_json => Some((text(fields), Vec::new())),
            Said::Frame(kind, flags, payload) | Said::Both(_, (kind, flags, payload)) => {
                (!is_json).then(|| (String::new(), frame((*kind, *flags, payload))))
            }
        }
    }
}

/// A frame with the tag of all rows.
pub(super) fn frame_of(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..], &[kind, flags, 7, 0], payload].concat()
}

/// A fixed part, its length filled in, and sections.
pub(super) fn payload(fields: &[&[u8]], sections: &[&[u8]]) -> Vec<u8> {
    let fixed = fields.concat();
    let mut bytes = ((fixed.len() + 2) as u16).to_le_bytes().to_vec();
    bytes.extend(fixed);
    for section in sections {
        bytes.extend((section.len() as u32).to_le_bytes());
        bytes.extend(*section);
    }
    bytes
}

/// The message id of all rows that have one.
pub(super) fn message_id() -> Uuid {
    Uuid::from_u128(0x0186550c_6c78_70a1_8000_000000000011)
}

/// Somebody to write to.
pub(super) fn bob() -> Uuid {
    Uuid::from_u128(0x0b0b0000_0000_4000_8000_000000000002)
}

pub(super) fn named(code: u16) -> Answer {
    Answer::Refused { code, named: true }
}

pub(super) fn refused(code: u16) -> Answer {
    Answer::Refused { code, named: false }
}

pub(super) fn row(stage: Stage, sentence: &'static str, said: Said, answer: Answer) -> Row {
    Row { sentence, stage, said, answer }
}

/// A row of a client that has signed in.
pub(super) fn live(sentence: &'static str, said: Said, answer: Answer) -> Row {
    row(Stage::SignedIn, sentence, said, answer)
}

/// A row of one that has not.
pub(super) fn stranger(sentence: &'static str, said: Said, answer: Answer) -> Row {
    row(Stage::Stranger, sentence, said, answer)
}

pub(super) fn text(fields: &str) -> Said {
    Said::Text(fields.to_owned())
}

/// The fields of a `send_message` with these further ones.
pub(super) fn send_text(fields: &str) -> String {
    format!(r#""type":"send_message","message_id":"{}",{fields}"#, message_id())
}

/// The payload of a `send_message`.
pub(super) fn send_payload(to: &[u8], timestamp_ms: u64, content: &[u8]) -> Vec<u8> {
    let id = message_id();
    let fields = [id.as_bytes(), to, &[0; 16], &timestamp_ms.to_le_bytes()[..]];
    payload(&fields, &[content])
}

pub(super) fn receipt_payload(status: u8) -> Vec<u8> {
    payload(&[&[status], &[0; 16], message_id().as_bytes(), &[0; 8]], &[])
}

pub(super) fn pong(nonce: u64) -> Answer {
    Answer::Event(json!({"type": "pong", "nonce": nonce, "tag": 7}))
}
