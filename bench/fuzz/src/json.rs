//! The texts of `ringpost.v1.json`: commands to the server, events to the client.

use bytes::BytesMut;
use ringpost_wire::binary;
use ringpost_wire::decoder::frames;
use ringpost_wire::json::{
    decode_command, decode_event, encode_command, encode_event, tag_and_message_id_of,
};
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{Command, Event};
use serde::de::IgnoredAny;

/// Any text.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (tag, message_id) = tag_and_message_id_of(text);
    if let Ok((command, own_tag)) = decode_command(text) {
        is_json(text);
        assert_eq!(tag, own_tag, "a refusal echoes the tag");
        if let Command::SendMessage(message) = &command {
            assert_eq!(message_id, message.message_id, "a refusal names what was sent");
        }
        command_comes_back(&command, tag);
    }
    if let Ok((event, tag)) = decode_event(text) {
        is_json(text);
        event_comes_back(&event, tag);
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
