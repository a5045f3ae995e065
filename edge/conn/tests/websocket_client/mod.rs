//! The client's side of the WebSocket tests: builds frames, right or wrong, and shows what the
//! decoder makes of them in whichever pieces they arrive.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::Duration;

use ringpost_conn::websocket::{Decoder, Item, Limits, Received, Violation};

/// Heap bytes of an assembly beside its message.
pub(crate) const ASSEMBLY_OVERHEAD_BYTES: usize = 256;

/// An [`Item`] that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Item<'_>> for Owned {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(text) => Self::Text(text.to_owned()),
            Item::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Item::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Item::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Item::Close(close) => Self::Close(close.code, close.reason.to_owned()),
        }
    }
}

/// What a decoder made of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) items: Vec<Owned>,
    pub(crate) violation: Option<Violation>,
}

/// A decoder fed piece by piece, with the bounds of its memory asserted at each step.
pub(crate) struct Client {
    pub(crate) decoder: Decoder,
    pub(crate) limits: Limits,
    pub(crate) now: Duration,
    pub(crate) outcome: Outcome,
    fed_bytes: usize,
}

impl Client {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(),
            limits,
            now: Duration::ZERO,
            outcome: Outcome::default(),
            fed_bytes: 0,
        }
    }

    /// Feeds one receive.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let mut bytes = piece.to_vec();
        let mut input = Received::new(&mut bytes);
        self.fed_bytes += piece.len();
        loop {
            match self.decoder.decode(&mut input, &self.limits, self.now) {
                Ok(Some(item)) => self.outcome.items.push(item.into()),
                Ok(None) => {
                    assert!(input.is_empty(), "all of the input is read");
                    break;
                }
                Err(violation) => {
                    self.outcome.violation = Some(violation);
                    break;
                }
            }
        }
        let bound = (2 * self.fed_bytes).min(self.limits.message_bytes_max as usize);
        assert!(self.decoder.pinned_bytes() <= ASSEMBLY_OVERHEAD_BYTES + bound);
        if self.decoder.assembling_since().is_none() {
            assert_eq!(self.decoder.pinned_bytes(), 0, "an idle decoder holds nothing");
        }
    }
}

/// The outcome of `bytes` cut at `cuts` (ascending).
pub(crate) fn decode_cut(bytes: &[u8], cuts: &[usize], limits: Limits) -> Outcome {
    let mut client = Client::new(limits);
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        client.feed(&bytes[start..end]);
        start = end;
    }
    client.outcome
}

/// The outcome of `bytes` in one buffer.
pub(crate) fn decode_whole(bytes: &[u8], limits: Limits) -> Outcome {
    decode_cut(bytes, &[], limits)
}

/// The outcome of `bytes`, one at a time.
pub(crate) fn decode_octets(bytes: &[u8], limits: Limits) -> Outcome {
    decode_cut(bytes, &(0..bytes.len()).collect::<Vec<_>>(), limits)
}

/// A frame with this first byte, masked, its length in the shortest form.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A masked frame's header up to its key.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}

/// The same frame without its mask.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, payload.len() as u8], payload].concat()
}
