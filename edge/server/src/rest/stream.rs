//! A byte stream whose beginning was already read by the edge, with an end to slow readers.
//!
//! Reads give the prefix first. A write that the peer does not take starts a deadline that only a
//! complete flush ends: trickling one byte at a time does not hold an answer in memory for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a peer may take for what one answer has buffered. The largest page has about 1.5 MiB:
/// 26 KiB in a second are enough.
pub(super) const FLUSH_DEADLINE: Duration = Duration::from_secs(60);

/// A stream with a prefix.
pub(super) struct Prefixed<S> {
    prefix: Vec<u8>,
    read: usize,
    stream: S,
    flush_deadline: Duration,
    blocked: Option<Pin<Box<Sleep>>>,
}

impl<S> Prefixed<S> {
    pub(super) fn new(prefix: Vec<u8>, stream: S, flush_deadline: Duration) -> Self {
        Self { prefix, read: 0, stream, flush_deadline, blocked: None }
    }

    /// Passes a ready answer on; a pending one only until the deadline.
    fn within_deadline<T>(
        &mut self,
        context: &mut Context<'_>,
        answer: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            return answer;
        }
        let deadline = self.flush_deadline;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        match blocked.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.prefix[self.read..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.read += count;
        if self.read == self.prefix.len() {
            self.prefix = Vec::new();
            self.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_deadline(context, answer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.within_deadline(context, answer)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_flush(context);
        if answer.is_ready() {
            self.blocked = None;
        }
        self.within_deadline(context, answer)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn the_prefix_is_read_first_and_whole_at_any_buffer_size() {
        for size in 1..12 {
            run(async {
                let (mut far, near) = tokio::io::duplex(64);
                far.write_all(b" behind").await.unwrap();
                drop(far);
                let mut stream = Prefixed::new(b"before".to_vec(), near, FLUSH_DEADLINE);
                let mut all = Vec::new();
                let mut buffer = vec![0; size];
                loop {
                    match stream.read(&mut buffer).await.unwrap() {
                        0 => break,
                        count => all.extend_from_slice(&buffer[..count]),
                    }
                }
                assert_eq!(all, b"before behind");
            });
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_or_a_trickle_is_given_up() {
        for trickle in [false, true] {
            run(async move {
                let (mut far, near) = tokio::io::duplex(8);
                let reader = tokio::spawn(async move {
                    let mut byte = [0];
                    loop {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        if trickle && far.read_exact(&mut byte).await.is_err() {
                            return;
                        }
                    }
                });
                let mut stream = Prefixed::new(Vec::new(), near, Duration::from_millis(50));
                let error = stream.write_all(&[7; 1 << 16]).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                reader.abort();
            });
        }
    }
}
