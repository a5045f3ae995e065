//! One device of the fleet: it sends, remembers, acks when it likes, and always comes back.
//!
//! A client does what `PROTOCOL.md` asks of a good one: it keeps the exact bytes of a message
//! until `sent`, sends them again after a reconnect, in order, and remembers the ids of what it
//! was shown. Now and then it forgets an answer and sends an old message again, sometimes with
//! another content: the first must get the same answer, the second a conflict. Whatever it learns
//! goes into the ledger of the run. It does not pause between
//! reconnects as a client in the field must: the server is to be met while it recovers.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ringpost_wire::command::{Content, Credential, Hello, SendMessage};
use ringpost_wire::event::{self, Receipt, Status};
use ringpost_wire::{CloseCode, Command, ErrorCode, Event, MessageId, ServerId, UserId};
use uuid::Uuid;

use super::ledger::{Device, Key};
use super::link::{End, Link};
use super::{Shared, Stage};
use crate::seeded::Chance;

/// Messages of one device that wait for an answer.
const OUTSTANDING_MAX: usize = 16;

/// New messages of one turn, at most; with turns of 5 ms this stays below the server's rates.
const NEW_PER_TURN: u64 = 3;

/// What all devices together have not been shown yet, at most, for new messages to be made: the
/// queues are to be drained between kills, not only filled.
const BACKLOG_MAX: u64 = 2_000;

/// Answered messages of one device that it may send again as if it had forgotten the answer.
const ANSWERED_MAX: usize = 64;

/// The window that clients ask for: small, so that it is often full.
const WINDOW_PUSHES: u32 = 32;

/// Last words of a client that are shown with a violation.
const TRAIL_MAX: usize = 32;

/// Between two tries to connect while the server is down.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// What a device is and does.
pub(super) struct Role {
    pub(super) device: Device,
    /// To whom it sends; nobody = it only receives.
    pub(super) partners: Vec<UserId>,
    pub(super) token: String,
    pub(super) address: SocketAddr,
}

/// A device.
pub(super) struct Client {
    role: Role,
    shared: Arc<Shared>,
    chance: Chance,
    ticket: Option<Vec<u8>>,
    session: Option<Session>,
    outstanding: VecDeque<Pending>,
    answered: VecDeque<Pending>,
    trail: VecDeque<String>,
    has_gathered: bool,
}

/// A message without an answer.
struct Pending {
    message_id: MessageId,
    to: UserId,
    content: Vec<u8>,
    /// Whether the present connection was told.
    is_told: bool,
    attempts: u32,
    not_before: Instant,
}

impl Pending {
    /// The command that sends it with this content, which is its own unless the client has a bug.
    fn command<'a>(&self, content: &'a [u8]) -> Command<'a> {
        let clock = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Command::SendMessage(SendMessage {
            message_id: self.message_id,
            to: self.to,
            reply_to: None,
            client_timestamp_ms: clock.as_millis() as u64,
            ephemeral: false,
            content: Content::Encrypted(Cow::Borrowed(content)),
        })
    }
}

/// A connection and what belongs to it alone.
struct Session {
    link: Link,
    by_ticket: bool,
    is_welcome: bool,
    is_live: bool,
    pushed: u64,
    /// Messages pushed on this connection: none comes twice.
    seen: HashSet<ServerId>,
    /// Pushes to be acked; messages with their id.
    unacked: Vec<Option<ServerId>>,
    /// The ack leaves when so many pushes wait, or at this moment.
    ack_plan: Option<(usize, Instant)>,
}

impl Client {
    /// A device that has not connected yet.
    pub(super) fn new(role: Role, shared: Arc<Shared>, chance: Chance) -> Self {
        Self {
            role,
            shared,
            chance,
            ticket: None,
            session: None,
            outstanding: VecDeque::new(),
            answered: VecDeque::new(),
            trail: VecDeque::new(),
            has_gathered: false,
        }
    }

    /// Lives until the run stops or a promise is broken.
    pub(super) fn run(mut self) {
        while self.shared.stage() != Stage::Stop {
            match self.turn() {
                Ok(()) => {}
                Err(End::Lost) => {
                    self.session = None;
                    thread::sleep(RECONNECT_PAUSE);
                }
                Err(End::Broken(how)) => {
                    let trail = self.trail.make_contiguous().join("\n    ");
                    let device = self.role.device;
                    self.shared.fault(format!("{device}: {how}\n  its last events:\n    {trail}"));
                    return;
                }
            }
        }
    }

    /// Reads once, answers, sends.
    fn turn(&mut self) -> Result<(), End> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.connect()?,
        };
        for event in session.link.read()? {
            self.note(&event);
            self.handle(&mut session, event)?;
        }
        if session.is_welcome {
            self.ack_if_due(&mut session);
            if self.shared.stage() == Stage::Send {
                self.make_messages();
                self.doubt(&mut session);
            }
            self.send(&mut session);
        }
        session.link.flush()?;
        self.session = Some(session);
        Ok(())
    }

    /// Connects and says hello, by ticket or by token.
    fn connect(&mut self) -> Result<Session, End> {
        let mut link = Link::open(self.role.address)?;
        let ticket = self.ticket.as_deref().filter(|_| self.chance.once_in(2));
        let credential = match ticket {
            Some(ticket) => Credential::Ticket(Cow::Borrowed(ticket)),
            None => Credential::Token(Cow::Borrowed(&self.role.token)),
        };
        link.put(&Command::Hello(Hello {
            credential,
            device: self.role.device.number,
            window_pushes: WINDOW_PUSHES,
            window_bytes: 0,
            intents: 0,
        }));
        let by_ticket = ticket.is_some();
        link.flush()?;
        for message in &mut self.outstanding {
            message.is_told = false;
        }
        self.trail("connected".to_owned());
        Ok(Session {
            link,
            by_ticket,
            is_welcome: false,
            is_live: false,
            pushed: 0,
            seen: HashSet::new(),
            unacked: Vec::new(),
            ack_plan: None,
        })
    }

    fn handle(&mut self, session: &mut Session, event: Event) -> Result<(), End> {
        match event {
            Event::Welcome(welcome) => {
                session.is_welcome = true;
                self.ticket = Some(welcome.ticket.to_vec());
                let counts = &mut self.shared.ledger().counts;
                counts.sessions += 1;
                counts.resumed += u64::from(session.by_ticket);
                Ok(())
            }
            Event::QueueEmpty { gap: None } if !session.is_live => {
                session.is_live = true;
                if !std::mem::replace(&mut self.has_gathered, true) {
                    self.shared.gathered();
                }
                Ok(())
            }
            Event::NewMessage(message) => self.on_message(session, &message),
            Event::Receipt(receipt) => self.on_receipt(session, &receipt),
            Event::Error(error) => self.on_error(&error),
            // It ends by itself, as when its disk fails; whether it may is for whoever drives it to say.
            Event::GoAway { .. } => Err(End::Lost),
            Event::Close { code, .. } => self.on_close(session.by_ticket, code),
            Event::Ping { nonce } => {
                session.link.put(&Command::Pong { nonce });
                Ok(())
            }
            other => Err(End::Broken(format!("did not expect {other:?}"))),
        }
    }

    fn on_message(
        &mut self,
        session: &mut Session,
        message: &event::NewMessage,
    ) -> Result<(), End> {
        if !session.seen.insert(message.id) {
            return Err(End::Broken(format!("{} pushed twice on one connection", message.id)));
        }
        let device = self.role.device;
        self.shared.ledger().on_push(device, message).map_err(End::Broken)?;
        self.on_push_number(session, message.push, Some(message.id))
    }

    /// Pushes are numbered 1, 2, 3 on each connection.
    fn on_push_number(
        &mut self,
        session: &mut Session,
        push: u64,
        message: Option<ServerId>,
    ) -> Result<(), End> {
        let before = std::mem::replace(&mut session.pushed, push);
        if push != before + 1 {
            return Err(End::Broken(format!("push {push} behind push {before}")));
        }
        session.unacked.push(message);
        if session.ack_plan.is_none() {
            let now = Instant::now();
            // Sometimes nothing is acked for so long that a kill is likely to come first.
            session.ack_plan = Some(if self.chance.once_in(8) {
                (usize::MAX, now + Duration::from_millis(500))
            } else {
                let pushes = self.chance.within(1..u64::from(WINDOW_PUSHES)) as usize;
                (pushes, now + Duration::from_millis(self.chance.within(0..150)))
            });
        }
        Ok(())
    }

    fn on_receipt(&mut self, session: &mut Session, receipt: &Receipt) -> Result<(), End> {
        match receipt.status {
            Status::Sent => {
                let key = self.key(receipt.message_id);
                let mut ledger = self.shared.ledger();
                ledger.on_sent(key, receipt.peer, receipt.id).map_err(End::Broken)?;
                drop(ledger);
                self.settle(receipt.message_id);
                Ok(())
            }
            Status::Delivered => {
                let mut ledger = self.shared.ledger();
                ledger.on_delivered(receipt.peer, receipt.id).map_err(End::Broken)?;
                drop(ledger);
                self.on_push_number(session, receipt.push, None)
            }
            Status::Read => Err(End::Broken("`read`, and nobody has read anything".to_owned())),
        }
    }

    /// Moves a message from those that wait for an answer to those that have one.
    fn settle(&mut self, message_id: MessageId) {
        let waits = |message: &Pending| message.message_id == message_id;
        if let Some(message) = self.outstanding.iter().position(waits) {
            if self.answered.len() == ANSWERED_MAX {
                self.answered.pop_front();
            }
            self.answered.extend(self.outstanding.remove(message));
        }
    }

    /// Sends an answered message again, as after a crash of the client that forgot the answer;
    /// sometimes with another content, as after a bug of the client.
    fn doubt(&mut self, session: &mut Session) {
        if self.answered.is_empty() || !self.chance.once_in(8) {
            return;
        }
        let message = &self.answered[self.chance.within(0..self.answered.len() as u64) as usize];
        let key = (self.role.device, message.message_id);
        if self.chance.once_in(4) {
            self.shared.ledger().on_altered(key);
            session.link.put(&message.command(&[&message.content[..], b"!"].concat()));
        } else {
            session.link.put(&message.command(&message.content));
        }
        self.shared.ledger().counts.repeats += 1;
    }

    /// Refusals that a client repeats are part of the game; others are a fault of the server,
    /// because nothing wrong was asked.
    fn on_error(&mut self, error: &event::Error) -> Result<(), End> {
        match error.code {
            ErrorCode::Conflict => {
                let key = self.key(error.message_id);
                self.shared.ledger().on_conflict(key, error.id).map_err(End::Broken)
            }
            ErrorCode::RateLimited
            | ErrorCode::Quota
            | ErrorCode::Overloaded
            | ErrorCode::Unavailable => {
                let key = self.key(error.message_id);
                let wait = Duration::from_millis(u64::from(error.retry_after_ms));
                // What has its answer already is not owed another one.
                let waits = |message: &&mut Pending| message.message_id == error.message_id;
                if let Some(message) = self.outstanding.iter_mut().find(waits) {
                    message.is_told = false;
                    message.not_before = Instant::now() + wait;
                    self.shared.ledger().on_refused(key);
                }
                Ok(())
            }
            _ => Err(End::Broken(format!("refused for no reason: {error:?}"))),
        }
    }

    fn on_close(&mut self, by_ticket: bool, code: CloseCode) -> Result<(), End> {
        match code {
            // A ticket may be refused at any time; the token may not.
            CloseCode::SignInAgain if by_ticket => {
                self.ticket = None;
                Err(End::Lost)
            }
            CloseCode::TryLater | CloseCode::HandshakeTimeout | CloseCode::GoingAway => {
                Err(End::Lost)
            }
            _ => Err(End::Broken(format!("closed for no reason: {}", code.name()))),
        }
    }

    /// Acks all that waits, once its time has come.
    fn ack_if_due(&mut self, session: &mut Session) {
        let Some((pushes, moment)) = session.ack_plan else { return };
        if session.unacked.len() < pushes && Instant::now() < moment {
            return;
        }
        session.ack_plan = None;
        let mut ledger = self.shared.ledger();
        for id in session.unacked.drain(..).flatten() {
            // Before it leaves: `delivered` may be back before the write returns.
            ledger.on_ack(self.role.device.user, id);
        }
        drop(ledger);
        session.link.put(&Command::Ack { push: session.pushed });
    }

    fn make_messages(&mut self) {
        if self.role.partners.is_empty() || self.shared.ledger().backlog() > BACKLOG_MAX {
            return;
        }
        let room = (OUTSTANDING_MAX - self.outstanding.len()) as u64;
        for _ in 0..self.chance.within(0..NEW_PER_TURN + 1).min(room) {
            let partner = self.chance.within(0..self.role.partners.len() as u64) as usize;
            let longest = if self.chance.once_in(32) { 16 * 1024 } else { 512 };
            let length = self.chance.within(1..longest) as usize;
            let message = Pending {
                message_id: MessageId::from(Uuid::now_v7()),
                to: self.role.partners[partner],
                content: self.chance.bytes(length),
                is_told: false,
                attempts: 0,
                not_before: Instant::now(),
            };
            let key = self.key(message.message_id);
            self.shared.ledger().on_made(key, message.to, &message.content);
            self.outstanding.push_back(message);
        }
    }

    /// Sends what this connection was not told yet, oldest first.
    fn send(&mut self, session: &mut Session) {
        let now = Instant::now();
        let mut repeats = 0;
        for message in &mut self.outstanding {
            if message.is_told || now < message.not_before {
                continue;
            }
            session.link.put(&message.command(&message.content));
            message.is_told = true;
            repeats += u64::from(message.attempts > 0);
            message.attempts += 1;
        }
        if repeats > 0 {
            self.shared.ledger().counts.repeats += repeats;
        }
    }

    fn key(&self, message_id: MessageId) -> Key {
        (self.role.device, message_id)
    }

    fn note(&mut self, event: &Event) {
        let words = match event {
            Event::NewMessage(message) => format!(
                "message {} push {} id {} from {}/{}",
                message.message_id, message.push, message.id, message.from, message.from_device
            ),
            Event::Welcome(_) => "welcome".to_owned(),
            other => format!("{other:?}"),
        };
        self.trail(words);
    }

    fn trail(&mut self, words: String) {
        if self.trail.len() == TRAIL_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back(words);
    }
}
