//! Web pages of other origins: which may read REST's answers, and a line for who runs the server
//! where one may not.
//!
//! The list is that of the WebSocket (`limits.origins`). A browser asks first (a preflight) and
//! keeps answers from a page that is not named in them; the protocol of that is `tower-http`'s.
//! Nothing here keeps anybody out: who is no browser sends what it likes, and tokens decide.
//!
//! Invariants: a preflight costs no look-up and takes from no rate, and every other answer names the
//! page, refusals and deadlines too; a peer's `Origin` reaches the log escaped, cut, and a few times
//! a minute at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::Response;
use ringpost_conn::http::{ORIGIN_BYTES_MAX, Origins};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::RestState;
use super::rates::{Bucket, Rate};

/// How long a browser may remember the answer to a preflight: what browsers keep at most.
const REMEMBERED: Duration = Duration::from_secs(2 * 3_600);

/// Lines about foreign origins.
const LINES: Rate = Rate { count: 6, period: Duration::from_secs(60) };

/// Answers preflights, and names the page in every answer. To stand around all that answers.
pub(super) fn layer(origins: Arc<Origins>) -> CorsLayer {
    let allow = move |origin: &header::HeaderValue, _: &_| {
        origin.to_str().is_ok_and(|origin| origins.allow(origin))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allow))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER])
        .max_age(REMEMBERED)
        .vary([header::ORIGIN])
}

/// Where a page knocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// A request to REST: what the browser keeps from the page.
    Rest,
    /// The opening handshake of a WebSocket: refused.
    WebSocket,
}

impl Door {
    const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::WebSocket => "websocket",
        }
    }
}

/// Lines about pages that are not on the list: a few a minute.
#[derive(Debug)]
pub(crate) struct OriginLines {
    bucket: Bucket,
    start: Instant,
    /// Pages of which no line was written since the last one.
    untold: AtomicU64,
}

impl Default for OriginLines {
    fn default() -> Self {
        Self { bucket: Bucket::new(LINES), start: Instant::now(), untold: AtomicU64::new(0) }
    }
}

impl OriginLines {
    /// Whether a line is due for one more page; of how many none was written since the last. Never
    /// blocks.
    pub(super) fn take(&self) -> Option<u64> {
        if self.bucket.take(self.start.elapsed()).is_ok() {
            return Some(self.untold.swap(0, Relaxed));
        }
        self.untold.fetch_add(1, Relaxed);
        None
    }

    /// Writes a line that is due.
    pub(super) fn write(door: Door, origin: &[u8], untold: u64) {
        let (door, origin) = (door.name(), shown(origin));
        let origin = origin.as_str();
        tracing::warn!(door, origin, untold, "a web page whose origin is not in limits.origins");
    }
}

/// An `Origin` as a line shows it: printable ASCII, everything else escaped, and not too long.
fn shown(origin: &[u8]) -> String {
    origin[..origin.len().min(ORIGIN_BYTES_MAX)].escape_ascii().to_string()
}

/// Around every request: whether it comes from a page that is not on the list.
pub(super) async fn noted(
    State(state): State<Arc<RestState>>,
    request: Request,
    next: Next,
) -> Response {
    for origin in request.headers().get_all(header::ORIGIN) {
        if !origin.to_str().is_ok_and(|origin| state.origins.allow(origin)) {
            state.counters.foreign_origins.increment();
            if let Some(untold) = state.origin_lines.take() {
                OriginLines::write(Door::Rest, origin.as_bytes(), untold);
            }
        }
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_shown_escaped_and_cut() {
        assert_eq!(shown(b"https://evil.example"), "https://evil.example");
        let forged = shown("a\"\u{1b}[31m\r\nINFO\u{202e}".as_bytes());
        assert!(forged.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{forged}");
        assert_eq!(forged, r#"a\"\x1b[31m\r\nINFO\xe2\x80\xae"#);
        for bytes in [ORIGIN_BYTES_MAX, 9_000] {
            assert_eq!(shown(&vec![b'a'; bytes]).len(), ORIGIN_BYTES_MAX);
        }
    }
}
