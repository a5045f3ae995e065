//! One device of the fleet: it sends, repeats, acks, forgets, stalls, and always comes back.
//!
//! It does what PROTOCOL.md asks of a client and reports what it does and hears; it judges nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ringpost_ring::fake::{FakePeer, PeerRead};
use ringpost_wire::binary::{decode_event, encode_command};
use ringpost_wire::command::{Content, Credential, Hello, SendMessage};
use ringpost_wire::decoder::FrameDecoder;
use ringpost_wire::event::Status;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::PAYLOAD_BYTES_MAX;
use ringpost_wire::{CloseCode, Command, DeviceId, ErrorCode, Event, MessageId, ServerId, UserId};

use crate::chance::Chance;
use crate::credentials::token;
use crate::observed::{Body, DeviceKey, Key, Observed, Violation};
use crate::options::Options;

/// What a device reads in one step unless it stalls.
const READ_BYTES: usize = 4_096;

/// Messages without an answer.
const OUTSTANDING_MAX: usize = 8;

/// The window that it asks for: small, so that it is often full.
const WINDOW_PUSHES: u32 = 8;

/// Bytes of a message at most, canary included.
const BODY_BYTES_MAX: usize = 1_500;

struct Session {
    peer: FakePeer,
    unsent: VecDeque<u8>,
    decoder: FrameDecoder,
    by_ticket: bool,
    welcome: bool,
    last_push: u64,
    unacked: Vec<Option<ServerId>>,
    read_bytes: usize,
}

struct Message {
    to: UserId,
    body: Vec<u8>,
    answered: bool,
    told: bool,
    not_before: Duration,
}

/// A device.
pub(crate) struct Device {
    pub(crate) key: DeviceKey,
    partners: Vec<UserId>,
    session: Option<Session>,
    ticket: Option<Bytes>,
    messages: BTreeMap<MessageId, Message>,
    next_number: u64,
    chance: Chance,
    stall_once_in: usize,
    calm: bool,
    known: bool,
    now: Duration,
}

impl Device {
    pub(crate) fn new(key: DeviceKey, partners: Vec<UserId>, options: &Options) -> Self {
        let stream = u128::from_be_bytes(key.user.0) as u64 * 8 + u64::from(key.number);
        Self {
            key,
            partners,
            session: None,
            ticket: None,
            messages: BTreeMap::new(),
            next_number: stream << 32,
            chance: Chance::new(options.seed, 1_000 + stream),
            stall_once_in: options.stall_once_in,
            calm: false,
            known: false,
            now: Duration::ZERO,
        }
    }

    /// From now on it neither stalls nor doubts.
    pub(crate) fn calm(&mut self) {
        self.calm = true;
        if let Some(session) = &mut self.session {
            session.read_bytes = READ_BYTES;
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// Whether the server has told it once that nothing waits: from then on it is a device of its
    /// user, to which messages come.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    pub(crate) fn has_all_answers(&self) -> bool {
        self.messages.values().all(|message| message.answered)
    }

    /// Connects and says `hello`.
    pub(crate) fn connect(&mut self, peer: FakePeer) {
        let ticket = self.ticket.clone().filter(|_| self.chance.once_in(2));
        let credential = match &ticket {
            Some(ticket) => Credential::Ticket(ticket.to_vec().into()),
            None => Credential::Token(token(self.key).into()),
        };
        let hello = Hello {
            credential,
            device: DeviceId::new(self.key.number).expect("1 to 3"),
            window_pushes: WINDOW_PUSHES,
            window_bytes: 0,
            intents: 0,
        };
        let mut session = Session {
            peer,
            unsent: PREAMBLE.iter().copied().collect(),
            decoder: FrameDecoder::default(),
            by_ticket: ticket.is_some(),
            welcome: false,
            last_push: 0,
            unacked: Vec::new(),
            read_bytes: READ_BYTES,
        };
        session.say(&Command::Hello(hello));
        self.session = Some(session);
    }

    /// Loses its connection: the far end may not learn of it, or be told by a reset.
    pub(crate) fn disconnect(&mut self, seen: &mut Vec<Observed>) {
        if let Some(session) = self.session.take() {
            if self.chance.once_in(2) {
                session.peer.reset();
            }
            self.trouble(seen);
        }
    }

    fn trouble(&mut self, seen: &mut Vec<Observed>) {
        let key = self.key;
        for (&id, message) in self.messages.iter_mut().filter(|(_, it)| !it.answered) {
            message.told = false;
            seen.push(Observed::Troubled { key: (key, id) });
        }
    }

    /// Makes a message, if it is signed in and has room; answers whether it did.
    pub(crate) fn make(&mut self, seen: &mut Vec<Observed>) -> bool {
        let open = self.messages.values().filter(|message| !message.answered).count();
        if !self.session.as_ref().is_some_and(|it| it.welcome) || open >= OUTSTANDING_MAX {
            return false;
        }
        let to = self.partners[self.chance.below(self.partners.len())];
        self.next_number += 1;
        let id = MessageId(u128::from(self.next_number).to_be_bytes());
        let filler = self.chance.below(BODY_BYTES_MAX - 16);
        let mut body = canary(self.key.user, to).to_vec();
        body.extend((0..filler).map(|at| (self.next_number as usize + at) as u8));
        let key = (self.key, id);
        seen.push(Observed::Made { key, to, body: Body(body.clone()) });
        self.messages.insert(
            id,
            Message { to, body, answered: false, told: false, not_before: Duration::ZERO },
        );
        true
    }

    /// One step: sends what it has not told, reads, acks.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        seen: &mut Vec<Observed>,
    ) -> Result<bool, Violation> {
        self.now = now;
        let Some(mut session) = self.session.take() else { return Ok(false) };
        if !self.calm && self.chance.once_in(self.stall_once_in) {
            session.read_bytes = [0, 1, READ_BYTES][self.chance.below(3)];
        }
        let mut busy = false;
        if session.welcome {
            busy |= self.tell(&mut session, seen);
            busy |= self.ack(&mut session, seen);
        }
        busy |= session.write();
        match session.peer.read(session.read_bytes) {
            PeerRead::Bytes(bytes) => {
                busy |= !bytes.is_empty();
                if self.hear(&mut session, &bytes, seen)? {
                    self.session = Some(session);
                } else {
                    self.trouble(seen);
                }
            }
            PeerRead::End | PeerRead::Reset => {
                self.trouble(seen);
                busy = true;
            }
        }
        Ok(busy)
    }

    fn tell(&mut self, session: &mut Session, seen: &mut Vec<Observed>) -> bool {
        let mut busy = false;
        let now = self.now;
        let due = |(_, it): &(&MessageId, &mut Message)| !it.told && it.not_before <= now;
        for (&id, message) in self.messages.iter_mut().filter(due) {
            message.told = true;
            session.say(&send(id, message.to, &message.body));
            busy = true;
        }
        if !self.calm && !self.messages.is_empty() && self.chance.once_in(20) {
            // A client that forgot the answer, or has a bug.
            let nth = self.chance.below(self.messages.len());
            let (&id, message) = self.messages.iter().nth(nth).expect("it is below their number");
            if message.answered && self.chance.once_in(3) {
                seen.push(Observed::Altered { key: (self.key, id) });
                session.say(&send(id, message.to, &[&message.body[..], b"!"].concat()));
            } else {
                session.say(&send(id, message.to, &message.body));
            }
        }
        busy
    }

    fn ack(&mut self, session: &mut Session, seen: &mut Vec<Observed>) -> bool {
        if session.unacked.is_empty() || !(self.calm || self.chance.once_in(4)) {
            return false;
        }
        for id in session.unacked.drain(..).flatten() {
            seen.push(Observed::Acked { device: self.key, id });
        }
        let push = session.last_push;
        session.say(&Command::Ack { push });
        true
    }

    /// Answers whether the connection still stands.
    fn hear(
        &mut self,
        session: &mut Session,
        mut bytes: &[u8],
        seen: &mut Vec<Observed>,
    ) -> Result<bool, Violation> {
        loop {
            let broken = |what: String| Violation { checker: "protocol", what };
            let step = session
                .decoder
                .decode(bytes, PAYLOAD_BYTES_MAX)
                .map_err(|error| broken(error.to_string()))?;
            bytes = &bytes[step.consumed..];
            let Some(frame) = step.frame else { return Ok(true) };
            let header = frame.header;
            let event = decode_event(header.kind, header.flags, frame.payload)
                .map_err(|error| broken(format!("{}: {error:?}", self.key)))?;
            if !self.on_event(session, event, seen)? {
                return Ok(false);
            }
        }
    }

    fn on_event(
        &mut self,
        session: &mut Session,
        event: Event,
        seen: &mut Vec<Observed>,
    ) -> Result<bool, Violation> {
        let device = self.key;
        match event {
            Event::Welcome(welcome) => {
                session.welcome = true;
                self.ticket = Some(welcome.ticket);
                seen.push(Observed::Welcomed { device });
            }
            Event::Receipt(receipt) if receipt.status == Status::Sent => {
                let (key, to) = ((device, receipt.message_id), receipt.peer);
                seen.push(Observed::Sent { key, to, id: receipt.id });
                if let Some(message) = self.messages.get_mut(&receipt.message_id) {
                    message.answered = true;
                }
            }
            Event::Receipt(receipt) => {
                let (peer, id, push) = (receipt.peer, receipt.id, receipt.push);
                seen.push(Observed::Delivered { device, peer, id, push });
                session.last_push = push;
                session.unacked.push(None);
            }
            Event::NewMessage(message) => {
                let from = DeviceKey { user: message.from, number: message.from_device.number() };
                session.last_push = message.push;
                session.unacked.push(Some(message.id));
                seen.push(Observed::Pushed {
                    device,
                    key: (from, message.message_id),
                    to: message.to,
                    id: message.id,
                    push: message.push,
                    body: Body(message.body.to_vec()),
                });
            }
            Event::QueueEmpty { gap, .. } => {
                self.known = true;
                seen.push(Observed::QueueEmpty { device, gap });
            }
            Event::Ping { nonce } => session.say(&Command::Pong { nonce }),
            Event::Error(error) => return self.on_error(&error, seen).map(|()| true),
            Event::Close { code, .. } => {
                if code == CloseCode::SignInAgain && session.by_ticket {
                    self.ticket = None;
                }
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    fn on_error(
        &mut self,
        error: &ringpost_wire::event::Error,
        seen: &mut Vec<Observed>,
    ) -> Result<(), Violation> {
        let key: Key = (self.key, error.message_id);
        match error.code {
            ErrorCode::Conflict => seen.push(Observed::Conflict { key, id: error.id }),
            ErrorCode::RateLimited
            | ErrorCode::Quota
            | ErrorCode::Overloaded
            | ErrorCode::Unavailable => {
                if let Some(message) = self.messages.get_mut(&error.message_id) {
                    message.told = message.answered;
                    let wait = Duration::from_millis(error.retry_after_ms.into());
                    message.not_before = self.now + wait;
                    seen.push(Observed::Troubled { key });
                }
            }
            code => {
                let what = format!("{} was refused with {code:?}, wrongly: {error:?}", self.key);
                return Err(Violation { checker: "protocol", what });
            }
        }
        Ok(())
    }
}

impl Session {
    fn say(&mut self, command: &Command<'_>) {
        let mut bytes = BytesMut::new();
        encode_command(command, 0, &mut bytes);
        self.unsent.extend(bytes);
    }

    fn write(&mut self) -> bool {
        let waiting = self.unsent.make_contiguous();
        // An error is a far end that is gone; the read says so.
        let written = self.peer.write(waiting).unwrap_or(waiting.len());
        self.unsent.drain(..written);
        written > 0
    }
}

/// What stands at the front of each message of this direction, and of no other.
pub(crate) fn canary(from: UserId, to: UserId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&from.0[8..]);
    bytes[8..].copy_from_slice(&to.0[8..]);
    bytes
}

fn send(message_id: MessageId, to: UserId, body: &[u8]) -> Command<'_> {
    Command::SendMessage(SendMessage {
        message_id,
        to,
        reply_to: None,
        client_timestamp_ms: 5,
        ephemeral: false,
        content: Content::Encrypted(body.into()),
    })
}
