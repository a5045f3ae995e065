//! The content of messages: a marker that names the message, then padding.
//!
//! The marker is found again in bytes of any kind, so that a checker can tell what a disk holds or
//! a client was shown without knowing any format.

use xxhash_rust::xxh3::xxh3_64;

use crate::fact::Canary;

const MARK: &[u8] = b"RPSIM:";
const DIGITS: usize = 16;

/// Shortest content, bytes.
pub(crate) const BYTES_MIN: usize = MARK.len() + DIGITS;

/// Content of a message, at least [`BYTES_MIN`] long.
#[must_use]
pub(crate) fn body(canary: Canary, bytes: usize) -> Vec<u8> {
    let mut body = [MARK, format!("{canary:016x}").as_bytes()].concat();
    body.resize(bytes.max(BYTES_MIN), b'.');
    body
}

/// What tells content from any other.
#[must_use]
pub(crate) fn hash(body: &[u8]) -> u64 {
    xxh3_64(body)
}

/// The messages that are found in bytes.
#[must_use]
pub(crate) fn canaries(bytes: &[u8]) -> Vec<Canary> {
    let starts = bytes.windows(BYTES_MIN).filter(|window| window.starts_with(MARK));
    starts
        .filter_map(|window| {
            let digits = std::str::from_utf8(&window[MARK.len()..]).ok()?;
            Canary::from_str_radix(digits, 16).ok()
        })
        .collect()
}
