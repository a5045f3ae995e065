//! The binary protocol: a stream of frames, commands to the server and events to the client.

use bytes::BytesMut;
use ringpost_wire::binary::{
    decode_command, decode_event, encode_command, encode_event, message_id_of,
};
use ringpost_wire::decoder::{FrameDecoder, frames};
use ringpost_wire::frame::{Frame, Header};
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{Command, DecodeError};

/// Payloads above this are refused here, so that short inputs reach the refusal too.
const SMALL_PAYLOAD_BYTES_MAX: usize = 2048;

type Stream = (Vec<(Header, Vec<u8>)>, Option<DecodeError>);

/// The first byte is the length of the pieces in which the rest arrives.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Some((&size, bytes)) = input.split_first() else { return };
    let whole = decode(bytes, &[]);
    assert_eq!(whole, decode(bytes, &crate::cuts(bytes, size)), "cuts change nothing");
    for (header, payload) in &whole.0 {
        command_comes_back(header, payload);
        event_comes_back(header, payload);
    }
}

fn decode(bytes: &[u8], cuts: &[usize]) -> Stream {
    let mut decoder = FrameDecoder::default();
    let mut found = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let mut input = &bytes[start..end];
        start = end;
        loop {
            let step = match decoder.decode(input, SMALL_PAYLOAD_BYTES_MAX) {
                Ok(step) => step,
                Err(error) => return (found, Some(error)),
            };
            input = &input[step.consumed..];
            let Some(Frame { header, payload }) = step.frame else { break };
            found.push((header, payload.to_vec()));
        }
        assert!(decoder.assembly_bytes() <= 2 * SMALL_PAYLOAD_BYTES_MAX);
    }
    (found, None)
}

fn command_comes_back(header: &Header, payload: &[u8]) {
    let named = message_id_of(header.kind, payload);
    let Ok(command) = decode_command(header.kind, header.flags, payload) else { return };
    if let Command::SendMessage(message) = &command {
        assert_eq!(named, message.message_id, "a refusal names what was sent");
    }
    let mut out = BytesMut::new();
    encode_command(&command, header.tag, &mut out);
    let frame = only_frame(&out);
    assert_eq!(frame.header.tag, header.tag);
    let again = decode_command(frame.header.kind, frame.header.flags, frame.payload);
    assert_eq!(again.as_ref(), Ok(&command));
}

fn event_comes_back(header: &Header, payload: &[u8]) {
    let Ok(event) = decode_event(header.kind, header.flags, payload) else { return };
    let mut out = BytesMut::new();
    encode_event(&event, header.tag, &mut out);
    let frame = only_frame(&out);
    assert_eq!(frame.header.tag, header.tag);
    let again = decode_event(frame.header.kind, frame.header.flags, frame.payload);
    assert_eq!(again.as_ref(), Ok(&event));
}

fn only_frame(bytes: &[u8]) -> Frame<'_> {
    let mut frames = frames(bytes, PAYLOAD_BYTES_MAX);
    let frame = frames.next().expect("one frame").expect("whole");
    assert!(frames.next().is_none(), "and only one");
    frame
}
