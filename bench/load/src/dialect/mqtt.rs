//! MQTT 3.1.1, quality of service 0 or 1. A user listens on `u/N`, and in a fan-out on `all`.
//!
//! With 1 the broker acknowledges a publish (`PUBACK`) once it has taken it, and the receiver
//! acknowledges what it got; sessions are persistent. It is less than what ringpost promises: the
//! broker acknowledges before anything is on disk.

use bytes::{BufMut, BytesMut};

use super::{Dialect, Inbound, Parsed};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 9;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 13;
/// What is said to all.
const ALL: &str = "all";
const CLEAN_SESSION: u8 = 2;
/// Of a publish: its quality of service.
const QOS_BITS: u8 = 0b110;

/// Clients of an MQTT broker.
pub(crate) struct Mqtt {
    /// Quality of service 1 with persistent sessions, else 0.
    acknowledged: bool,
    /// Everybody listens on [`ALL`] too.
    to_all: bool,
    /// Ids of packets in flight: they need only differ among those of one client.
    packet: std::cell::Cell<u16>,
}

impl Mqtt {
    /// Clients of this quality of service.
    pub(crate) fn new(acknowledged: bool, to_all: bool) -> Self {
        Self { acknowledged, to_all, packet: std::cell::Cell::new(1) }
    }

    fn next_packet(&self) -> u16 {
        let packet = self.packet.get();
        self.packet.set(if packet == u16::MAX { 1 } else { packet + 1 });
        packet
    }
}

impl Dialect for Mqtt {
    fn greet(&self, user: u32, stage: u8, out: &mut BytesMut) {
        if stage == 0 {
            let id = format!("c{user}");
            let flags = if self.acknowledged { 0 } else { CLEAN_SESSION };
            head(CONNECT, 10 + 2 + id.len(), out);
            out.put_slice(b"\x00\x04MQTT\x04");
            out.put_slice(&[flags, 0, 0]);
            text(&id, out);
        } else {
            let topics = [format!("u/{user}"), ALL.to_owned()];
            let topics = if self.to_all { &topics[..] } else { &topics[..1] };
            let bytes = topics.iter().map(|topic| 2 + topic.len() + 1).sum::<usize>();
            head(SUBSCRIBE, 2 + bytes, out);
            out.put_u16(1);
            for topic in topics {
                text(topic, out);
                out.put_u8(u8::from(self.acknowledged));
            }
        }
    }

    fn parse<'a>(
        &self,
        _user: u32,
        _stage: u8,
        input: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        let Some((whole, first, body)) = packet(input)? else { return Ok(None) };
        let inbound = match first >> 4 {
            CONNACK if body.get(1) == Some(&0) => Inbound::Next,
            CONNACK => Inbound::Refused(format!("CONNACK {body:?}")),
            SUBACK => Inbound::Ready,
            PUBACK => Inbound::Accepted,
            PINGRESP => Inbound::Pong,
            PUBLISH => {
                let short = || "a publish that is cut".to_owned();
                let topic = body.first_chunk::<2>().ok_or_else(short)?;
                let mut rest =
                    body.get(2 + usize::from(u16::from_be_bytes(*topic))..).ok_or_else(short)?;
                if first & QOS_BITS != 0 {
                    let (id, behind) = rest.split_at_checked(2).ok_or_else(short)?;
                    out.put_slice(&[PUBACK << 4, 2, id[0], id[1]]);
                    rest = behind;
                }
                Inbound::Message { content: rest.into(), ack: 0 }
            }
            kind => return Err(format!("an MQTT packet of kind {kind}")),
        };
        Ok(Some((whole, inbound)))
    }

    fn message(&self, _from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        self.publish(&format!("u/{to}"), content, out);
    }

    fn broadcast(&self, content: &[u8], out: &mut BytesMut) -> bool {
        self.publish(ALL, content, out);
        self.to_all
    }

    fn ping(&self, out: &mut BytesMut) {
        head(PINGREQ, 0, out);
    }
}

impl Mqtt {
    fn publish(&self, topic: &str, content: &[u8], out: &mut BytesMut) {
        let id = if self.acknowledged { 2 } else { 0 };
        let qos = u8::from(self.acknowledged) << 1;
        head(PUBLISH << 4 | qos, 2 + topic.len() + id + content.len(), out);
        text(topic, out);
        if self.acknowledged {
            out.put_u16(self.next_packet());
        }
        out.put_slice(content);
    }
}

/// The bytes of a packet, its first byte, and what is behind its length.
type Packet<'a> = (usize, u8, &'a [u8]);

/// The packet at the head of `input`, `None` if it is not whole.
fn packet(input: &[u8]) -> Result<Option<Packet<'_>>, String> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let mut length = 0;
    for (position, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            let start = 2 + position;
            let body = input.get(start..start + length);
            return Ok(body.map(|body| (start + length, first, body)));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err("an MQTT length of five bytes".to_owned()) }
}

fn head(first: u8, mut length: usize, out: &mut BytesMut) {
    out.put_u8(first);
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        out.put_u8(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

fn text(text: &str, out: &mut BytesMut) {
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Mqtt, packet};
    use crate::dialect::{Dialect, Inbound};

    #[test]
    fn a_publish_is_read_back_at_both_qualities_and_acknowledged_at_one() {
        for (acknowledged, answer) in [(false, &[][..]), (true, &[0x40, 2, 0, 1][..])] {
            for bytes in [16, 200, 20_000] {
                let mqtt = Mqtt::new(acknowledged, false);
                let (mut wire, mut out) = (BytesMut::new(), BytesMut::new());
                let content = vec![7; bytes];
                mqtt.message(1, 2, &content, &mut wire);
                assert_eq!(packet(&wire[..wire.len() - 1]), Ok(None));
                let parsed = mqtt.parse(2, 1, &wire, &mut out);
                let message = Inbound::Message { content: content.as_slice().into(), ack: 0 };
                assert_eq!(parsed, Ok(Some((wire.len(), message))));
                assert_eq!(out, answer);
            }
        }
    }
}
