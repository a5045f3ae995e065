//! The texts of `ringpost.v1.json`: commands to the server, events to the client.

use std::fmt;

use bytes::BytesMut;
use ringpost_wire::binary;
use ringpost_wire::decoder::frames;
use ringpost_wire::json::{decode_command, decode_event, encode_command, encode_event};
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{Command, Consequence, Event, Refused};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Any text.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match decode_command(text) {
        Ok((command, tag)) => {
            is_json(text);
            command_comes_back(&command, tag);
        }
        Err(refused) => names_the_command(text, &refused),
    }
    if let Ok((event, tag)) = decode_event(text) {
        is_json(text);
        event_comes_back(&event, tag);
    }
}

/// A refusal carries the names of the command wherever they stand, by another reader's measure.
fn names_the_command(text: &str, refused: &Refused) {
    let goes_on = matches!(refused.error.consequence(), Consequence::Refuse(_));
    let Ok(Names { tag, message_id }) = serde_json::from_str(text) else { return };
    if goes_on {
        let tag = tag.and_then(|tag| tag.as_u64()).and_then(|tag| u16::try_from(tag).ok());
        assert_eq!(refused.tag, tag.unwrap_or(0), "{text}");
        let message_id = message_id.as_ref().and_then(Value::as_str).filter(|id| is_uuid(id));
        let message_id = message_id.unwrap_or("00000000-0000-0000-0000-000000000000");
        assert_eq!(refused.message_id.to_string(), message_id.to_ascii_lowercase(), "{text}");
    }
}

fn is_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

/// What names a command; none that comes twice.
struct Names {
    tag: Option<Value>,
    message_id: Option<Value>,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let (mut tags, mut message_ids) = (Vec::new(), Vec::new());
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "tag" => tags.push(map.next_value()?),
                        "message_id" => message_ids.push(map.next_value()?),
                        _ => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                let only = |mut all: Vec<Value>| if all.len() == 1 { all.pop() } else { None };
                Ok(Names { tag: only(tags), message_id: only(message_ids) })
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

fn is_json(text: &str) {
    serde_json::from_str::<IgnoredAny>(text).expect("JSON by another reader's measure");
}

fn command_comes_back(command: &Command<'_>, tag: u16) {
    let mut out = BytesMut::new();
    encode_command(command, tag, &mut out);
    let text = std::str::from_utf8(&out).expect("JSON is UTF-8");
    is_json(text);
    assert_eq!(decode_command(text).as_ref(), Ok(&(command.clone(), tag)), "{text}");

    let mut out = BytesMut::new();
    binary::encode_command(command, tag, &mut out);
    let frame = frames(&out, PAYLOAD_BYTES_MAX).next().expect("one frame").expect("whole");
    let again = binary::decode_command(frame.header.kind, frame.header.flags, frame.payload);
    assert_eq!(again.as_ref(), Ok(command), "both encodings hold what either may say");
}

fn event_comes_back(event: &Event, tag: u16) {
    let mut out = BytesMut::new();
    encode_event(event, tag, &mut out);
    let text = std::str::from_utf8(&out).expect("JSON is UTF-8");
    is_json(text);
    assert_eq!(decode_event(text).as_ref(), Ok(&(event.clone(), tag)), "{text}");

    let mut out = BytesMut::new();
    binary::encode_event(event, tag, &mut out);
    let frame = frames(&out, PAYLOAD_BYTES_MAX).next().expect("one frame").expect("whole");
    let again = binary::decode_event(frame.header.kind, frame.header.flags, frame.payload);
    assert_eq!(again.as_ref(), Ok(event), "both encodings hold what either may say");
}
