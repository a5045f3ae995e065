//! Frames of WebSocket, up to the messages in them.

use std::hint::black_box;
use std::time::Duration;

use ringpost_conn::websocket::{Accepts, Decoder, Limits, Received};
use ringpost_wire::limits::{FRAME_BYTES_MAX, JSON_TEXT_BYTES_MAX};

use super::{Case, RECEIVE_BYTES, corpus};

const PARSER: &str = "websocket";
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const FIN: u8 = 0x80;

fn decode_text(bytes: &[u8], piece_bytes: usize) {
    decode(bytes, piece_bytes, &Limits::new(Accepts::Text, JSON_TEXT_BYTES_MAX as u32));
}

fn decode_binary(bytes: &[u8], piece_bytes: usize) {
    decode(bytes, piece_bytes, &Limits::new(Accepts::Binary, FRAME_BYTES_MAX as u32));
}

fn decode(bytes: &[u8], piece_bytes: usize, limits: &Limits) {
    let mut decoder = Decoder::new();
    let mut buffer = [0; RECEIVE_BYTES];
    for piece in bytes.chunks(piece_bytes) {
        let piece_in_buffer = &mut buffer[..piece.len()];
        piece_in_buffer.copy_from_slice(piece);
        let mut input = Received::new(piece_in_buffer);
        while let Ok(Some(item)) = decoder.decode(&mut input, limits, Duration::ZERO) {
            black_box(item);
        }
    }
}

/// A masked frame with this first byte.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A text in fragments.
fn fragments(parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    let part = |(at, part): (usize, &&[u8])| {
        let opcode = if at == 0 { 1 } else { 0 };
        frame(if at == last { FIN | opcode } else { opcode }, part)
    };
    parts.iter().enumerate().flat_map(part).collect()
}

fn stream(name: &'static str, bytes: Vec<u8>, frames: usize, piece_bytes: usize) -> Case {
    Case::of_streams(PARSER, name, (vec![bytes], frames, piece_bytes), decode_text)
}

pub(super) fn cases() -> Vec<Case> {
    let texts = corpus("websocket").into_iter().map(|(_, bytes)| bytes[1..].to_vec()).collect();
    let given = (texts, 1, RECEIVE_BYTES);
    let wide = "\u{1f600}".repeat(22_000);
    let halves: Vec<&[u8]> = wide.as_bytes().chunks(1).take(1_024).collect();
    let large = frame(0x82, &[7; 66_000]);
    vec![
        Case::of_streams(PARSER, "corpus", given, decode_text),
        stream("pings of a byte", frame(PING, b"x").repeat(8_000), 8_000, RECEIVE_BYTES),
        stream("empty pings", frame(PING, b"").repeat(8_000), 8_000, RECEIVE_BYTES),
        stream("texts of a byte", frame(TEXT, b"x").repeat(8_000), 8_000, RECEIVE_BYTES),
        stream("fragments of a byte", fragments(&halves).repeat(8), 8, RECEIVE_BYTES),
        stream("empty fragments", fragments(&[&b""[..]; 1_024]).repeat(8), 8, RECEIVE_BYTES),
        stream("text of four bytes each", frame(TEXT, wide.as_bytes()), 1, RECEIVE_BYTES),
        stream("the same in pieces of three", frame(TEXT, &wide.as_bytes()[..6_000]), 1, 3),
        stream("byte by byte", frame(TEXT, b"x").repeat(100), 100, 1),
        Case::of_streams(PARSER, "large", (vec![large], 1, RECEIVE_BYTES), decode_binary),
    ]
}
