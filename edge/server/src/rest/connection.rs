//! One HTTP/1 connection: its requests one behind another, limits, deadlines, and the end when the
//! service stops.
//!
//! ```text
//!            +------------- a refusal that is about the WebSocket alone -------------+
//!            v                                                                       |
//!   ------> served by hyper --> all answered, and the next request is not REST's --> answered
//!                |                                   |                               |
//!                v                                   v                               v
//!              closed                     a WebSocket: given back                  closed
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, header};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringpost_conn::Caller;
use ringpost_conn::http::{
    FIELDS_MAX, HEAD_BYTES_MAX, Origins, Refusal, Rejection, Requests, Stop,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt;

use super::places::Place;
use super::stream::{End, RequestStream};

pub(crate) use super::stream::Deadlines;

/// Read and write buffer of one connection, bytes. An answer that is one block is written from
/// where it lies, not through this buffer.
const BUFFER_BYTES_MAX: usize = 16 << 10;

/// What is read and thrown away behind a last answer, and for how long.
const LINGER_BYTES_MAX: u64 = 64 << 10;
const LINGER: Duration = Duration::from_secs(1);

/// The field of the last answer of a connection.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// How a connection has ended.
#[derive(Debug)]
pub(crate) enum Served<S> {
    /// Either side has closed it.
    Over,
    /// A head did not arrive in time.
    TooSlow,
    /// No request came in the time of an idle connection.
    Idle,
    /// A request asks for a WebSocket; all before it is answered.
    Upgrade {
        /// The socket.
        stream: S,
        /// The request and what came behind it, as they came.
        read: Vec<u8>,
    },
}

/// What holds for a connection.
#[derive(Clone)]
pub(crate) struct Rules {
    /// Answers requests.
    pub(crate) router: Router,
    /// How long a client is waited for.
    pub(crate) deadlines: Deadlines,
    /// The pages that may open a WebSocket; `None` where there is none.
    pub(crate) origins: Option<Origins>,
    /// Hears of each request that is refused before a router sees it.
    pub(crate) on_refusal: Arc<dyn Fn(&Refusal) + Send + Sync>,
}

/// Serves requests on `stream` until either side closes, a deadline passes, a WebSocket is asked for,
/// the place is needed by
/// somebody else, or `stop` turns true. `already_read` are bytes that the edge has read from it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut stream: S,
    mut already_read: Vec<u8>,
    caller: Caller,
    rules: Rules,
    place: Place,
    mut stop: watch::Receiver<bool>,
) -> Served<S> {
    let place = Arc::new(place);
    // Ends: each round answers a request that has come, or is the last.
    loop {
        let requests = Requests::new(rules.origins.clone());
        let served = RequestStream::new(
            stream,
            &already_read,
            requests,
            rules.deadlines,
            Arc::clone(&place),
        );
        let (back, end) = serve_rest(served, caller, rules.router.clone(), &place, &mut stop).await;
        stream = back;
        let (refusal, goes_on) = match end {
            None | Some(End::Eof) => return Served::Over,
            // Who was served its head has answered it.
            Some(End::Stop(Stop::BadBody(_))) => {
                linger(&mut stream, &place).await;
                return Served::Over;
            }
            Some(End::Idle) => return Served::Idle,
            Some(End::Stop(Stop::Upgrade { read })) => return Served::Upgrade { stream, read },
            Some(End::Stop(Stop::Refused { refusal, goes_on })) => (refusal, goes_on),
        };
        let goes_on = goes_on.filter(|_| !*stop.borrow());
        let mut answer = Vec::new();
        (rules.on_refusal)(&refusal);
        refusal.write_response(goes_on.is_some(), &mut answer);
        let written = timeout(rules.deadlines.header, stream.write_all(&answer)).await;
        match goes_on {
            Some(behind) if matches!(written, Ok(Ok(()))) => already_read = behind,
            _ => {
                linger(&mut stream, &place).await;
                let is_slow = refusal.rejection == Rejection::TooSlow;
                return if is_slow { Served::TooSlow } else { Served::Over };
            }
        }
    }
}

/// Ends the direction to a client that may still be sending: what it sends is read for a moment, since a
/// close with something unread may cost it the answer; unless somebody else needs the place.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, place: &Place) {
    place.set_waiting(true);
    let discarded = async {
        // The peer may be gone: then there is nobody to wait for.
        let _ = stream.shutdown().await;
        tokio::io::copy(&mut stream.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
    };
    tokio::select! {
        _ = timeout(LINGER, discarded) => {}
        () = place.let_go() => {}
    }
}

/// Serves what is REST's. Answers the socket, and why there is no more of that; `None` if serving
/// ended by itself, and the connection with it.
async fn serve_rest<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    served: RequestStream<S>,
    caller: Caller,
    router: Router,
    place: &Arc<Place>,
    stop: &mut watch::Receiver<bool>,
) -> (S, Option<End>) {
    let held = Held(Arc::clone(place));
    let service = service_fn(move |request: Request<Incoming>| {
        answer(router.clone(), request, caller, held.clone())
    });
    let mut connection = http1::Builder::new()
        // Who ends its direction behind a request still waits for the answer.
        .half_close(true)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(served), service);
    let stopped = async {
        // A dropped sender is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    // Errors are the peer's: cut off, too late, no HTTP. hyper has answered what can be answered.
    let (ended, is_stopped) = tokio::select! {
        ended = &mut connection => (ended, false),
        () = stopped => {
            Pin::new(&mut connection).graceful_shutdown();
            ((&mut connection).await, true)
        }
        // HTTP lets a server close between two requests, and in half of one.
        () = place.let_go() => (Ok(()), true),
    };
    let parts = connection.into_parts();
    let served = parts.io.into_inner();
    let is_amid_body = served.is_amid_body();
    let (mut stream, end) = served.into_parts();
    if is_amid_body && !matches!(end, Some(End::Stop(_))) {
        linger(&mut stream, place).await;
    }
    let is_whole = ended.is_ok() && parts.read_buf.is_empty() && !is_stopped;
    (stream, end.filter(|_| is_whole))
}

/// The place of the connection that a request came by.
#[derive(Clone)]
pub(super) struct Held(pub(super) Arc<Place>);

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn answer(router: Router, request: Request<Incoming>, caller: Caller, held: Held) -> Answer {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(held);
    Box::pin(async move {
        let (request, is_read) = ReadToEnd::watch(request);
        let mut response = router.oneshot(request).await?;
        if !is_read.load(Relaxed) {
            // What is unread of the body stands in front of the next request: there will be none.
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        Ok(response)
    })
}

/// The body of a request, which tells when it was read to its end.
struct ReadToEnd {
    body: Body,
    is_read: Arc<AtomicBool>,
}

impl ReadToEnd {
    fn watch(request: Request<Body>) -> (Request<Body>, Arc<AtomicBool>) {
        let is_read = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        let told = Arc::clone(&is_read);
        (request.map(|body| Body::new(Self { body, is_read })), told)
    }
}

impl HttpBody for ReadToEnd {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_read.store(true, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
