//! One HTTP/1 connection: limits, deadlines, and the end when the service stops.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringpost_conn::Caller;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::ServiceExt;

use super::stream::{FLUSH_DEADLINE, Prefixed};

/// Largest head of a request, bytes; beyond it 431.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers of a request; beyond it 431.
const HEADERS_MAX: usize = 64;
/// Read and write buffer of one connection, bytes. An answer that is one block is written from
/// where it lies, not through this buffer.
const BUFFER_BYTES_MAX: usize = 16 << 10;

/// How a connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Served {
    /// Either side has closed it.
    Over,
    /// A header did not arrive in time, or no request came.
    TooSlow,
}

/// Serves requests on `stream` until either side closes, a deadline passes, or `stop` turns true.
/// `already_read` are bytes that the edge has read from it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    already_read: Vec<u8>,
    caller: Caller,
    router: Router,
    header_deadline: Duration,
    mut stop: watch::Receiver<bool>,
) -> Served {
    let io = TokioIo::new(Prefixed::new(already_read, stream, FLUSH_DEADLINE));
    let service =
        service_fn(move |request: Request<Incoming>| answer(router.clone(), request, caller));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_deadline)
        // Who ends its direction behind a request still waits for the answer.
        .half_close(true)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let stopped = async {
        // A dropped sender is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    // Errors are the peer's: cut off, too late, no HTTP. hyper has answered what can be answered.
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Err(error) if error.is_timeout() => Served::TooSlow,
        Ok(()) | Err(_) => Served::Over,
    }
}

fn answer(
    router: Router,
    request: Request<Incoming>,
    caller: Caller,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(caller);
    router.oneshot(request)
}
