//! The floor's frames: length and receiver, nothing else. There is nothing to parse, to check or
//! to keep, so what a relay of them costs is what the kernel costs.
//!
//! ```text
//!   0        4      8
//!   [ length ][ to ][ content of `length` bytes ]     little-endian
//! ```

use bytes::{BufMut, BytesMut};

use super::{Dialect, Inbound, Parsed};

/// Bytes before the content.
pub(crate) const HEAD_BYTES: usize = 8;
/// Longest content, bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// Receivers that are not users. Numbers of users stay below them.
pub(crate) mod to {
    /// "I am": the content is the number. Comes back when it is known.
    pub(crate) const HELLO: u32 = u32::MAX;
    /// Comes back.
    pub(crate) const ECHO: u32 = u32::MAX - 1;
    /// To everybody but the sender.
    pub(crate) const ALL: u32 = u32::MAX - 2;
    /// Comes back with the number of `io_uring_enter` calls.
    pub(crate) const ENTERS: u32 = u32::MAX - 3;
    /// The smallest of them.
    pub(crate) const FIRST: u32 = ENTERS;
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// A user, or one of [`to`].
    pub(crate) to: u32,
    /// All its bytes, the head included.
    pub(crate) whole: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The content.
    pub(crate) fn content(self) -> &'a [u8] {
        &self.whole[HEAD_BYTES..]
    }
}

/// Writes a frame.
pub(crate) fn put(to: u32, content: &[u8], out: &mut BytesMut) {
    out.put_u32_le(u32::try_from(content.len()).expect("content is at most 64 KiB"));
    out.put_u32_le(to);
    out.put_slice(content);
}

/// The frame at the head of `input`, `None` if it is not whole.
///
/// # Errors
/// When it claims more than [`CONTENT_BYTES_MAX`].
pub(crate) fn first(input: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let Some(&[a, b, c, d, e, f, g, h]) = input.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    if bytes > CONTENT_BYTES_MAX {
        return Err(format!("a raw frame of {bytes} bytes"));
    }
    let whole = input.get(..HEAD_BYTES + bytes);
    Ok(whole.map(|whole| Frame { to: u32::from_le_bytes([e, f, g, h]), whole }))
}

/// The floor's clients.
pub(crate) struct Raw;

impl Dialect for Raw {
    fn greet(&self, user: u32, _stage: u8, out: &mut BytesMut) {
        put(to::HELLO, &user.to_le_bytes(), out);
    }

    fn parse<'a>(
        &self,
        _user: u32,
        _stage: u8,
        input: &'a [u8],
        _out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        let Some(frame) = first(input)? else { return Ok(None) };
        let inbound = match frame.to {
            to::HELLO => Inbound::Ready,
            to::ECHO => Inbound::Pong,
            _ => Inbound::Message { content: frame.content().into(), ack: 0 },
        };
        Ok(Some((frame.whole.len(), inbound)))
    }

    fn message(&self, _from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        put(to, content, out);
    }

    fn broadcast(&self, content: &[u8], out: &mut BytesMut) -> bool {
        put(to::ALL, content, out);
        true
    }

    fn ping(&self, out: &mut BytesMut) {
        put(to::ECHO, &[], out);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{first, put};

    #[test]
    fn a_frame_is_whole_at_its_last_byte_and_not_before() {
        let mut bytes = BytesMut::new();
        put(9, b"content", &mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(first(&bytes[..cut]), Ok(None), "{cut}");
        }
        let frame = first(&bytes).unwrap().unwrap();
        assert_eq!((frame.to, frame.content()), (9, &b"content"[..]));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_from_its_head() {
        let mut bytes = BytesMut::from(&(64u32 * 1024 + 1).to_le_bytes()[..]);
        bytes.extend_from_slice(&[0; 4]);
        assert!(first(&bytes).is_err());
    }
}
