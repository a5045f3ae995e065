//! A device that remembers: what it asked for, what it was told, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringpost_wire::command::Credential;
use ringpost_wire::event::{NewMessage, Receipt, Status};
use ringpost_wire::{Command, ErrorCode, Event, ServerId, UserId};

use crate::client::{hello, message, message_id};
use crate::world::{TICKET_TTL_MS, World};

/// A message that it sent at least once.
#[derive(Clone, Debug)]
struct Asked {
    to: UserId,
    body: Vec<u8>,
    /// What the first `sent` said.
    id: Option<ServerId>,
    /// Sent once, and neither refused nor cut off: its place in the order is bound.
    untroubled: bool,
}

pub(crate) struct Device {
    pub(crate) user: UserId,
    pub(crate) number: u8,
    /// Its present connection.
    pub(crate) client: Option<usize>,
    ticket: Option<Bytes>,
    asked: BTreeMap<u64, Asked>,
    next_number: u64,
    /// Every message it was ever told of, from others and from its user's other devices.
    seen: BTreeSet<ServerId>,
    /// Of the present connection.
    last_push: u64,
    acked: u64,
    directions: BTreeMap<(UserId, UserId), ServerId>,
}

impl Device {
    /// `first_number` keeps the numbers of all devices apart.
    pub(crate) fn new(user: UserId, number: u8, first_number: u64) -> Self {
        Self {
            user,
            number,
            client: None,
            ticket: None,
            asked: BTreeMap::new(),
            next_number: first_number,
            seen: BTreeSet::new(),
            last_push: 0,
            acked: 0,
            directions: BTreeMap::new(),
        }
    }

    /// Connects to `worker`, with its ticket if it has one. An older connection is left to the
    /// server.
    pub(crate) fn connect(&mut self, world: &mut World, worker: usize) {
        self.listen(world);
        self.disconnected();
        let client = world.connect(worker);
        let credential = match &self.ticket {
            Some(ticket) => Credential::Ticket(ticket.to_vec().into()),
            None => {
                let ttl_ms = 100 * TICKET_TTL_MS;
                Credential::Token(world.token(self.user, self.number, ttl_ms).into())
            }
        };
        world.clients[client].write(&hello(credential, self.number, 0));
        self.client = Some(client);
    }

    pub(crate) fn disconnected(&mut self) {
        self.client = None;
        (self.last_push, self.acked) = (0, 0);
        self.directions.clear();
        for asked in self.asked.values_mut().filter(|asked| asked.id.is_none()) {
            asked.untroubled = false;
        }
    }

    /// Sends a new message.
    pub(crate) fn send(&mut self, world: &mut World, to: UserId, bytes: usize) {
        let Some(client) = self.client else { return };
        let number = self.next_number;
        self.next_number += 1;
        let body = vec![number as u8; bytes];
        world.say(client, &message(number, to, &body));
        self.asked.insert(number, Asked { to, body, id: None, untroubled: true });
    }

    /// Sends again what has no answer yet, or one that has.
    pub(crate) fn repeat(&mut self, world: &mut World, answered_too: bool) {
        let Some(client) = self.client else { return };
        for (&number, asked) in &mut self.asked {
            if asked.id.is_none() || answered_too {
                asked.untroubled &= asked.id.is_some();
                world.say(client, &message(number, asked.to, &asked.body));
            }
        }
    }

    /// Acks all that it was pushed.
    pub(crate) fn ack(&mut self, world: &mut World) {
        let Some(client) = self.client.filter(|_| self.last_push > self.acked) else { return };
        self.acked = self.last_push;
        world.say(client, &Command::Ack { push: self.acked });
    }

    pub(crate) fn has_everything_answered(&self) -> bool {
        self.asked.values().all(|asked| asked.id.is_some())
    }

    /// Takes what it was told, and checks it.
    pub(crate) fn listen(&mut self, world: &mut World) {
        let Some(client) = self.client else { return };
        for event in world.clients[client].take() {
            match event {
                Event::Welcome(welcome) => {
                    assert_eq!((welcome.user, welcome.device.number()), (self.user, self.number));
                    self.ticket = Some(welcome.ticket);
                }
                Event::Receipt(receipt) if receipt.status == Status::Sent => self.sent(&receipt),
                Event::Receipt(receipt) => self.count_push(receipt.push),
                Event::NewMessage(message) => self.hear(&message),
                Event::Ping { nonce } => world.say(client, &Command::Pong { nonce }),
                Event::Error(error) => {
                    let expected = [ErrorCode::Overloaded, ErrorCode::RateLimited];
                    assert!(expected.contains(&error.code), "{error:?}");
                    let number = u128::from_be_bytes(error.message_id.0) as u64;
                    self.asked.get_mut(&number).expect("its own message").untroubled = false;
                }
                Event::QueueEmpty { gap: None } | Event::GoAway { .. } | Event::Close { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
        if !world.clients[client].is_connected() {
            self.disconnected();
        }
    }

    fn sent(&mut self, receipt: &Receipt) {
        let number = u128::from_be_bytes(receipt.message_id.0) as u64;
        let asked = self.asked.get_mut(&number).expect("its own message");
        assert_eq!(receipt.peer, asked.to);
        assert_eq!(*asked.id.get_or_insert(receipt.id), receipt.id, "the same answer each time");
    }

    fn hear(&mut self, message: &NewMessage) {
        self.count_push(message.push);
        let number = u128::from_be_bytes(message.message_id.0) as u64;
        assert_eq!(message_id(number), message.message_id);
        assert!(message.body.iter().all(|&byte| byte == number as u8), "nobody else's bytes");
        assert!(message.to == self.user || message.from == self.user, "nobody else's message");
        self.seen.insert(message.id);
        let last = self.directions.insert((message.from, message.to), message.id);
        assert!(last < Some(message.id), "a direction in order, nothing twice on a connection");
    }

    fn count_push(&mut self, push: u64) {
        assert_eq!(push, self.last_push + 1, "pushes are numbered without holes");
        self.last_push = push;
    }

    /// Everything acknowledged has come to every device that it concerns, and in order.
    pub(crate) fn check(&self, all: &[Self]) {
        let mut last: BTreeMap<UserId, ServerId> = BTreeMap::new();
        for (number, asked) in &self.asked {
            let id = asked.id.expect("everything is answered at the end");
            let concerned = all.iter().filter(|it| {
                let sender = it.user == self.user && it.number == self.number;
                !sender && (it.user == asked.to || it.user == self.user)
            });
            for device in concerned {
                assert!(device.seen.contains(&id), "{number} never came to {}", device.number);
            }
            if asked.untroubled {
                let before = last.insert(asked.to, id);
                assert!(before < Some(id), "{number}: accepted in the order of sending");
            }
        }
    }

    pub(crate) fn sent_count(&self) -> usize {
        self.asked.len()
    }
}
