//! Refusals as problem details (RFC 9457). A closed set: nothing that a peer or a store said can
//! reach an answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// 400: the body or a parameter is not what the documentation says.
    BadRequest(&'static str),
    /// 401: no credential, or one that is not good. Why stays here.
    Unauthorized,
    /// 401: the one-time code is not good: wrong, expired, used up, or never sent.
    BadCode,
    /// 401: the refresh token is not good: expired, used, or unknown.
    BadRefreshToken,
    /// 404: no such thing.
    NotFound,
    /// 404: no message has this id, and none under it is on its way.
    UnknownMessage,
    /// 404: nobody has this id.
    UnknownUser,
    /// 405: the path exists, this method on it does not.
    MethodNotAllowed,
    /// 413: the body is larger than the limit.
    TooLarge,
    /// 415: the body is not JSON.
    NotJson,
    /// 429: too many requests.
    RateLimited {
        /// When to come back, milliseconds from now.
        retry_after_ms: u64,
    },
    /// 503: over a limit of the server, or its disk is behind.
    Overloaded,
    /// 503: what was sent is not readable yet; come back.
    Behind,
    /// 503: the store failed.
    Unavailable,
}

impl Problem {
    /// Milliseconds after which an overloaded server is asked again.
    const RETRY_AFTER_MS: u64 = 1_000;

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::BadCode | Self::BadRefreshToken => StatusCode::UNAUTHORIZED,
            Self::NotFound | Self::UnknownMessage | Self::UnknownUser => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::Behind | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The last part of `type`, and the label of the counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::BadCode => "bad_code",
            Self::BadRefreshToken => "bad_refresh_token",
            Self::NotFound => "not_found",
            Self::UnknownMessage => "unknown_message",
            Self::UnknownUser => "unknown_user",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Behind => "behind",
            Self::Unavailable => "unavailable",
        }
    }

    /// Every name, for the counters.
    pub const NAMES: [&'static str; 14] = [
        "bad_request",
        "unauthorized",
        "bad_code",
        "bad_refresh_token",
        "not_found",
        "unknown_message",
        "unknown_user",
        "method_not_allowed",
        "too_large",
        "not_json",
        "rate_limited",
        "overloaded",
        "behind",
        "unavailable",
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "The request is not well formed",
            Self::Unauthorized => "A valid access token is needed",
            Self::BadCode => "The code is not valid",
            Self::BadRefreshToken => "The refresh token is not valid",
            Self::NotFound => "There is nothing here",
            Self::UnknownMessage => "No message has this id",
            Self::UnknownUser => "No user has this id",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::TooLarge => "The body is too large",
            Self::NotJson => "The body must be application/json",
            Self::RateLimited { .. } => "Too many requests",
            Self::Overloaded => "The server is over a limit",
            Self::Behind => "The store is behind",
            Self::Unavailable => "The store is not available",
        }
    }

    /// What the client may do about it.
    const fn detail(self) -> &'static str {
        match self {
            Self::BadRequest(detail) => detail,
            Self::Unauthorized => {
                "Send `Authorization: Bearer TOKEN` with a token that is not expired or revoked."
            }
            Self::BadCode => "Ask for a new code.",
            Self::BadRefreshToken => "Sign in again.",
            Self::NotFound => "See the documentation for the paths that exist.",
            Self::UnknownMessage => {
                "It was never accepted, or it was ephemeral and is kept nowhere."
            }
            Self::UnknownUser => "It was never registered and has never signed in.",
            Self::MethodNotAllowed => "See the documentation for the methods of this path.",
            Self::TooLarge => "Send less.",
            Self::NotJson => "Send `Content-Type: application/json`.",
            Self::RateLimited { .. } | Self::Overloaded | Self::Behind | Self::Unavailable => {
                "Repeat after `retry_after_ms`."
            }
        }
    }

    const fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } => Some(retry_after_ms),
            Self::Overloaded | Self::Behind | Self::Unavailable => Some(Self::RETRY_AFTER_MS),
            _ => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut body = json!({
            "type": format!("urn:ringpost:problem:{}", self.name()),
            "title": self.title(),
            "status": status.as_u16(),
            "detail": self.detail(),
        });
        if let Some(ms) = self.retry_after_ms() {
            body["retry_after_ms"] = ms.into();
        }
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(ms) = self.retry_after_ms() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if matches!(self, Self::Unauthorized) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
