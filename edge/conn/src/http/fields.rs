//! The fields of one request: found by name, and what they say about the request as a whole, whoever
//! it is for: how long it is, whether another may follow, whether it names one host.

use std::str;

use httparse::Header;

use super::Rejection;

/// What follows a head that belongs to its request (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// So many bytes; 0 where none is announced.
    Bytes(u64),
    /// Chunks, up to one of no length.
    Chunked,
}

/// The fields of a request, looked up by name without case.
pub(super) struct Fields<'h, 'b>(pub(super) &'h [Header<'b>]);

impl<'h, 'b> Fields<'h, 'b> {
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        let fields = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value)
    }

    pub(super) fn has(&self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a field that must not be repeated; `None` if it is, or is missing.
    pub(super) fn once(&self, name: &'static str) -> Option<&'b [u8]> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The elements of a field that is a list, over all its lines.
    pub(super) fn list(&self, name: &'static str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        let elements = self.all(name).flat_map(|value| value.split(|&byte| byte == b','));
        elements.map(|element| element.trim_ascii()).filter(|element| !element.is_empty())
    }

    pub(super) fn list_has(&self, name: &'static str, element: &str) -> bool {
        self.list(name).any(|other| other.eq_ignore_ascii_case(element.as_bytes()))
    }
}

/// The body that a request announces. Whatever two readers could understand in two ways is refused:
/// a length beside an encoding or of two minds, an encoding other than `chunked` once, one in
/// HTTP/1.0.
pub(super) fn body_of(request: &httparse::Request<'_, '_>) -> Result<Body, Rejection> {
    let fields = Fields(request.headers);
    match (fields.has("Transfer-Encoding"), fields.has("Content-Length")) {
        (false, false) => Ok(Body::Bytes(0)),
        (false, true) => {
            let length = fields.once("Content-Length").and_then(length_of);
            length.map(Body::Bytes).ok_or(Rejection::Malformed)
        }
        (true, false) if request.version == Some(1) => {
            let encoding = fields.once("Transfer-Encoding");
            let is_chunked = encoding.is_some_and(|it| it.eq_ignore_ascii_case(b"chunked"));
            is_chunked.then_some(Body::Chunked).ok_or(Rejection::Malformed)
        }
        (true, _) => Err(Rejection::Malformed),
    }
}

/// Whether another request may follow this one on its connection.
pub(super) fn persists(request: &httparse::Request<'_, '_>) -> bool {
    let fields = Fields(request.headers);
    match request.version {
        Some(1) => !fields.list_has("Connection", "close"),
        _ => fields.list_has("Connection", "keep-alive") && !fields.list_has("Connection", "close"),
    }
}

/// Whether a request names exactly one host, as HTTP/1.1 asks for. It is not compared with
/// anything: what decides about pages is their origin.
pub(super) fn names_host(request: &httparse::Request<'_, '_>) -> bool {
    let fields = Fields(request.headers);
    request.version != Some(1) || fields.once("Host").is_some_and(is_host)
}

/// Whether this could be a host with or without a port.
fn is_host(value: &[u8]) -> bool {
    let host_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(byte);
    !value.is_empty() && value.iter().all(host_byte)
}

/// A length in digits alone: a sign, a space or a second value is somebody else's end of the body.
fn length_of(value: &[u8]) -> Option<u64> {
    let is_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_digits.then(|| str::from_utf8(value).ok()?.parse().ok())?
}
