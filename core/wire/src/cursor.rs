//! The cursor of history: the text that `queue_empty` tells, that `next` of `GET /v1/messages`
//! answers, and that its `after` takes.
//!
//! Opaque to clients: base64url without padding of a version byte and a big-endian number, the
//! last position that is not asked for any more. Nothing secret, because it only counts within
//! the asker's own conversations.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The version byte.
const VERSION: u8 = 1;

/// A place in the order of all that a user sent and was sent; 0 is the beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct HistoryCursor(pub u64);

impl HistoryCursor {
    /// The text that a client is given.
    pub fn to_text(self) -> String {
        let mut bytes = [VERSION; 9];
        bytes[1..].copy_from_slice(&self.0.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text that a client gives back; the empty one is the beginning. `None`: nobody was
    /// given such a text.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(0));
        }
        let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let [VERSION, number @ ..] = bytes else { return None };
        Some(Self(u64::from_be_bytes(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_opaque_text_that_only_we_make() {
        for number in [0, 1, 77, u64::MAX] {
            let cursor = HistoryCursor(number);
            assert_eq!(HistoryCursor::from_text(&cursor.to_text()), Some(cursor));
        }
        assert_eq!(HistoryCursor::from_text(""), Some(HistoryCursor(0)));
        for text in ["0", "x", "AQAAAAAAAAA", "AgAAAAAAAAAB", "AQAAAAAAAAABAA", "../etc"] {
            assert_eq!(HistoryCursor::from_text(text), None, "{text}");
        }
    }
}
