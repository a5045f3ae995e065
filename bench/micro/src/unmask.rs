//! A masked WebSocket message of a kilobyte: header, mask, and the payload handed out where it lies.

use std::hint::black_box;
use std::time::Duration;

use ringpost_conn::websocket::{Accepts, Decoder, Item, Limits, Received};

const PAYLOAD_BYTES: usize = 1_024;
const NOW: Duration = Duration::from_secs(1);

pub(crate) fn run(iterations: u64) {
    let limits = Limits::new(Accepts::Binary, 1 << 16);
    let mut decoder = Decoder::new();
    // FIN and binary; masked, with a length of two bytes.
    let head = [&[0x82, 0x80 | 126][..], &(PAYLOAD_BYTES as u16).to_be_bytes(), &[1, 2, 3, 4]];
    let mut frame = [head.concat(), vec![7; PAYLOAD_BYTES]].concat();
    for _ in 0..iterations {
        let mut input = Received::new(black_box(&mut frame));
        match decoder.decode(&mut input, &limits, NOW) {
            Ok(Some(Item::Binary(payload))) => assert_eq!(black_box(payload).len(), PAYLOAD_BYTES),
            other => panic!("a whole message, not {other:?}"),
        }
    }
}
