//! What a message carries so that its arrival can be checked and timed.
//!
//! ```text
//!   0      4          8             16                      content
//!   [ from ][ sequence ][ intended_ns ][ filling ... ]
//! ```
//! Little-endian. The rest of the content is filling that depends on the position alone.

/// The shortest content that can be checked, bytes.
pub(crate) const STAMP_BYTES: usize = 16;

/// Who sent it, the how many-th to this receiver it is, and when it was meant to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The sender's number.
    pub(crate) from: u32,
    /// From 0, counted for each pair of sender and receiver.
    pub(crate) sequence: u32,
    /// Nanoseconds since the beginning of the run.
    pub(crate) intended_ns: u64,
}

impl Stamp {
    /// Writes the stamp over the head of `content`.
    pub(crate) fn write(self, content: &mut [u8]) {
        content[..4].copy_from_slice(&self.from.to_le_bytes());
        content[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        content[8..STAMP_BYTES].copy_from_slice(&self.intended_ns.to_le_bytes());
    }

    /// Reads it back; `None` if the content has not the length or the filling that was sent.
    pub(crate) fn read(content: &[u8], bytes: usize) -> Option<Self> {
        let (head, filling) = content.split_first_chunk::<STAMP_BYTES>()?;
        // The last byte tells a content that was shifted; all of them would cost the generator
        // more than the message.
        let last = filling.len().checked_sub(1);
        if content.len() != bytes || last.is_some_and(|last| filling[last] != filling_at(last)) {
            return None;
        }
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Some(Self {
            from: number(0),
            sequence: number(4),
            intended_ns: u64::from(number(8)) | u64::from(number(12)) << 32,
        })
    }
}

/// Content of this length, to write stamps into.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    let filling = (0..bytes.saturating_sub(STAMP_BYTES)).map(filling_at);
    std::iter::repeat_n(0, STAMP_BYTES.min(bytes)).chain(filling).collect()
}

fn filling_at(position: usize) -> u8 {
    (position % 251) as u8 ^ 0xa5
}

#[cfg(test)]
mod tests {
    use super::{Stamp, content};

    #[test]
    fn a_stamp_comes_back_and_a_cut_content_is_seen() {
        for bytes in [16, 20, 64, 512, 4096] {
            let mut content = content(bytes);
            let stamp = Stamp { from: 7, sequence: u32::MAX, intended_ns: u64::MAX - 3 };
            stamp.write(&mut content);
            assert_eq!(Stamp::read(&content, bytes), Some(stamp));
            assert_eq!(Stamp::read(&content[..bytes - 1], bytes), None);
        }
        let mut content = content(64);
        content[63] ^= 1;
        assert_eq!(Stamp::read(&content, 64), None);
        assert_eq!(Stamp::read(&[0; 15], 15), None);
    }
}
