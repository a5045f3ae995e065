//! Refusals as problem details (RFC 9457), those of clients' requests and of operators' alike.
//!
//! A closed set: nothing that a peer or a store said can reach an answer. `REST.md` lists each with
//! its status, and a test holds the two equal, together with what workers refuse of a request
//! before it comes here ([`ringpost_conn::http::Rejection`]).

use std::borrow::Cow;
use std::io::Write;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// 400: the body or the query as a whole is not what the documentation says.
    BadRequest(&'static str),
    /// 400: the body lacks this field.
    MissingField(&'static str),
    /// 400: a field is not what the documentation says.
    BadField {
        /// Which.
        name: &'static str,
        /// What it must be, as a sentence.
        form: &'static str,
    },
    /// 400: the query lacks this parameter.
    MissingParameter(&'static str),
    /// 400: a parameter of the query, or a part of the path, is not what the documentation says.
    BadParameter {
        /// Which.
        name: &'static str,
        /// What it must be, as a sentence.
        form: &'static str,
    },
    /// 401: no credential, or one that is not good. Why stays here.
    Unauthorized,
    /// 401, private port: not the operators' token. Why stays here.
    NotOperator,
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
    /// 421: the request names a host that is not this port's.
    Misdirected,
    /// 413: the body is larger than the limit.
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
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
            Self::BadRequest(_)
            | Self::MissingField(_)
            | Self::BadField { .. }
            | Self::MissingParameter(_)
            | Self::BadParameter { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::NotOperator | Self::BadCode | Self::BadRefreshToken => {
                StatusCode::UNAUTHORIZED
            }
            Self::NotFound | Self::UnknownMessage | Self::UnknownUser => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::Behind | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The last part of `type`, and the label of the counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::MissingField(_) => "missing_field",
            Self::BadField { .. } => "bad_field",
            Self::MissingParameter(_) => "missing_parameter",
            Self::BadParameter { .. } => "bad_parameter",
            Self::Unauthorized => "unauthorized",
            Self::NotOperator => "not_operator",
            Self::BadCode => "bad_code",
            Self::BadRefreshToken => "bad_refresh_token",
            Self::NotFound => "not_found",
            Self::UnknownMessage => "unknown_message",
            Self::UnknownUser => "unknown_user",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Misdirected => "misdirected",
            Self::TooLarge { .. } => "too_large",
            Self::NotJson => "not_json",
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Behind => "behind",
            Self::Unavailable => "unavailable",
        }
    }

    /// Every name, for the counters.
    pub const NAMES: [&'static str; 20] = [
        "bad_request",
        "missing_field",
        "bad_field",
        "missing_parameter",
        "bad_parameter",
        "unauthorized",
        "not_operator",
        "bad_code",
        "bad_refresh_token",
        "not_found",
        "unknown_message",
        "unknown_user",
        "method_not_allowed",
        "misdirected",
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
            Self::MissingField(_) => "A field of the body is missing",
            Self::BadField { .. } => "A field of the body is not valid",
            Self::MissingParameter(_) => "A parameter is missing",
            Self::BadParameter { .. } => "A parameter is not valid",
            Self::Unauthorized => "A valid access token is needed",
            Self::NotOperator => "The operators' token is needed",
            Self::BadCode => "The code is not valid",
            Self::BadRefreshToken => "The refresh token is not valid",
            Self::NotFound => "There is nothing here",
            Self::UnknownMessage => "No message has this id",
            Self::UnknownUser => "No user has this id",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::Misdirected => "The host is not this port's",
            Self::TooLarge { .. } => "The body is too large",
            Self::NotJson => "The body must be application/json",
            Self::RateLimited { .. } => "Too many requests",
            Self::Overloaded => "The server is over a limit",
            Self::Behind => "The store is behind",
            Self::Unavailable => "The store is not available",
        }
    }

    /// What the client may do about it.
    fn detail(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::BadRequest(detail) => detail,
            Self::BadField { form, .. } | Self::BadParameter { form, .. } => form,
            Self::MissingField(name) => return format!("The body must have `{name}`.").into(),
            Self::MissingParameter(name) => return format!("The query must have `{name}`.").into(),
            Self::Unauthorized => {
                "Send `Authorization: Bearer TOKEN` with a token that is not expired or revoked."
            }
            Self::NotOperator => {
                "Send `Authorization: Bearer TOKEN` with the first line of `admin.token_file`; where \
                 none is set, a backup takes the text of `keys/backup.token`."
            }
            Self::BadCode => "Try again, or ask for a new code.",
            Self::BadRefreshToken => "Sign in again.",
            Self::NotFound => "See the documentation for the paths that exist.",
            Self::UnknownMessage => {
                "It was never accepted, or it was ephemeral and is kept nowhere."
            }
            Self::UnknownUser => "It was never registered and has never signed in.",
            Self::MethodNotAllowed => "`Allow` lists the methods that this path takes.",
            Self::Misdirected => "Name an address or localhost, or list the name in `admin.hosts`.",
            Self::TooLarge { bytes_max } => {
                return format!("A body may have {bytes_max} bytes.").into();
            }
            Self::NotJson => "Send `Content-Type: application/json`.",
            Self::RateLimited { .. } | Self::Overloaded | Self::Behind | Self::Unavailable => {
                "Repeat after `retry_after_ms`."
            }
        })
    }

    /// When the same may succeed again, milliseconds from now; `None` where it never does.
    const fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } => Some(retry_after_ms),
            Self::Overloaded | Self::Behind | Self::Unavailable => Some(Self::RETRY_AFTER_MS),
            _ => None,
        }
    }

    /// The document.
    fn body(self) -> String {
        let mut body = json!({
            "type": format!("urn:ringpost:problem:{}", self.name()),
            "title": self.title(),
            "status": self.status().as_u16(),
            "detail": self.detail(),
            "retry": self.retry_after_ms().is_some(),
        });
        if let Some(ms) = self.retry_after_ms() {
            body["retry_after_ms"] = ms.into();
        }
        match self {
            Self::MissingField(name) | Self::BadField { name, .. } => body["field"] = name.into(),
            Self::MissingParameter(name) | Self::BadParameter { name, .. } => {
                body["parameter"] = name.into();
            }
            _ => {}
        }
        body.to_string()
    }

    /// The whole answer, as bytes behind which the connection is closed: for who has a socket and
    /// no HTTP. Below 512 bytes.
    pub(crate) fn last_answer(self) -> Vec<u8> {
        let (status, body) = (self.status(), self.body());
        let mut answer = Vec::with_capacity(512);
        let written = (|| {
            write!(answer, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason()?)
                .ok()?;
            let retry = self.retry_after_ms().map(|ms| ms.div_ceil(1_000));
            retry.map_or(Ok(()), |s| write!(answer, "Retry-After: {s}\r\n")).ok()?;
            write!(
                answer,
                "Content-Type: {CONTENT_TYPE}\r\nCache-Control: no-store\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .ok()
        })();
        written.expect("a vector takes what is written, and each status here has a name");
        answer
    }
}

/// The media type of problem details.
const CONTENT_TYPE: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(ms) = self.retry_after_ms() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if matches!(self, Self::Unauthorized | Self::NotOperator) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use ringpost_conn::http::Rejection;
    use serde_json::Value;

    use super::*;

    const TEXT: &str = include_str!("../../REST.md");

    pub(in crate::rest) const ALL: [Problem; Problem::NAMES.len()] = [
        Problem::BadRequest("why"),
        Problem::MissingField("it"),
        Problem::BadField { name: "it", form: "form" },
        Problem::MissingParameter("it"),
        Problem::BadParameter { name: "it", form: "form" },
        Problem::Unauthorized,
        Problem::NotOperator,
        Problem::BadCode,
        Problem::BadRefreshToken,
        Problem::NotFound,
        Problem::UnknownMessage,
        Problem::UnknownUser,
        Problem::MethodNotAllowed,
        Problem::Misdirected,
        Problem::TooLarge { bytes_max: 16 },
        Problem::NotJson,
        Problem::RateLimited { retry_after_ms: 1 },
        Problem::Overloaded,
        Problem::Behind,
        Problem::Unavailable,
    ];

    /// Status, whether to repeat, and members of their own, by the name of the problem.
    type Table = BTreeMap<String, (u64, bool, String)>;

    /// The body of an answer, checked for what every problem has.
    fn document(answer: &[u8]) -> Value {
        let text = std::str::from_utf8(answer).unwrap();
        assert!(answer.len() < 512, "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.lines().any(|line| line == format!("Content-Length: {}", body.len())),
            "{text}"
        );
        assert!(head.contains("Content-Type: application/problem+json"), "{text}");
        assert!(head.contains("Connection: "), "{text}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(head[9..12], body["status"].to_string(), "{text}");
        assert_eq!(body["retry"], Value::from(head.contains("Retry-After: ")), "{text}");
        assert_eq!(body["retry"], Value::from(body["retry_after_ms"].is_u64()), "{text}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{text}");
        body
    }

    fn row(body: &Value) -> (String, (u64, bool, String)) {
        let name = body["type"].as_str().unwrap().strip_prefix("urn:ringpost:problem:").unwrap();
        let known = ["type", "title", "status", "detail", "retry", "retry_after_ms"];
        let own = body.as_object().unwrap().keys().filter(|key| !known.contains(&key.as_str()));
        let own = own.cloned().collect::<Vec<_>>().join(", ");
        let retry = body["retry"].as_bool().unwrap();
        (name.to_owned(), (body["status"].as_u64().unwrap(), retry, own))
    }

    #[test]
    fn every_problem_has_one_shape_and_stands_in_the_documentation_with_what_the_code_says() {
        let mut coded = Table::new();
        let mut titles = BTreeMap::new();
        for problem in ALL {
            let body = document(&problem.last_answer());
            let (name, row) = row(&body);
            titles.insert(name.clone(), body["title"].clone());
            assert!(coded.insert(name, row).is_none(), "{body}");
        }
        assert!(Problem::NAMES.iter().all(|name| coded.contains_key(*name)), "{coded:?}");
        for rejection in Rejection::all(Duration::from_millis(1_500)) {
            let mut answer = Vec::new();
            rejection.write_response(false, &mut answer);
            let body = document(&answer);
            let (name, row) = row(&body);
            let title = titles.entry(name.clone()).or_insert(body["title"].clone());
            assert_eq!(*title, body["title"], "one kind, one title");
            assert_eq!(*coded.entry(name).or_insert(row.clone()), row, "one kind, one answer");
        }
        let mut written = Table::new();
        let rows = TEXT.lines().filter_map(|line| line.strip_prefix("| `urn:ringpost:problem:"));
        for line in rows {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [name, status, retry, own, meaning, ""] = cells[..] else { panic!("{line}") };
            assert!(!meaning.is_empty(), "{line}");
            let own = own.replace('`', "");
            let row = (status.parse().unwrap(), retry == "yes", own);
            written.insert(name.trim_end_matches('`').to_owned(), row);
        }
        assert_eq!(written, coded);
    }
}
