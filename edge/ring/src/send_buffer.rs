//! What a send writes: a few chunks and a cursor. The memory belongs to the ring from `send`
//! until [`Completion::Sent`](crate::Completion::Sent) gives it back.

use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

/// One chunk. Both kinds keep their bytes on the heap (or static), so a chunk may be moved while
/// the kernel reads it.
enum Chunk {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Chunks that leave in order as one stretch of the stream, and how far they have got.
///
/// Owned chunks are for frames coalesced by the worker, shared ones for bodies that go to many.
/// After a short send the buffer comes back advanced: sending it again sends the rest.
#[derive(Default)]
pub struct SendBuffer {
    chunks: SmallVec<[Chunk; 1]>,
    total_bytes: usize,
    sent_bytes: usize,
}

impl SendBuffer {
    /// Chunks that one send hands to the kernel; of a longer buffer the first ones leave, as a
    /// short send. Far below `UIO_MAXIOV` (1024): sends of many small chunks are slower than
    /// copying them together first.
    pub const CHUNKS_PER_SEND_MAX: usize = 64;

    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes that this buffer alone owns.
    pub fn push(&mut self, bytes: Vec<u8>) {
        self.push_chunk(Chunk::Owned(bytes));
    }

    /// Appends bytes that others may share.
    pub fn push_shared(&mut self, bytes: Bytes) {
        self.push_chunk(Chunk::Shared(bytes));
    }

    fn push_chunk(&mut self, chunk: Chunk) {
        let bytes = chunk.as_slice().len();
        if bytes > 0 {
            self.total_bytes += bytes;
            self.chunks.push(chunk);
        }
    }

    /// Bytes that have not been sent.
    #[must_use]
    pub fn remaining_bytes(&self) -> usize {
        self.total_bytes - self.sent_bytes
    }

    /// Bytes that have been sent.
    #[must_use]
    pub fn sent_bytes(&self) -> usize {
        self.sent_bytes
    }

    /// Everything has been sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining_bytes() == 0
    }

    /// What remains, chunk by chunk.
    pub fn remaining(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.sent_bytes;
        self.chunks.iter().filter_map(move |chunk| {
            let bytes = chunk.as_slice();
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            (skipped < bytes.len()).then(|| &bytes[skipped..])
        })
    }

    /// Moves the cursor.
    ///
    /// # Panics
    ///
    /// If more is sent than remains.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining_bytes(), "no more is sent than was given");
        self.sent_bytes += bytes;
    }

    /// The first owned chunk, emptied, so that its allocation can be used again; `None` if all
    /// chunks are shared.
    #[must_use]
    pub fn recycle(self) -> Option<Vec<u8>> {
        self.chunks.into_iter().find_map(|chunk| match chunk {
            Chunk::Owned(mut bytes) => {
                bytes.clear();
                Some(bytes)
            }
            Chunk::Shared(_) => None,
        })
    }
}

impl From<Vec<u8>> for SendBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        let mut buffer = Self::new();
        buffer.push(bytes);
        buffer
    }
}

impl From<Bytes> for SendBuffer {
    fn from(bytes: Bytes) -> Self {
        let mut buffer = Self::new();
        buffer.push_shared(bytes);
        buffer
    }
}

impl FromIterator<Bytes> for SendBuffer {
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Self {
        let mut buffer = Self::new();
        chunks.into_iter().for_each(|bytes| buffer.push_shared(bytes));
        buffer
    }
}

/// Shows sizes only: what is sent is not for logs.
impl fmt::Debug for SendBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBuffer")
            .field("chunks", &self.chunks.len())
            .field("total_bytes", &self.total_bytes)
            .field("sent_bytes", &self.sent_bytes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_the_same_at_every_cut() {
        let whole: Vec<u8> = (0..10).collect();
        for cut in 0..=whole.len() {
            let mut buffer = SendBuffer::from(whole[..3].to_vec());
            buffer.push_shared(Bytes::copy_from_slice(&whole[3..4]));
            buffer.push(Vec::new());
            buffer.push(whole[4..].to_vec());
            buffer.advance(cut);
            let rest: Vec<u8> = buffer.remaining().flatten().copied().collect();
            assert_eq!(rest, whole[cut..], "cut at {cut}");
            assert_eq!(buffer.remaining_bytes(), whole.len() - cut);
        }
    }

    #[test]
    fn an_owned_chunk_can_be_used_again() {
        let mut buffer = SendBuffer::from(Bytes::from_static(b"shared"));
        buffer.push(Vec::with_capacity(512));
        buffer.push(vec![7; 512]);
        let recycled = buffer.recycle().expect("an owned chunk was pushed");
        assert!(recycled.is_empty() && recycled.capacity() >= 512);
        assert!(SendBuffer::from(Bytes::from_static(b"shared")).recycle().is_none());
    }
}
