//! Text that arrives in pieces: validated as it comes, so that a bad byte fails at once and the
//! finished message needs no second pass.

use std::str;

use super::Violation;

/// Longest UTF-8 sequence.
const SEQUENCE_BYTES_MAX: usize = 4;

/// A text message under assembly. A character cut by a piece's end waits in `cut` until the next
/// piece completes it; everything before stands in `valid`.
#[derive(Default)]
pub(super) struct PartialText {
    valid: String,
    cut: [u8; SEQUENCE_BYTES_MAX],
    cut_bytes: u8,
}

impl PartialText {
    /// Bytes taken so far.
    pub(super) fn len(&self) -> usize {
        self.valid.len() + usize::from(self.cut_bytes)
    }

    /// Bytes that the buffer holds, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.valid.capacity()
    }

    /// Makes room for exactly `additional` bytes behind the text that is there.
    pub(super) fn reserve_exact(&mut self, additional: usize) {
        self.valid.reserve_exact(additional);
    }

    /// Takes the next unmasked piece.
    ///
    /// # Errors
    /// [`Violation::TextNotUtf8`] as soon as no continuation could make the text valid.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        let piece = self.complete_cut(piece)?;
        match simdutf8::compat::from_utf8(piece) {
            Ok(valid) => self.valid.push_str(valid),
            Err(error) if error.error_len().is_some() => return Err(Violation::TextNotUtf8),
            Err(error) => {
                let (valid, cut) = piece.split_at(error.valid_up_to());
                let valid = simdutf8::basic::from_utf8(valid).expect("valid up to the error");
                self.valid.push_str(valid);
                self.cut[..cut.len()].copy_from_slice(cut);
                self.cut_bytes = cut.len() as u8;
            }
        }
        Ok(())
    }

    /// The end of the message.
    ///
    /// # Errors
    /// [`Violation::TextNotUtf8`] if it ends inside a character.
    pub(super) fn finish(&self) -> Result<(), Violation> {
        if self.cut_bytes == 0 { Ok(()) } else { Err(Violation::TextNotUtf8) }
    }

    /// The validated text, without a character that is still cut.
    pub(super) fn as_str(&self) -> &str {
        &self.valid
    }

    /// Feeds the cut character from the start of `piece`, and returns what it left.
    fn complete_cut<'p>(&mut self, mut piece: &'p [u8]) -> Result<&'p [u8], Violation> {
        // Ends: as written, at a cut sequence of at most three bytes.
        while self.cut_bytes > 0 {
            let Some((&byte, rest)) = piece.split_first() else { break };
            piece = rest;
            let end = usize::from(self.cut_bytes) + 1;
            self.cut[end - 1] = byte;
            match str::from_utf8(&self.cut[..end]) {
                Ok(character) => {
                    self.valid.push_str(character);
                    self.cut_bytes = 0;
                }
                // No sequence of four bytes is incomplete, so `cut` cannot overflow.
                Err(error) if error.error_len().is_none() => self.cut_bytes = end as u8,
                Err(_) => return Err(Violation::TextNotUtf8),
            }
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "a\u{e9}\u{20ac}\u{d7ff}\u{e000}\u{fffd}\u{ffff}\u{10000}\u{10ffff}\0z";

    fn pushed(pieces: &[&[u8]]) -> Result<String, Violation> {
        let mut text = PartialText::default();
        for piece in pieces {
            text.push(piece)?;
        }
        text.finish()?;
        Ok(text.as_str().to_owned())
    }

    #[test]
    fn every_pair_of_cuts_gives_the_text() {
        let bytes = SAMPLE.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(pushed(&pieces).as_deref(), Ok(SAMPLE), "{first} {second}");
            }
        }
    }

    #[test]
    fn a_bad_byte_fails_at_once_wherever_the_cut() {
        // Overlong forms, surrogates, beyond 10FFFF, lone continuation, bytes never used. The
        // last byte of each is the first that no continuation can save.
        let bad: [&[u8]; 10] = [
            b"\xc0",
            b"\xc1",
            b"\xe0\x9f",
            b"\xed\xa0",
            b"\xf0\x8f",
            b"\xf4\x90",
            b"\xf5",
            b"\xff",
            b"\x80",
            b"\xe2\x82\x28",
        ];
        for sequence in bad {
            for cut in 0..=sequence.len() {
                let mut text = PartialText::default();
                let verdict =
                    text.push(&sequence[..cut]).and_then(|()| text.push(&sequence[cut..]));
                assert_eq!(verdict, Err(Violation::TextNotUtf8), "{sequence:x?} cut at {cut}");
            }
        }
    }

    #[test]
    fn text_that_ends_inside_a_character_is_refused() {
        for cut in 1.."\u{10ffff}".len() {
            let piece = &"\u{10ffff}".as_bytes()[..cut];
            assert_eq!(pushed(&[piece]), Err(Violation::TextNotUtf8));
        }
    }
}
