//! The opening handshake of a WebSocket (RFC 6455 section 4.2), cheapest check first.

use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use sha1::{Digest, Sha1};

use super::fields::Fields;
use super::{Origins, Rejection, WEBSOCKET_PATH};
use crate::forwarded::ForwardedFields;
use crate::websocket::{Accepts, Opcode};

/// 16 bytes in base64.
const KEY_BYTES: usize = 24;

/// 20 bytes of SHA-1 in base64.
const ACCEPT_BYTES: usize = 28;

/// What section 1.3 appends to the key, so that only a server of WebSockets gives the answer.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The encodings of the protocol over a WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Subprotocol {
    /// `ringpost.v1.json`: text messages, one JSON object each.
    Json,
    /// `ringpost.v1.bin`: binary messages, with the frames of the binary protocol.
    Binary,
}

impl Subprotocol {
    /// Its name in `Sec-WebSocket-Protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "ringpost.v1.json",
            Self::Binary => "ringpost.v1.bin",
        }
    }

    /// The type of messages that a client may send.
    pub const fn accepts(self) -> Accepts {
        match self {
            Self::Json => Accepts::Text,
            Self::Binary => Accepts::Binary,
        }
    }

    /// The opcode of the messages that the server sends.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Json => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }

    fn named(name: &[u8]) -> Option<Self> {
        [Self::Json, Self::Binary].into_iter().find(|known| known.name().as_bytes() == name)
    }
}

/// A request for a WebSocket that passed every check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade<'a> {
    /// The first known one of those that the client named; JSON if it named none.
    pub subprotocol: Subprotocol,
    /// The page, if a browser asks. It is on the allow-list.
    pub origin: Option<&'a str>,
    /// For whom a proxy in front speaks, if it is believed.
    pub forwarded: ForwardedFields<'a>,
    /// Whether the client named subprotocols: it fails if the answer names one and it did not.
    subprotocol_named: bool,
    key: [u8; KEY_BYTES],
}

impl Upgrade<'_> {
    /// Writes the answer 101, after which both sides send frames. Below 256 bytes.
    ///
    /// # Panics
    /// If `out` has no room.
    pub fn write_response(&self, out: &mut impl BufMut) {
        out.put_slice(
            b"HTTP/1.1 101 Switching Protocols\r\n\
              Upgrade: websocket\r\n\
              Connection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.put_slice(&accept(&self.key));
        if self.subprotocol_named {
            out.put_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.put_slice(self.subprotocol.name().as_bytes());
        }
        out.put_slice(b"\r\n\r\n");
    }
}

/// What the server answers to a key (section 4.2.2, step 5.4).
fn accept(key: &[u8; KEY_BYTES]) -> [u8; ACCEPT_BYTES] {
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize();
    let mut accept = [0; ACCEPT_BYTES];
    let bytes = STANDARD.encode_slice(digest, &mut accept).expect("20 bytes make 28");
    assert_eq!(bytes, ACCEPT_BYTES);
    accept
}

/// Judges a parsed request without a body: `None` if it does not ask for a WebSocket here.
pub(super) fn judge<'b>(
    request: &httparse::Request<'_, 'b>,
    origins: &Origins,
) -> Result<Option<Upgrade<'b>>, Rejection> {
    let fields = Fields(request.headers);
    if !fields.list_has("Upgrade", "websocket") {
        return match request.method {
            Some("GET") => Err(Rejection::UpgradeRequired),
            _ => Ok(None),
        };
    }
    if request.method != Some("GET") {
        return Err(Rejection::Method);
    }
    if request.version != Some(1) {
        return Err(Rejection::HttpTooOld);
    }
    if !fields.list_has("Connection", "upgrade") {
        return Err(Rejection::Connection);
    }
    if fields.once("Sec-WebSocket-Version") != Some(b"13") {
        return Err(Rejection::WebSocketVersion);
    }
    let origin = allowed_origin(&fields, origins)?;
    let key = fields.once("Sec-WebSocket-Key").and_then(key_of).ok_or(Rejection::Key)?;
    let subprotocol_named = fields.has("Sec-WebSocket-Protocol");
    let subprotocol = if subprotocol_named {
        let mut names = fields.list("Sec-WebSocket-Protocol");
        names.find_map(Subprotocol::named).ok_or(Rejection::Subprotocol)?
    } else {
        Subprotocol::Json
    };
    let forwarded = ForwardedFields::new(fields.all("X-Forwarded-For"), fields.all("Forwarded"));
    Ok(Some(Upgrade { subprotocol, origin, forwarded, subprotocol_named, key }))
}

/// Whether a request is for where a WebSocket is found.
pub(super) fn is_for_websocket(request: &httparse::Request<'_, '_>) -> bool {
    request.path.map(path_of) == Some(WEBSOCKET_PATH)
}

/// The path of a request target, in origin form or absolute form (RFC 9112 section 3.2).
fn path_of(target: &str) -> &str {
    let rest = ["http://", "https://"].into_iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let origin_form = match rest {
        Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => target,
    };
    origin_form.split('?').next().unwrap_or_default()
}

fn allowed_origin<'b>(
    fields: &Fields<'_, 'b>,
    origins: &Origins,
) -> Result<Option<&'b str>, Rejection> {
    if !fields.has("Origin") {
        return Ok(None);
    }
    let origin = fields.once("Origin").and_then(|value| str::from_utf8(value).ok());
    match origin {
        Some(origin) if origins.allow(origin) => Ok(Some(origin)),
        _ => Err(Rejection::Origin),
    }
}

/// The key as it stands, if it is 16 bytes in base64.
fn key_of(value: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let key = value.try_into().ok()?;
    // The decoder wants room for what the length alone could mean.
    let mut nonce = [0; KEY_BYTES / 4 * 3];
    let bytes = STANDARD.decode_slice(key, &mut nonce).ok()?;
    (bytes == 16).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_of_the_rfc() {
        let accept = accept(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_canonical_base64() {
        assert!(key_of(b"dGhlIHNhbXBsZSBub25jZQ==").is_some());
        for bad in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZR==",
            b"dGhlIHNhbXBsZSBub25jZSE=",
            b"dGhlIHNhbXBsZSBub25jZSEh",
            b"dGhlIHNhbXBsZSBub25jZ\xff==",
            b"dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(key_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_path_of_both_forms_of_a_target() {
        for (target, path) in [
            ("/v1/ws", "/v1/ws"),
            ("/v1/ws?a=/b?c", "/v1/ws"),
            ("http://chat.example/v1/ws", "/v1/ws"),
            ("HTTPS://chat.example:8443/v1/ws?x", "/v1/ws"),
            ("http://chat.example", ""),
            ("*", "*"),
            ("/v1/ws/", "/v1/ws/"),
            ("/http://chat.example/v1/ws", "/http://chat.example/v1/ws"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
