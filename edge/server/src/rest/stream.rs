//! What hyper reads requests from: a byte stream whose every byte was looked at before, with an end
//! to slow peers.
//!
//! ```text
//!   socket ──> Requests ──> served ──> hyper          what is REST's, up to a stop
//!                  └──────> stop                      an upgrade, a refusal, a deadline: hyper sees
//!                                                     the end of the stream, and answers what it has
//! ```
//! Reads of the socket come only when all that may be served was read. A client is waited for with
//! the rest of a head so long, and with another request so long. A write that the peer does not take
//! starts a deadline that only a complete flush ends: trickling one byte at a time does not hold an
//! answer in memory for ever. A stop shows only when everything is flushed: behind it the stream
//! belongs to somebody else.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ringpost_conn::http::{Requests, Stop, Waits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::places::Place;

/// How long a peer may take for what one answer has buffered. The largest page has about 1.5 MiB:
/// 26 KiB in a second are enough.
const FLUSH_DEADLINE: Duration = Duration::from_secs(60);

/// Bytes that are read at once.
const READ_BYTES: usize = 8 << 10;

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// From the first byte of a head to its last.
    pub(crate) header: Duration,
    /// From an answer to the next request.
    pub(crate) idle: Duration,
}

/// Why nothing more is served.
#[derive(Debug)]
pub(super) enum End {
    /// By what the client asks for, or by how.
    Stop(Stop),
    /// No request came in the time of an idle connection.
    Idle,
    /// The client has ended its direction.
    Eof,
}

/// The requests of one connection, as bytes.
pub(super) struct RequestStream<S> {
    stream: S,
    requests: Requests,
    deadlines: Deadlines,
    /// What may be served, and how much of it was.
    served: Vec<u8>,
    read: usize,
    end: Option<End>,
    /// The end was shown.
    end_told: bool,
    waits: Option<(Waits, Pin<Box<Sleep>>)>,
    place: Arc<Place>,
    flush_deadline: Duration,
    blocked: Option<Pin<Box<Sleep>>>,
    /// Something was written since all was flushed.
    unflushed: bool,
    /// Who waits for the flush to be shown the end.
    reader: Option<Waker>,
}

impl<S> RequestStream<S> {
    /// Serves `stream`, of which `already_read` was read.
    pub(super) fn new(
        stream: S,
        already_read: &[u8],
        requests: Requests,
        deadlines: Deadlines,
        place: Arc<Place>,
    ) -> Self {
        let mut this = Self {
            stream,
            requests,
            deadlines,
            served: Vec::new(),
            read: 0,
            end: None,
            end_told: false,
            waits: None,
            place,
            flush_deadline: FLUSH_DEADLINE,
            blocked: None,
            unflushed: false,
            reader: None,
        };
        this.take_in(already_read);
        this
    }

    /// The socket, and the end that was shown; none if serving ended by itself.
    pub(super) fn into_parts(self) -> (S, Option<End>) {
        let is_whole = self.end_told && !self.unflushed;
        (self.stream, self.end.filter(|_| is_whole))
    }

    /// Whether there is more of a request than was read.
    pub(super) fn is_amid_body(&self) -> bool {
        self.requests.waits() == Waits::Body || self.read < self.served.len()
    }

    fn take_in(&mut self, bytes: &[u8]) {
        if let Some(stop) = self.requests.feed(bytes, &mut self.served) {
            self.end = Some(End::Stop(stop));
        }
    }

    /// Whether the client has let itself be waited for too long.
    fn poll_waited(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let waits = self.requests.waits();
        let (deadline, end) = match waits {
            // Who serves the request has a deadline of its own for that.
            Waits::Body => return Poll::Pending,
            Waits::Idle => (self.deadlines.idle, End::Idle),
            Waits::Head => (self.deadlines.header, End::Stop(self.requests.too_slow())),
        };
        if self.waits.as_ref().is_none_or(|(before, _)| *before != waits) {
            self.waits = Some((waits, Box::pin(tokio::time::sleep(deadline))));
            self.place.set_waiting(true);
        }
        let (_, sleep) = self.waits.as_mut().expect("set above");
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(end)
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

impl<S: AsyncRead + Unpin> RequestStream<S> {
    /// Reads the socket until there is something to serve, or an end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.served.clear();
        self.read = 0;
        // Ends: each round takes what the socket has, which is bounded by the limit of a head, or is
        // the last.
        while self.served.is_empty() && self.end.is_none() {
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.end = Some(End::Eof),
                Poll::Ready(Ok(())) => {
                    if self.requests.waits() == Waits::Idle {
                        self.waits = None;
                    }
                    self.take_in(buffer.filled());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => self.end = Some(ready!(self.poll_waited(context))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read == self.served.len() {
            ready!(self.poll_fill(context))?;
        }
        let left = &self.served[self.read..];
        if left.is_empty() {
            if self.unflushed && !matches!(self.end, Some(End::Eof)) {
                self.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            self.end_told = true;
            return Poll::Ready(Ok(()));
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        if self.read == 0 {
            self.place.set_waiting(false);
        }
        self.read += count;
        self.waits = None;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        let answer = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_deadline(context, answer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
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
            self.unflushed = false;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        self.within_deadline(context, answer)
    }

    /// Where the stream goes on as somebody else's, the end of serving is not its end.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end_told && matches!(self.end, Some(End::Stop(_))) {
            return self.poll_flush(context);
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::places::{Busy, Places};
    use super::*;

    const DEADLINES: Deadlines =
        Deadlines { header: Duration::from_secs(5), idle: Duration::from_secs(5) };

    fn place() -> Arc<Place> {
        let places = Places::new(1, 1, Busy::Refuse);
        Arc::new(places.take(None).map_err(|_| ()).unwrap().place)
    }

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn what_was_read_before_comes_first_and_whole_at_any_buffer_size() {
        const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nbehind";
        for (size, cut) in (1..12).zip((0..REQUEST.len()).step_by(5)) {
            run(async {
                let (mut far, near) = tokio::io::duplex(64);
                far.write_all(&REQUEST[cut..]).await.unwrap();
                drop(far);
                let requests = Requests::new(None);
                let mut stream =
                    RequestStream::new(near, &REQUEST[..cut], requests, DEADLINES, place());
                let mut all = Vec::new();
                let mut buffer = vec![0; size];
                loop {
                    match stream.read(&mut buffer).await.unwrap() {
                        0 => break,
                        count => all.extend_from_slice(&buffer[..count]),
                    }
                }
                assert_eq!(all, REQUEST);
            });
        }
    }

    #[test]
    fn a_stop_is_shown_when_all_is_flushed() {
        run(async {
            let (mut far, near) = tokio::io::duplex(4);
            let bad = b"GET / HTTP/1.1\n\n";
            let mut stream = RequestStream::new(near, bad, Requests::new(None), DEADLINES, place());
            let writes = stream.write(b"answer").await.unwrap();
            assert_eq!(writes, 4);
            let mut byte = [0];
            let soon = Duration::from_millis(20);
            assert!(tokio::time::timeout(soon, stream.read(&mut byte)).await.is_err());
            far.read_exact(&mut [0; 4]).await.unwrap();
            stream.flush().await.unwrap();
            assert_eq!(stream.read(&mut byte).await.unwrap(), 0);
            assert!(matches!(stream.into_parts().1, Some(End::Stop(Stop::Refused { .. }))));
        });
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
                let mut stream =
                    RequestStream::new(near, b"", Requests::new(None), DEADLINES, place());
                stream.flush_deadline = Duration::from_millis(50);
                let error = stream.write_all(&[7; 1 << 16]).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                reader.abort();
            });
        }
    }
}
