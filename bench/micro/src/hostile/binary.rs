//! Binary frames on the bare stream.

use std::hint::black_box;

use ringpost_wire::binary::decode_command;
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;

use super::{Case, RECEIVE_BYTES, corpus};

const PARSER: &str = "binary";

fn decode(bytes: &[u8], piece_bytes: usize) {
    let mut decoder = FrameDecoder::default();
    for piece in bytes.chunks(piece_bytes) {
        let mut rest = piece;
        while let Ok(step) = decoder.decode(rest, PAYLOAD_BYTES_MAX) {
            rest = &rest[step.consumed..];
            let Some(frame) = step.frame else { break };
            let header = frame.header;
            let _ = black_box(decode_command(header.kind, header.flags, frame.payload));
        }
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&[kind, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

fn floods(name: &'static str, frame: &[u8]) -> Case {
    let times = 65_536 / frame.len();
    let given = (vec![frame.repeat(times)], times, RECEIVE_BYTES);
    Case::of_streams(PARSER, name, given, decode)
}

pub(super) fn cases() -> Vec<Case> {
    // The first byte is the fuzzer's.
    let frames = corpus("binary").into_iter().map(|(_, bytes)| bytes[1..].to_vec()).collect();
    let fixed_only = |bytes: u16| {
        let mut payload = bytes.to_le_bytes().to_vec();
        payload.resize(bytes.into(), 1);
        payload
    };
    let mut users = fixed_only(2);
    users.extend_from_slice(&(256_u32 * 16).to_le_bytes());
    users.extend_from_slice(&[1; 256 * 16]);
    let mut sections = fixed_only(58);
    sections.extend_from_slice(&[0; 60_000]);
    let one = frame(0x7e, &fixed_only(10));
    let bytewise = (vec![one.repeat(100)], 100, 1);
    vec![
        Case::of_streams(PARSER, "corpus", (frames, 1, RECEIVE_BYTES), decode),
        floods("empty pings", &frame(0x7e, &[])),
        floods("empty messages", &frame(0x03, &[])),
        floods("unknown kinds", &frame(0xff, &[])),
        floods("users", &frame(0x07, &users)),
        floods("empty sections", &frame(0x03, &sections)),
        floods("empty sections of an ack", &frame(0x04, &sections)),
        floods("short fixed parts", &frame(0x05, &fixed_only(2))),
        Case::of_streams(PARSER, "byte by byte", bytewise, decode),
    ]
}
