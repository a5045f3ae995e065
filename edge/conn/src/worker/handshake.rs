//! The part of a connection before its first command: which protocol it speaks, the header of a
//! proxy in front, the head of an HTTP request and what comes of it.
//!
//! Does not own: the readers of each (`sniff`, `proxy_header`, `http`), who the caller is
//! (`callers`), nor what comes behind the handshake (`input`).

use std::os::fd::OwnedFd;
use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::event::Now;
use ringpost_wire::CloseReason;
use ringpost_wire::decoder::FrameDecoder;
use smallvec::SmallVec;

use super::Worker;
use crate::connection::{Phase, Protocol, Speech};
use crate::http::{HeadReader, Refusal, Rejection, Request, Subprotocol};
use crate::output::Output;
use crate::sniff::{self, Sniffer, Verdict};
use crate::websocket;

/// When to come again where too many of one caller have not signed in: by then those have, or are
/// closed.
pub(super) const STRANGERS_PAUSE: Duration = Duration::from_secs(10);

impl Worker {
    /// The part before the first command: which protocol, and the upgrade of a WebSocket. Answers
    /// how many bytes it took; `protocol` is `Deaf` if the connection ends or goes to REST.
    pub(super) fn shake_hands(
        &mut self,
        slot: Slot,
        protocol: &mut Protocol,
        bytes: &[u8],
        now: Now,
    ) -> usize {
        let mut held: SmallVec<[u8; 16]> = SmallVec::new();
        let mut consumed = self.recognise(slot, protocol, &mut held, bytes, now);
        if let Protocol::ProxyHeader(reader) = protocol {
            // What the sniffer held is shorter than a header and cannot end it.
            let pieces = [&held[..], &bytes[consumed..]];
            let read = pieces
                .into_iter()
                .try_fold((0, false), |_, piece| self.read_proxy_header(slot, reader, piece, now));
            let Some((header, has_ended)) = read else {
                *protocol = Protocol::Deaf;
                return consumed;
            };
            consumed += header;
            held.clear();
            if has_ended {
                *protocol = Protocol::Sniffing(Sniffer::new());
            }
            if has_ended && !self.holds(slot) {
                consumed += self.recognise(slot, protocol, &mut held, &bytes[consumed..], now);
            }
        }
        if let Protocol::Http(reader) = protocol {
            // What the sniffer held is shorter than a head and cannot complete it.
            let after = match self.read_head(slot, reader, &held, now) {
                HeadRead::Incomplete => self.read_head(slot, reader, &bytes[consumed..], now),
                done => done,
            };
            match after {
                HeadRead::Incomplete => consumed = bytes.len(),
                HeadRead::Upgraded { consumed: head } => {
                    consumed += head;
                    *protocol = Protocol::WebSocket(websocket::Decoder::new());
                }
                HeadRead::Ended => *protocol = Protocol::Deaf,
            }
        }
        consumed
    }

    /// Looks for the protocol while it is not known. Answers how many bytes that took; those that came
    /// before and belong to the protocol are put into `held`.
    fn recognise(
        &mut self,
        slot: Slot,
        protocol: &mut Protocol,
        held: &mut SmallVec<[u8; 16]>,
        bytes: &[u8],
        now: Now,
    ) -> usize {
        let Protocol::Sniffing(sniffer) = protocol else { return 0 };
        let Verdict::Decided { protocol: sniffed, consumed } = sniffer.feed(bytes) else {
            return bytes.len();
        };
        held.extend_from_slice(sniffer.held());
        *protocol = self.sniffed(slot, sniffed, now);
        consumed
    }

    fn sniffed(&mut self, slot: Slot, sniffed: sniff::Protocol, now: Now) -> Protocol {
        match sniffed {
            sniff::Protocol::Binary if self.name_nobody(slot, now) => {
                self.speak(slot, Speech::Binary, now);
                return Protocol::Binary(FrameDecoder::default());
            }
            sniff::Protocol::Http => return Protocol::Http(Box::new(HeadReader::new())),
            sniff::Protocol::Proxy => match self.proxy_header_reader(slot) {
                Some(reader) => return Protocol::ProxyHeader(Box::new(reader)),
                None => self.refuse_proxy_header(slot, now),
            },
            // There are too many of its address.
            sniff::Protocol::Binary => self.remove(slot, now),
            sniff::Protocol::Tls | sniff::Protocol::Unknown => {
                self.counters.refused_garbage += 1;
                self.remove(slot, now);
            }
        }
        Protocol::Deaf
    }

    fn speak(&mut self, slot: Slot, speech: Speech, now: Now) {
        if let Some(connection) = self.connections.find(slot) {
            connection.speech = speech;
            self.enter(slot, Phase::SignIn, now);
            self.schedule(slot);
            if self.drain.is_on() {
                self.send_away(slot, now);
            }
        }
    }

    fn read_head(
        &mut self,
        slot: Slot,
        reader: &mut HeadReader,
        bytes: &[u8],
        now: Now,
    ) -> HeadRead {
        let request = match reader.feed(bytes, &self.config.origins) {
            Ok(request) => request,
            Err(rejection) => {
                let refusal = reader.refusal(rejection, bytes);
                self.reject_upgrade(slot, refusal, now);
                return HeadRead::Ended;
            }
        };
        match request {
            Request::Incomplete => HeadRead::Incomplete,
            Request::Upgrade { upgrade, consumed, .. } => {
                if !self.name_by_fields(slot, &upgrade.forwarded, now) {
                    let retry_after = STRANGERS_PAUSE;
                    self.reject_upgrade(slot, Rejection::Overloaded { retry_after }, now);
                    return HeadRead::Ended;
                }
                let speech = match upgrade.subprotocol {
                    Subprotocol::Json => Speech::WebSocketJson,
                    Subprotocol::Binary => Speech::WebSocketBinary,
                };
                self.write_raw(slot, |out| upgrade.write_response(out));
                self.speak(slot, speech, now);
                HeadRead::Upgraded { consumed }
            }
            Request::Rest { head, consumed, .. } => {
                let read = [head, &bytes[consumed..]].concat();
                self.enter(slot, Phase::HandingOver(read), now);
                self.schedule(slot);
                self.leave_if_quiet(slot, now);
                HeadRead::Ended
            }
        }
    }

    /// Answers a request that is refused, and closes.
    pub(super) fn reject_upgrade(&mut self, slot: Slot, refusal: impl Into<Refusal>, now: Now) {
        let refusal = refusal.into();
        self.counters.refused_upgrade += 1;
        self.counters.rejections.add(refusal.rejection);
        self.write_raw(slot, |out| refusal.write_response(false, out));
        if let Some(origin) = refusal.origin {
            self.outputs.push(Output::ForeignOrigin { origin });
        }
        self.close(slot, CloseReason::UpgradeRefused, now);
    }

    /// The descriptor is an ordinary one: REST takes it from here.
    pub(super) fn installed(&mut self, slot: Slot, fd: OwnedFd, now: Now) {
        let Some(connection) = self.take(slot, now) else { return };
        if let Phase::Installing(read) = connection.phase {
            self.counters.handed_over += 1;
            self.outputs.push(Output::HandOver { fd, read, caller: connection.caller });
        }
    }
}

/// How far the head of the first request is.
enum HeadRead {
    /// More bytes are needed.
    Incomplete,
    /// A WebSocket from here on.
    Upgraded {
        /// Bytes of the input that belong to the head.
        consumed: usize,
    },
    /// Refused, or handed to REST.
    Ended,
}
