//! What a client sends after its upgrade, by RFC 6455 or not.

use ringpost_conn::websocket::{Accepts, Limits};

use client::decode_cut;

#[path = "../../../edge/conn/tests/websocket_client/mod.rs"]
mod client;

/// Small, so that short inputs reach the limits.
const MESSAGE_BYTES_MAX: u32 = 512;

/// Few, for the same reason.
const FRAGMENTS_MAX: u16 = 6;

/// The first byte chooses the subprotocol and the length of the pieces in which the rest arrives.
/// The bounds of memory are asserted at each piece.
///
/// # Panics
/// Where a promise is broken.
pub fn run(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let accepts = if choice & 1 == 0 { Accepts::Text } else { Accepts::Binary };
    let limits = Limits { fragments_max: FRAGMENTS_MAX, ..Limits::new(accepts, MESSAGE_BYTES_MAX) };
    let whole = decode_cut(bytes, &[], limits);
    let pieces = decode_cut(bytes, &crate::cuts(bytes, choice >> 1), limits);
    assert_eq!(whole, pieces, "cuts change nothing");
}
