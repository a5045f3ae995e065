//! XMPP over WebSocket (RFC 7395), as far as ejabberd and a relay need it: one stanza in a frame.
//!
//! ```text
//!   upgrade -> open, features -> auth, success -> open, features -> bind -> presence [, enable]
//! ```
//! In the full form with stream management (XEP-0198): the sender asks for an acknowledgement of
//! each message (`r`), which the server gives (`a`) once it has taken it, and the receiver
//! acknowledges what it got, whenever the server asks. Content travels as base64 in the body.

use std::cell::RefCell;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};

use super::websocket::{self, PING, TEXT};
use super::{Dialect, Inbound, Parsed};

const PATH: &str = "/ws";
/// The host of all users.
pub(crate) const HOST: &str = "localhost";
/// The password of all users.
pub(crate) const PASSWORD: &str = "p";

/// The stage after which a client only waits to be ready.
const LAST: u8 = 5;

/// Clients of an XMPP server.
pub(crate) struct Xmpp {
    acknowledged: bool,
    /// By user: stanzas received since stream management was enabled.
    received: RefCell<Vec<u32>>,
}

/// The name of a user, without its host.
pub(crate) fn local_part(user: u32) -> String {
    format!("u{user}")
}

impl Xmpp {
    /// Clients with stream management or without.
    pub(crate) fn new(acknowledged: bool) -> Self {
        Self { acknowledged, received: RefCell::default() }
    }

    /// One stanza more, or a new count.
    fn count(&self, user: u32, anew: bool) -> u32 {
        let mut received = self.received.borrow_mut();
        let position = user as usize;
        if received.len() <= position {
            received.resize(position + 1, 0);
        }
        received[position] = if anew { 0 } else { received[position].wrapping_add(1) };
        received[position]
    }

    fn stanza<'a>(
        &self,
        user: u32,
        stage: u8,
        text: &'a str,
        out: &mut BytesMut,
    ) -> Result<Inbound<'a>, String> {
        let name = text.strip_prefix('<').ok_or("no stanza")?;
        let end = name.find([' ', '>', '/']).ok_or("a stanza without an end")?;
        if matches!(&name[..end], "message" | "presence" | "iq") {
            self.count(user, false);
        }
        let refused = || Ok(Inbound::Refused(text.to_owned()));
        match &name[..end] {
            "stream:features" | "success" => Ok(Inbound::Next),
            "iq" if text.contains("type='result'") => Ok(Inbound::Next),
            "presence" if stage == LAST && !self.acknowledged => Ok(Inbound::Ready),
            "open" | "presence" => Ok(Inbound::Nothing),
            "enabled" => {
                self.count(user, true);
                Ok(Inbound::Ready)
            }
            "a" => Ok(Inbound::Accepted),
            "r" => {
                let received = self.received.borrow();
                let count = received.get(user as usize).copied().unwrap_or_default();
                put(format_args!("<a xmlns='urn:xmpp:sm:3' h='{count}'/>"), out);
                Ok(Inbound::Nothing)
            }
            "message" if !text.contains("type='error'") => {
                let body =
                    text.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>"));
                let (body, _) = body.ok_or("a message without a body")?;
                let content = STANDARD.decode(body).map_err(|_| "a body that is no base64")?;
                Ok(Inbound::Message { content: content.into(), ack: 0 })
            }
            _ => refused(),
        }
    }
}

impl Dialect for Xmpp {
    fn greet(&self, user: u32, stage: u8, out: &mut BytesMut) {
        match stage {
            0 => websocket::upgrade(PATH, Some("xmpp"), out),
            1 | 3 => put(
                format_args!(
                    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{HOST}' version='1.0'/>"
                ),
                out,
            ),
            2 => {
                let proof = STANDARD.encode(format!("\0{}\0{PASSWORD}", local_part(user)));
                put(
                    format_args!(
                        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>"
                    ),
                    out,
                );
            }
            4 => put(
                format_args!(
                    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                     <resource>r</resource></bind></iq>"
                ),
                out,
            ),
            _ => {
                put(format_args!("<presence/>"), out);
                if self.acknowledged {
                    put(format_args!("<enable xmlns='urn:xmpp:sm:3'/>"), out);
                }
            }
        }
    }

    fn parse<'a>(
        &self,
        user: u32,
        stage: u8,
        input: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        if stage == 0 {
            return websocket::upgraded(input);
        }
        let Some(frame) = websocket::frame(input)? else { return Ok(None) };
        if frame.code != TEXT {
            return Ok(Some((frame.bytes, websocket::control(&frame, out)?)));
        }
        let text = std::str::from_utf8(frame.payload).map_err(|_| "a stanza that is not text")?;
        Ok(Some((frame.bytes, self.stanza(user, stage, text, out)?)))
    }

    fn message(&self, _from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        let to = local_part(to);
        let body = STANDARD.encode(content);
        put(
            format_args!("<message to='{to}@{HOST}' type='chat'><body>{body}</body></message>"),
            out,
        );
        if self.acknowledged {
            put(format_args!("<r xmlns='urn:xmpp:sm:3'/>"), out);
        }
    }

    fn ping(&self, out: &mut BytesMut) {
        websocket::head(PING, 0, out);
    }
}

/// A stanza in a frame of its own.
fn put(stanza: std::fmt::Arguments<'_>, out: &mut BytesMut) {
    let mut text = String::new();
    text.write_fmt(stanza).expect("text grows");
    websocket::head(TEXT, text.len(), out);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{LAST, Xmpp};
    use crate::dialect::{Dialect, Inbound};

    #[test]
    fn what_was_received_since_stream_management_is_acknowledged_when_asked() {
        let xmpp = Xmpp::new(true);
        let mut out = BytesMut::new();
        let parse = |text: &str, out: &mut BytesMut| {
            let mut frame = vec![0x81, text.len() as u8];
            frame.extend_from_slice(text.as_bytes());
            let (bytes, inbound) = xmpp.parse(7, LAST, &frame, out).unwrap().unwrap();
            assert_eq!(bytes, frame.len());
            match inbound {
                Inbound::Message { content, .. } => content.into_owned(),
                Inbound::Ready => b"ready".to_vec(),
                Inbound::Nothing => Vec::new(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse("<presence from='u7@localhost/r'/>", &mut out), b"");
        assert_eq!(parse("<enabled xmlns='urn:xmpp:sm:3'/>", &mut out), b"ready");
        for _ in 0..2 {
            let message = "<message type='chat'><body>aGVsbG8=</body></message>";
            assert_eq!(parse(message, &mut out), b"hello");
        }
        assert!(out.is_empty());
        parse("<r xmlns='urn:xmpp:sm:3'/>", &mut out);
        assert!(out.ends_with(b"h='2'/>"), "{out:?}");
    }

    #[test]
    fn an_error_is_a_refusal_with_its_words() {
        let text = b"<message type='error'><error/></message>";
        let mut frame = vec![0x81, text.len() as u8];
        frame.extend_from_slice(text);
        let parsed = Xmpp::new(false).parse(7, LAST, &frame, &mut BytesMut::new());
        assert!(matches!(parsed, Ok(Some((_, Inbound::Refused(why)))) if why.contains("error")));
    }
}
