//! Why a request is refused before it is anybody's, and the answer to it.

use std::time::Duration;

use bytes::BufMut;
use thiserror::Error;

/// A request that is refused, as far as the answer and the log need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why.
    pub rejection: Rejection,
    /// It was a HEAD: its answer is without content (RFC 9110 section 9.3.2).
    pub is_head: bool,
    /// What stood in its `Origin`, where it is refused for that; a peer's bytes, cut to
    /// [`ORIGIN_BYTES_MAX`](super::ORIGIN_BYTES_MAX).
    pub origin: Option<Vec<u8>>,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, is_head: false, origin: None }
    }
}

impl Refusal {
    /// Writes the answer, as [`Rejection::write_response`] does.
    ///
    /// # Panics
    /// If `out` has no room.
    pub fn write_response(&self, goes_on: bool, out: &mut impl BufMut) {
        let (head, content) = self.rejection.response(goes_on);
        out.put_slice(head.as_bytes());
        if !self.is_head {
            out.put_slice(content.as_bytes());
        }
    }
}

/// A refusal of a request. Each is answered once; most end the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Error)]
pub enum Rejection {
    /// Not a request of HTTP/1.
    #[error("the request is malformed")]
    Malformed,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    #[error("the version of HTTP is not supported")]
    HttpVersion,
    /// No empty line within the limit.
    #[error("the head of the request is larger than 8 KiB")]
    HeadTooLarge,
    /// More fields than the limit.
    #[error("the head of the request has more than 64 fields")]
    TooManyFields,
    /// `Host` missing, repeated or not a host.
    #[error("exactly one valid Host field is needed")]
    Host,
    /// A GET of the WebSocket's path that asks for no WebSocket.
    #[error("a WebSocket is opened here: the request needs Upgrade: websocket")]
    UpgradeRequired,
    /// An upgrade by another method than GET.
    #[error("a WebSocket is opened by GET")]
    Method,
    /// An upgrade in HTTP/1.0.
    #[error("a WebSocket needs HTTP/1.1")]
    HttpTooOld,
    /// An upgrade that announces a body: where a proxy and we disagree about its end, it smuggles.
    #[error("a WebSocket is opened without a body")]
    Body,
    /// `Upgrade` without `upgrade` among the connection options.
    #[error("the Connection field does not name upgrade")]
    Connection,
    /// `Sec-WebSocket-Version` missing, repeated or not 13.
    #[error("only version 13 of the WebSocket protocol is supported")]
    WebSocketVersion,
    /// A foreign `Origin`, or a repeated one.
    #[error("the origin of the page is not allowed")]
    Origin,
    /// `Sec-WebSocket-Key` missing, repeated or not 16 bytes in base64.
    #[error("exactly one Sec-WebSocket-Key of 16 bytes in base64 is needed")]
    Key,
    /// None of the subprotocols that the client names is known.
    #[error("known subprotocols are ringpost.v1.json and ringpost.v1.bin")]
    Subprotocol,
    /// The head did not end before its deadline. For the owner's timer.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// No room for another connection. For the owner's admission.
    #[error("the server is at its limit of connections")]
    Overloaded {
        /// When to try again; rounded up to whole seconds.
        retry_after: Duration,
    },
}

impl Rejection {
    /// Every label, for the counters.
    pub const LABELS: [&'static str; 16] = [
        "malformed",
        "http_version",
        "head_too_large",
        "too_many_fields",
        "host",
        "upgrade_required",
        "method_not_allowed",
        "http_too_old",
        "body",
        "connection",
        "websocket_version",
        "origin",
        "websocket_key",
        "subprotocol",
        "too_slow",
        "overloaded",
    ];

    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed
            | Self::Host
            | Self::HttpTooOld
            | Self::Body
            | Self::Connection
            | Self::Key
            | Self::Subprotocol => 400,
            Self::Origin => 403,
            Self::Method => 405,
            Self::TooSlow => 408,
            Self::UpgradeRequired | Self::WebSocketVersion => 426,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::Overloaded { .. } => 503,
            Self::HttpVersion => 505,
        }
    }

    /// The value of the `reason` label of its counter, and the last part of the answer's `type`. A
    /// closed set; names are stable, and those that REST has as well mean the same there.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HttpVersion => "http_version",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::Host => "host",
            Self::UpgradeRequired => "upgrade_required",
            Self::Method => "method_not_allowed",
            Self::HttpTooOld => "http_too_old",
            Self::Body => "body",
            Self::Connection => "connection",
            Self::WebSocketVersion => "websocket_version",
            Self::Origin => "origin",
            Self::Key => "websocket_key",
            Self::Subprotocol => "subprotocol",
            Self::TooSlow => "too_slow",
            Self::Overloaded { .. } => "overloaded",
        }
    }

    /// Each once, for tests and tables; the overloaded one with this time.
    pub const fn all(retry_after: Duration) -> [Self; Self::LABELS.len()] {
        [
            Self::Malformed,
            Self::HttpVersion,
            Self::HeadTooLarge,
            Self::TooManyFields,
            Self::Host,
            Self::UpgradeRequired,
            Self::Method,
            Self::HttpTooOld,
            Self::Body,
            Self::Connection,
            Self::WebSocketVersion,
            Self::Origin,
            Self::Key,
            Self::Subprotocol,
            Self::TooSlow,
            Self::Overloaded { retry_after },
        ]
    }

    /// Whether only the wish for a WebSocket is refused: where the request ends is beyond doubt, so
    /// that another may follow it.
    pub(super) const fn is_about_websocket(self) -> bool {
        matches!(
            self,
            Self::UpgradeRequired
                | Self::Method
                | Self::HttpTooOld
                | Self::Connection
                | Self::WebSocketVersion
                | Self::Origin
                | Self::Key
                | Self::Subprotocol
        )
    }

    /// Writes the answer: problem details (RFC 9457) in the shape that REST gives them. Nothing of the
    /// request is repeated in it. It announces the end of the connection unless that `goes_on`. Below 512 bytes.
    ///
    /// # Panics
    /// If `out` has no room.
    pub fn write_response(self, goes_on: bool, out: &mut impl BufMut) {
        let (head, content) = self.response(goes_on);
        out.put_slice(head.as_bytes());
        out.put_slice(content.as_bytes());
    }

    fn response(self, goes_on: bool) -> (String, String) {
        let (status, reason) = (self.status(), self.reason_phrase());
        let retry_after = self.retry_after();
        let retry = retry_after.map_or_else(
            || "false".to_owned(),
            |after| format!(r#"true,"retry_after_ms":{}"#, after.as_millis()),
        );
        let body = format!(
            r#"{{"type":"urn:ringpost:problem:{}","title":"{}","status":{status},"detail":"{self}","retry":{retry}}}"#,
            self.label(),
            self.title(),
        );
        let more = match self {
            Self::Method => "Allow: GET\r\n".to_owned(),
            // RFC 6455 section 4.4, and RFC 9110 section 15.5.22 for the Upgrade field.
            Self::UpgradeRequired | Self::WebSocketVersion => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".to_owned()
            }
            _ => retry_after.map_or_else(String::new, |after| {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                format!("Retry-After: {seconds}\r\n")
            }),
        };
        let connection = match (self.status() == 426, goes_on) {
            (true, true) => "Connection: Upgrade\r\n",
            (true, false) => "Connection: Upgrade, close\r\n",
            (false, true) => "",
            (false, false) => "Connection: close\r\n",
        };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\n\
             {connection}\
             {more}\
             Cache-Control: no-store\r\n\
             Content-Type: application/problem+json\r\n\
             Content-Length: {}\r\n\
             \r\n",
            body.len()
        );
        (head, body)
    }

    /// When the same may succeed again; `None` where it never does.
    const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::TooSlow => Some(Duration::ZERO),
            Self::Overloaded { retry_after } => Some(retry_after),
            _ => None,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Method => "The method is not allowed here",
            Self::Overloaded { .. } => "The server is over a limit",
            _ => self.reason_phrase(),
        }
    }

    const fn reason_phrase(self) -> &'static str {
        match self.status() {
            403 => "Forbidden",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "Bad Request",
        }
    }
}
