//! Finds the end of a body in chunks (RFC 9112 section 7.1), in whichever pieces it comes.
//!
//! ```text
//!   Size --;--> Extension --CR--> SizeEnd --LF--> Data --> DataReturn --> DataEnd --> Size
//!                                    | size 0
//!                                    v
//!                           TrailerStart <--LF-- TrailerReturn <--CR-- Trailer
//!                                    | CR
//!                                    v
//!                                   End --LF--> over
//! ```
//! It changes nothing: who serves the request reads the same bytes again. Stricter than any reader
//! need be: a line ends in CR LF, and extensions and trailers have a limit.

use super::Rejection;

/// Most hexadecimal digits of a size: what fits 60 bits.
const SIZE_DIGITS_MAX: u8 = 15;

/// Most bytes of extensions and trailers in one body.
const EXTRA_BYTES_MAX: u32 = 8 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    TrailerStart,
    Trailer,
    TrailerReturn,
    End,
}

/// How far a chunked body is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    state: State,
    digits: u8,
    /// Bytes of the chunk that are still to come.
    left: u64,
    extra_bytes: u32,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { state: State::Size, digits: 0, left: 0, extra_bytes: 0 }
    }

    /// How many bytes of `input` belong to the body, if it ends in it.
    ///
    /// # Errors
    /// [`Rejection::Malformed`] where it is none.
    pub(super) fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, Rejection> {
        let mut at = 0;
        // Ends: each round takes a byte of the input, or many.
        while let Some(&byte) = input.get(at) {
            if self.state == State::Data {
                let taken = self.left.min((input.len() - at) as u64);
                at += taken as usize;
                self.left -= taken;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            at += 1;
            if self.state == State::End {
                return if byte == b'\n' { Ok(Some(at)) } else { Err(Rejection::Malformed) };
            }
            self.state = self.behind(byte).ok_or(Rejection::Malformed)?;
        }
        Ok(None)
    }

    /// The state behind a byte that is no data.
    fn behind(&mut self, byte: u8) -> Option<State> {
        Some(match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeEnd,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, _) => {
                let digit = char::from(byte).to_digit(16)?;
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                (self.digits <= SIZE_DIGITS_MAX).then_some(State::Size)?
            }
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, _) => self.extra(byte, State::Extension)?,
            (State::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataReturn, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::End,
            (State::Trailer, b'\r') => State::TrailerReturn,
            (State::TrailerReturn, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, _) => self.extra(byte, State::Trailer)?,
            _ => return None,
        })
    }

    fn extra(&mut self, byte: u8, state: State) -> Option<State> {
        self.extra_bytes += 1;
        (byte != b'\n' && byte != 0 && self.extra_bytes <= EXTRA_BYTES_MAX).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_octets(body: &[u8]) -> Result<Option<usize>, Rejection> {
        let mut chunks = Chunks::new();
        for (place, byte) in body.iter().enumerate() {
            match chunks.find_end(&[*byte])? {
                None => {}
                Some(_) => return Ok(Some(place + 1)),
            }
        }
        Ok(None)
    }

    #[test]
    fn the_end_is_found_in_every_cut() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;a=b\r\nhel\nl\r\n1\r\n\r\r\n000\r\nX: y\r\nZ: w\r\n\r\n",
            b"A\r\n0123456789\r\n0;last\r\n\r\n",
        ] {
            let end = Ok(Some(body.len()));
            assert_eq!(by_octets(body), end, "{body:?}");
            let more = [body, b"GET / HTTP/1.1"].concat();
            for cut in 0..body.len() {
                let mut chunks = Chunks::new();
                assert_eq!(chunks.find_end(&more[..cut]), Ok(None), "{body:?} at {cut}");
                assert_eq!(chunks.find_end(&more[cut..]), Ok(Some(body.len() - cut)));
            }
        }
    }

    #[test]
    fn what_another_reader_could_end_elsewhere_is_refused() {
        for body in [
            &b"5\nhello\n0\n\n"[..],
            b"5\r\nhello0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"\r\n",
            b";a\r\n",
            b"5;a\nhello",
            b"0\r\nX: y\n\r\n",
            b"0\r\n\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert_eq!(by_octets(body), Err(Rejection::Malformed), "{body:?}");
            assert_eq!(Chunks::new().find_end(body), Err(Rejection::Malformed), "{body:?}");
        }
        let long = [&b"0\r\n"[..], &[b'x'; EXTRA_BYTES_MAX as usize + 1]].concat();
        assert_eq!(Chunks::new().find_end(&long), Err(Rejection::Malformed));
    }
}
