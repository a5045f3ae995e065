//! Clients that remember: what each device sent, was told and acked, checked as it is told.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_shard::event::{ConnectionKey, Proof};
use ringpost_wire::event::{Gap, NewMessage, Receipt, Status};
use ringpost_wire::{Command, ErrorCode, Event as WireEvent, MessageId, ServerId, UserId};

use super::world::store::Store;
use super::world::{World, message_id};

/// A message that a client wants to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) to: UserId,
    pub(crate) body: Vec<u8>,
    /// Given out once, on one connection, and never refused: its order is bound.
    pub(crate) untroubled: bool,
}

/// One device of a user.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) user: UserId,
    pub(crate) device: u8,
    pub(crate) connection: Option<ConnectionKey>,
    /// It was `welcome` once and has not signed out: it has a ticket.
    has_ticket: bool,
    next_number: u64,
    next_tag: u16,
    /// Sends of this connection without an answer, by tag.
    asked: BTreeMap<u16, u64>,
    /// Not `sent` yet.
    pub(crate) wanted: BTreeMap<u64, Wanted>,
    pub(crate) sent: BTreeMap<u64, (ServerId, Wanted)>,
    /// Every message ever seen here, copies too.
    pub(crate) seen: BTreeSet<ServerId>,
    /// Those of them that were acked.
    pub(crate) acked: BTreeSet<ServerId>,
    /// The gap told last on this connection.
    gap: Option<Gap>,
    /// The number of a gap told on this connection that was read from history.
    fetched: Option<u64>,
    pub(crate) gaps_closed: u64,
    /// The last receipt of each peer, over all connections.
    told: BTreeMap<(UserId, Status), ServerId>,
    /// Pushes of this connection that are not acked: number and message (nil for other kinds).
    pub(crate) unacked: BTreeMap<u64, (ServerId, MessageId)>,
    last_push: u64,
    /// The last message of each direction on this connection.
    directions: BTreeMap<(UserId, UserId), ServerId>,
    window: u32,
}

impl Client {
    pub(crate) fn new(user: UserId, device: u8) -> Self {
        Self {
            user,
            device,
            connection: None,
            has_ticket: false,
            next_number: 1,
            next_tag: 1,
            asked: BTreeMap::new(),
            wanted: BTreeMap::new(),
            sent: BTreeMap::new(),
            seen: BTreeSet::new(),
            acked: BTreeSet::new(),
            gap: None,
            fetched: None,
            gaps_closed: 0,
            told: BTreeMap::new(),
            unacked: BTreeMap::new(),
            last_push: 0,
            directions: BTreeMap::new(),
            window: 0,
        }
    }

    pub(crate) fn connect(&mut self, world: &mut World, window: u32, forgets: bool) {
        self.disconnected();
        let by_ticket = self.has_ticket && !forgets;
        let change = |sign_in: &mut ringpost_shard::event::SignIn| {
            sign_in.window_pushes = window;
            sign_in.window_bytes = 2048;
            if by_ticket {
                sign_in.proof = Proof::Ticket;
            }
        };
        let connection = world.sign_in_as(self.user, self.device, change);
        self.window = window;
        self.connection = Some(connection);
    }

    /// Whether it was told `welcome` on its connection.
    pub(crate) fn is_welcome(&mut self, world: &World) -> bool {
        let is_welcome = self.connection.is_some_and(|it| world.connections[&it].signed_in);
        self.has_ticket |= is_welcome;
        is_welcome
    }

    /// Signs the device out: whatever waits for it goes.
    pub(crate) fn sign_out(&mut self, world: &mut World) {
        self.listen(world);
        world.sign_out(self.user, self.device);
        self.has_ticket = false;
        self.listen(world);
        // It asks nothing any more of what it has asked.
        self.disconnected();
    }

    pub(crate) fn hang_up(&mut self, world: &mut World) {
        if let Some(connection) = self.connection {
            self.listen(world);
            world.hang_up(connection);
            self.disconnected();
        }
    }

    pub(crate) fn disconnected(&mut self) {
        self.connection = None;
        self.asked.clear();
        self.unacked.clear();
        (self.gap, self.fetched) = (None, None);
        self.last_push = 0;
        self.directions.clear();
        for wanted in self.wanted.values_mut() {
            wanted.untroubled = false;
        }
    }

    pub(crate) fn want(&mut self, to: UserId, body: Vec<u8>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.wanted.insert(number, Wanted { to, body, untroubled: true });
        number
    }

    /// Gives out a send; again if it was given out before.
    pub(crate) fn give_out(&mut self, world: &mut World, number: u64) {
        let Some(connection) = self.connection.filter(|_| self.is_welcome(world)) else { return };
        let again = self.asked.values().any(|&asked| asked == number);
        let wanted = match self.wanted.get_mut(&number) {
            Some(wanted) => {
                wanted.untroubled &= !again;
                wanted.clone()
            }
            None => self.sent[&number].1.clone(),
        };
        let tag = self.tag(number);
        world.send(connection, tag, number, wanted.to, &wanted.body);
        self.listen(world);
    }

    fn tag(&mut self, number: u64) -> u16 {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.checked_add(1).expect("a run is shorter than that");
        self.asked.insert(tag, number);
        tag
    }

    /// Sends another content under the id of a message that was accepted.
    pub(crate) fn contradict(&mut self, world: &mut World, number: u64) {
        let Some(connection) = self.connection else { return };
        let to = self.sent[&number].1.to;
        let tag = self.tag(number);
        world.send(connection, tag, number, to, b"something else");
        self.listen(world);
    }

    pub(crate) fn ack(&mut self, world: &mut World, push: u64) {
        let Some(connection) = self.connection else { return };
        // What arrived meanwhile is not meant.
        let kept = self.unacked.split_off(&(push + 1));
        let acked = std::mem::replace(&mut self.unacked, kept);
        self.acked.extend(acked.values().map(|(id, _)| *id));
        world.ack(connection, push);
        self.listen(world);
    }

    /// Takes everything that was told, and checks it.
    pub(crate) fn listen(&mut self, world: &mut World) {
        let Some(connection) = self.connection else { return };
        for (tag, event) in world.told(connection) {
            match event {
                WireEvent::NewMessage(message) => self.hear_message(&message, &world.truth),
                WireEvent::Receipt(receipt) if receipt.status == Status::Sent => {
                    self.hear_sent(tag, receipt);
                }
                WireEvent::Receipt(receipt) => {
                    self.count_push(receipt.push, Default::default());
                    assert!(world.truth.messages.contains_key(&receipt.id));
                    let last = self.told.insert((receipt.peer, receipt.status), receipt.id);
                    assert!(last <= Some(receipt.id), "back from {last:?}: {receipt:?}");
                }
                WireEvent::QueueEmpty { gap } => {
                    let before = self.gap.as_ref().map(|gap| gap.number);
                    let told = gap.as_ref().map(|gap| gap.number);
                    assert!(told > before || before.is_none(), "again only what has grown");
                    self.gap = gap;
                }
                WireEvent::Error(error) => {
                    // Receipts and acks are asked with tag 0.
                    if let Some(number) = self.asked.remove(&tag) {
                        assert_eq!(error.message_id, message_id(number));
                        self.hear_refusal(number, &error);
                    } else {
                        assert_eq!(tag, 0, "answered once: {error:?}");
                    }
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
        if world.closed(connection).is_some() {
            self.disconnected();
        }
    }

    /// Whether a gap was told that is not closed yet.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Reads what the gap left out, to the end of what is durable.
    pub(crate) fn fetch(&mut self, world: &mut World) {
        self.listen(world);
        let Some(gap) = &self.gap else { return };
        let rows = world.truth.history(self.user, &gap.after);
        self.seen.extend(rows.iter().map(|row| row.head.id));
        self.fetched = Some(gap.number);
    }

    /// Says that what was read is closed, although the gap may have grown since.
    pub(crate) fn close_gap(&mut self, world: &mut World) {
        let (Some(connection), Some(gap)) = (self.connection, self.fetched.take()) else { return };
        world.command(connection, 0, Command::GapClosed { gap });
        self.gaps_closed += 1;
        self.listen(world);
        // A gap that has grown was told, or will be.
        self.gap = self.gap.take().filter(|told| told.number > gap);
    }

    fn hear_refusal(&mut self, number: u64, error: &ringpost_wire::event::Error) {
        match error.code {
            ErrorCode::Conflict => assert_eq!(error.id, self.sent[&number].0),
            ErrorCode::UnknownRecipient | ErrorCode::NoRecipientDevice => {
                // Given out twice, the other one may meet a device that was added meanwhile.
                if !self.asked.values().any(|&asked| asked == number) {
                    self.wanted.remove(&number);
                }
            }
            ErrorCode::Quota | ErrorCode::Overloaded => {
                assert!(error.retry_after_ms > 0);
                if let Some(wanted) = self.wanted.get_mut(&number) {
                    wanted.untroubled = false;
                }
            }
            code => panic!("a send was refused with {code:?}"),
        }
    }

    fn hear_sent(&mut self, tag: u16, receipt: Receipt) {
        assert_eq!(receipt.push, 0);
        let number = u128::from_be_bytes(receipt.message_id.0) as u64;
        if tag != 0 {
            assert_eq!(self.asked.remove(&tag), Some(number), "answered once");
        }
        if let Some(wanted) = self.wanted.remove(&number) {
            self.sent.insert(number, (receipt.id, wanted));
        }
        assert_eq!(self.sent[&number].0, receipt.id, "the same answer each time");
    }

    fn hear_message(&mut self, message: &NewMessage, truth: &Store) {
        self.count_push(message.push, (message.id, message.message_id));
        let row = truth.messages.get(&message.id).expect("nothing is pushed before it is durable");
        assert_eq!(row.body, message.body);
        assert_eq!((row.head.from, row.head.to), (message.from, message.to));
        self.seen.insert(message.id);
        let last = self.directions.insert((message.from, message.to), message.id);
        assert!(
            last < Some(message.id),
            "each direction in order, nothing twice on a connection: {message:?} after {last:?}"
        );
    }

    fn count_push(&mut self, push: u64, what: (ServerId, MessageId)) {
        assert_eq!(push, self.last_push + 1, "pushes are numbered without holes");
        self.last_push = push;
        self.unacked.insert(push, what);
        assert!(self.unacked.len() as u32 <= self.window.max(1), "the window holds");
    }

    pub(crate) const fn last_push(&self) -> u64 {
        self.last_push
    }

    /// Every send of the present connection was answered.
    pub(crate) fn check_answered(&self) {
        assert!(self.asked.is_empty(), "unanswered on {:?}: {:?}", self.connection, self.asked);
    }

    /// Sends that met no trouble were accepted in the order in which they were given out.
    pub(crate) fn check_order(&self) {
        let mut last: BTreeMap<UserId, ServerId> = BTreeMap::new();
        for (id, wanted) in self.sent.values().filter(|(_, wanted)| wanted.untroubled) {
            let before = last.insert(wanted.to, *id);
            assert!(before < Some(*id), "accepted in the order of giving out");
        }
    }
}
