//! NATS: core (publish and forget), or JetStream on file, where a publish is acknowledged once it
//! is stored and the receiver acknowledges each message.
//!
//! A user listens on `u.N`, and in a fan-out on `all`. JetStream: all subjects `u.*` are in one stream; each receiver has a
//! push consumer with explicit acknowledgement, made over the wire as any client would.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::{Dialect, Inbound, Parsed};

/// Name of the stream.
const STREAM: &str = "bench";
/// Longest control line, bytes: the server's own default is the same.
const LINE_BYTES_MAX: usize = 4_096;
/// Longest payload, bytes.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Subscriptions of a client: messages, and answers of JetStream.
const SID_MESSAGES: &str = "1";
const SID_ANSWERS: &str = "2";
const SID_ALL: &str = "3";
/// What is said to all.
const ALL: &str = "all";

/// Clients of NATS.
pub(crate) struct Nats {
    /// JetStream rather than core.
    pub(crate) stored: bool,
    /// Everybody listens on [`ALL`] too.
    pub(crate) to_all: bool,
}

impl Nats {
    fn text(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
        out.write_fmt(text).expect("a buffer grows");
    }
}

impl Dialect for Nats {
    fn greet(&self, user: u32, stage: u8, out: &mut BytesMut) {
        if !self.stored {
            Self::text(
                out,
                format_args!(
                    "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\
                 \"version\":\"1\",\"protocol\":1}}\r\nSUB u.{user} {SID_MESSAGES}\r\n"
                ),
            );
            if self.to_all {
                Self::text(out, format_args!("SUB {ALL} {SID_ALL}\r\n"));
            }
            return self.ping(out);
        }
        if stage == 0 {
            Self::text(
                out,
                format_args!(
                    "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\
                 \"no_responders\":true,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}}\r\n\
                 SUB d.{user} {SID_MESSAGES}\r\nSUB a.{user} {SID_ANSWERS}\r\n"
                ),
            );
            // Everybody asks for the stream: it is made once, and the same again is no error.
            request(
                &format!("STREAM.CREATE.{STREAM}"),
                user,
                &format!(
                    "{{\"name\":\"{STREAM}\",\"subjects\":[\"u.*\"],\"storage\":\"file\",\
                 \"retention\":\"interest\",\"num_replicas\":1,\"max_consumers\":3000000}}"
                ),
                out,
            );
        } else {
            request(
                &format!("CONSUMER.CREATE.{STREAM}.c{user}.u.{user}"),
                user,
                &format!(
                    "{{\"stream_name\":\"{STREAM}\",\"config\":{{\"name\":\"c{user}\",\
                 \"deliver_subject\":\"d.{user}\",\"filter_subject\":\"u.{user}\",\
                 \"ack_policy\":\"explicit\",\"deliver_policy\":\"all\",\
                 \"max_ack_pending\":100000}}}}"
                ),
                out,
            );
        }
    }

    fn parse<'a>(
        &self,
        _user: u32,
        stage: u8,
        input: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        let Some(end) = input.windows(2).position(|window| window == b"\r\n") else {
            return if input.len() > 16 * LINE_BYTES_MAX {
                Err("a line without end".into())
            } else {
                Ok(None)
            };
        };
        let line = std::str::from_utf8(&input[..end]).map_err(|_| "a line that is not text")?;
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let inbound = match words.next().unwrap_or_default() {
            "MSG" => return self.delivery(words, stage, input, end + 2, out),
            "HMSG" => return Err(format!("a message with headers: {line}")),
            "PING" => {
                out.put_slice(b"PONG\r\n");
                Inbound::Nothing
            }
            "PONG" if stage == 0 && !self.stored => Inbound::Ready,
            "PONG" => Inbound::Pong,
            "INFO" | "+OK" => Inbound::Nothing,
            _ => Inbound::Refused(line.to_owned()),
        };
        Ok(Some((end + 2, inbound)))
    }

    fn message(&self, from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        let bytes = content.len();
        if self.stored {
            Self::text(out, format_args!("PUB u.{to} a.{from} {bytes}\r\n"));
        } else {
            Self::text(out, format_args!("PUB u.{to} {bytes}\r\n"));
        }
        out.put_slice(content);
        out.put_slice(b"\r\n");
    }

    fn broadcast(&self, content: &[u8], out: &mut BytesMut) -> bool {
        Self::text(out, format_args!("PUB {ALL} {}\r\n", content.len()));
        out.put_slice(content);
        out.put_slice(b"\r\n");
        self.to_all
    }

    fn ping(&self, out: &mut BytesMut) {
        out.put_slice(b"PING\r\n");
    }
}

impl Nats {
    /// `MSG subject sid [reply] bytes`, then the payload and an empty line's end.
    fn delivery<'a>(
        &self,
        words: impl Iterator<Item = &'a str>,
        stage: u8,
        input: &'a [u8],
        start: usize,
        out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        let words = words.collect::<Vec<_>>();
        let (sid, reply, bytes) = match words.as_slice() {
            [_, sid, bytes] => (*sid, None, *bytes),
            [_, sid, reply, bytes] => (*sid, Some(*reply), *bytes),
            _ => return Err(format!("a delivery with {} words", words.len())),
        };
        let bytes = bytes.parse::<usize>().map_err(|_| "a delivery without a length")?;
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(format!("a delivery of {bytes} bytes"));
        }
        let Some(payload) = input.get(start..start + bytes) else { return Ok(None) };
        let whole = start + bytes + 2;
        if input.len() < whole {
            return Ok(None);
        }
        if sid != SID_ANSWERS {
            if let Some(reply) = reply {
                Self::text(out, format_args!("PUB {reply} 4\r\n+ACK\r\n"));
            }
            return Ok(Some((whole, Inbound::Message { content: payload.into(), ack: 0 })));
        }
        let answer = String::from_utf8_lossy(payload);
        let inbound = match stage {
            _ if answer.contains("\"error\"") => Inbound::Refused(answer.into_owned()),
            0 => Inbound::Next,
            1 if answer.contains("\"deliver_subject\"") => Inbound::Ready,
            _ => Inbound::Accepted,
        };
        Ok(Some((whole, inbound)))
    }
}

/// Asks the API of JetStream; the answer comes on `a.N`.
fn request(what: &str, user: u32, body: &str, out: &mut BytesMut) {
    Nats::text(out, format_args!("PUB $JS.API.{what} a.{user} {}\r\n{body}\r\n", body.len()));
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::Nats;
    use crate::dialect::{Dialect, Inbound};

    #[test]
    fn a_delivery_is_whole_with_its_line_end_and_is_acknowledged_if_asked() {
        let mut out = BytesMut::new();
        let nats = Nats { stored: true, to_all: false };
        let bytes = b"MSG u.1 1 $JS.ACK.x 3\r\nabc\r\nPING\r\n";
        for cut in 0..28 {
            assert_eq!(nats.parse(1, 1, &bytes[..cut], &mut out), Ok(None), "{cut}");
        }
        let parsed = nats.parse(1, 1, bytes, &mut out);
        assert_eq!(parsed, Ok(Some((28, Inbound::Message { content: b"abc"[..].into(), ack: 0 }))));
        assert_eq!(out, &b"PUB $JS.ACK.x 4\r\n+ACK\r\n"[..]);
    }
}
