//! The first bytes of a connection, and the head of an HTTP request.

use std::hint::black_box;

use ringpost_conn::http::{HeadReader, Origins};
use ringpost_conn::sniff::Sniffer;

use super::{Case, RECEIVE_BYTES, corpus};

const PARSER: &str = "upgrade";
const HEAD_BYTES: usize = 8_000;

fn decode(bytes: &[u8], piece_bytes: usize) {
    let origins = Origins::default();
    let (mut sniffer, mut reader) = (Sniffer::new(), HeadReader::new());
    for piece in bytes.chunks(piece_bytes) {
        let _ = black_box(sniffer.feed(piece));
        if black_box(reader.feed(piece, &origins)).is_err() {
            return;
        }
    }
}

/// A head of an upgrade with more in it.
fn head(more: &str) -> Vec<u8> {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
    .into_bytes()
}

fn case(name: &'static str, more: &str, piece_bytes: usize) -> Case {
    Case::of_streams(PARSER, name, (vec![head(more)], 0, piece_bytes), decode)
}

pub(super) fn cases() -> Vec<Case> {
    let heads = corpus("upgrade").into_iter().map(|(_, bytes)| bytes[1..].to_vec()).collect();
    let filled = |part: &str| part.repeat(HEAD_BYTES / part.len());
    let list = |name: &str, part: &str| format!("{name}: {}\r\n", filled(part));
    vec![
        Case::of_streams(PARSER, "corpus", (heads, 0, RECEIVE_BYTES), decode),
        case("short fields", &"a:\r\n".repeat(58), RECEIVE_BYTES),
        case("too many fields", &filled("a:\r\n"), RECEIVE_BYTES),
        case("ends of lines", &list("A", "\r \n").replace('\n', " "), RECEIVE_BYTES),
        case("subprotocols", &list("Sec-WebSocket-Protocol", "a,"), RECEIVE_BYTES),
        case(
            "subprotocols in many fields",
            &"Sec-WebSocket-Protocol:a\r\n".repeat(58),
            RECEIVE_BYTES,
        ),
        case("words of Connection", &list("Connection", "a,"), RECEIVE_BYTES),
        case("words of Upgrade", &list("Upgrade", "a,"), RECEIVE_BYTES),
        case("long field", &list("A", "a"), RECEIVE_BYTES),
        case("byte by byte", &"a:\r\n".repeat(40), 1),
    ]
}
