//! One person of the tour: says commands, and holds what comes against what was promised.
//!
//! Invariant: a client remembers what it has kept, as PROTOCOL.md section 7 asks of every client;
//! what is pushed again (an ack may die with the server) is acked again and shown once.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use ringpost_wire::command::{self, ClientStatus, Command, Content, Credential, Hello, Named};
use ringpost_wire::event::{Event, NewMessage, Status};
use ringpost_wire::{CloseCode, DeviceId, MessageId, ServerId, UserId};
use uuid::Uuid;

use super::link::{Heard, Link};
use super::transcript::{line, why};
use super::user;
use crate::clock;

/// Both have one device.
pub(super) const DEVICE: u8 = 1;

/// A message as its sender keeps it until it is `sent`.
pub(super) struct Outgoing {
    message_id: MessageId,
    to: UserId,
    reply_to: Option<[u8; 16]>,
    body: &'static [u8],
}

impl Outgoing {
    /// A message with an id of its own.
    pub(super) fn new(to: UserId, body: &'static [u8]) -> Self {
        Self { message_id: MessageId::from(Uuid::now_v7()), to, reply_to: None, body }
    }

    /// The same, as an answer.
    pub(super) fn in_reply_to(self, message: ServerId) -> Self {
        Self { reply_to: Some(message.0), ..self }
    }
}

/// One person on one device.
pub(super) struct Client {
    name: &'static str,
    user: UserId,
    link: Box<dyn Link>,
    /// The newest resume ticket.
    ticket: Bytes,
    last_tag: u16,
    /// Messages and receipts that were pushed.
    kept: BTreeSet<(ServerId, Option<Status>)>,
}

impl Client {
    /// A person who has connected and not yet said anything.
    pub(super) fn new(name: &'static str, id: Uuid, link: impl Link + 'static) -> Self {
        let kept = BTreeSet::new();
        let link = Box::new(link);
        Self { name, user: user(id), link, ticket: Bytes::new(), last_tag: 0, kept }
    }

    /// Who this is.
    pub(super) fn user(&self) -> UserId {
        self.user
    }

    /// Signs in for the first time.
    pub(super) fn sign_in_with_token(&mut self, token: &str) -> anyhow::Result<()> {
        self.sign_in(Credential::Token(Cow::Borrowed(token)))?;
        self.expect_queue_empty()
    }

    /// Comes back on a new connection with the ticket of the last.
    pub(super) fn resume(&mut self, link: impl Link + 'static) -> anyhow::Result<()> {
        self.link = Box::new(link);
        let ticket = std::mem::take(&mut self.ticket);
        self.sign_in(Credential::Ticket(Cow::Borrowed(&ticket)))
    }

    fn sign_in(&mut self, credential: Credential<'_>) -> anyhow::Result<()> {
        let device = DeviceId::new(DEVICE).expect("the device is 1");
        let hello = Hello { credential, device, window_pushes: 0, window_bytes: 0, intents: 0 };
        let tag = self.say(&Command::Hello(hello))?;
        let welcome = self.expect("welcome", |event, answered| match event {
            Event::Welcome(welcome) if answered == tag => Some(welcome.clone()),
            _ => None,
        })?;
        ensure!(welcome.user == self.user, "{} was welcomed as {}", self.user, welcome.user);
        self.ticket = welcome.ticket;
        Ok(())
    }

    /// All that waited has been pushed.
    pub(super) fn expect_queue_empty(&mut self) -> anyhow::Result<()> {
        self.expect("queue_empty without a gap", |event, _| {
            matches!(event, Event::QueueEmpty { gap: None }).then_some(())
        })
    }

    /// Sends, and gets the id of what was accepted.
    pub(super) fn send_and_expect_sent(&mut self, message: &Outgoing) -> anyhow::Result<ServerId> {
        let tag = self.say(&Command::SendMessage(command::SendMessage {
            message_id: message.message_id,
            to: message.to,
            reply_to: message.reply_to,
            client_timestamp_ms: clock::wall_ms(),
            ephemeral: false,
            content: Content::Encrypted(Cow::Borrowed(message.body)),
        }))?;
        self.expect("receipt sent with the tag of the send", |event, answered| match event {
            Event::Receipt(receipt)
                if receipt.status == Status::Sent
                    && receipt.message_id == message.message_id
                    && receipt.peer == message.to
                    && answered == tag =>
            {
                Some(receipt.id)
            }
            _ => None,
        })
    }

    /// Gets a message just as it was sent; answers the push number.
    pub(super) fn expect_message(
        &mut self,
        id: ServerId,
        sent: &Outgoing,
        from: UserId,
    ) -> anyhow::Result<u64> {
        let message = self.expect_new_message(id, from)?;
        ensure!(
            message.message_id == sent.message_id
                && message.reply_to == sent.reply_to
                && message.body == sent.body,
            "the message comes as it was sent"
        );
        Ok(message.push)
    }

    /// Gets the message that waited; answers the push number.
    pub(super) fn expect_waiting(&mut self, id: ServerId, from: UserId) -> anyhow::Result<u64> {
        Ok(self.expect_new_message(id, from)?.push)
    }

    fn expect_new_message(&mut self, id: ServerId, from: UserId) -> anyhow::Result<NewMessage> {
        let me = self.user;
        let message = self.expect("new_message of that id", |event, _| match event {
            Event::NewMessage(message)
                if message.id == id
                    && message.from == from
                    && message.to == me
                    && message.push > 0 =>
            {
                Some(message.clone())
            }
            _ => None,
        })?;
        self.kept.insert((id, None));
        Ok(message)
    }

    /// Gets a receipt for a message; answers the push number.
    pub(super) fn expect_receipt(&mut self, id: ServerId, status: Status) -> anyhow::Result<u64> {
        let what = format!("receipt {} of that message", status.word());
        let push = self.expect(&what, |event, _| match event {
            Event::Receipt(receipt)
                if receipt.id == id && receipt.status == status && receipt.push > 0 =>
            {
                Some(receipt.push)
            }
            _ => None,
        })?;
        self.kept.insert((id, Some(status)));
        Ok(push)
    }

    /// Has kept all pushes up to this one.
    pub(super) fn ack(&mut self, push: u64) -> anyhow::Result<()> {
        self.say_untagged(&Command::Ack { push })
    }

    /// Has read a message.
    pub(super) fn read(&mut self, id: ServerId) -> anyhow::Result<()> {
        self.say_untagged(&Command::Receipt(command::Receipt {
            message: Named::Id(id),
            status: ClientStatus::Read,
            client_timestamp_ms: clock::wall_ms(),
        }))
    }

    /// Leaves in order.
    pub(super) fn bye(&mut self) -> anyhow::Result<()> {
        self.say_untagged(&Command::Bye)?;
        self.expect("the close code 1000", |event, _| {
            matches!(event, Event::Close { code: CloseCode::Normal, .. }).then_some(())
        })
    }

    /// The server is about to stop and says when to come back.
    pub(super) fn expect_goaway(&mut self) -> anyhow::Result<()> {
        self.expect("goaway", |event, _| matches!(event, Event::GoAway { .. }).then_some(()))
    }

    /// Says a command with a tag of its own and answers the tag.
    fn say(&mut self, command: &Command<'_>) -> anyhow::Result<u16> {
        self.last_tag += 1;
        let shown = self.link.send(command, self.last_tag)?;
        line(self.name, "->", &shown);
        Ok(self.last_tag)
    }

    /// Says a command that has no answer.
    fn say_untagged(&mut self, command: &Command<'_>) -> anyhow::Result<()> {
        let shown = self.link.send(command, 0)?;
        line(self.name, "->", &shown);
        Ok(())
    }

    /// Hears the next event that is news, which must be the one expected.
    fn expect<T>(
        &mut self,
        what: &str,
        pick: impl FnOnce(&Event, u16) -> Option<T>,
    ) -> anyhow::Result<T> {
        let name = self.name;
        let heard = self.news().with_context(|| format!("{name} expected {what}"))?;
        match pick(&heard.event, heard.tag) {
            Some(picked) => Ok(picked),
            None => bail!("{name} expected {what}, got {}", heard.shown),
        }
    }

    /// The next event that this client does not know yet.
    fn news(&mut self) -> anyhow::Result<Heard> {
        loop {
            let heard = self.link.receive()?;
            let (push, key) = match &heard.event {
                Event::Ping { nonce } => {
                    self.link.send(&Command::Pong { nonce: *nonce }, 0)?;
                    continue;
                }
                Event::NewMessage(message) => (message.push, (message.id, None)),
                Event::Receipt(receipt) => (receipt.push, (receipt.id, Some(receipt.status))),
                _ => (0, (ServerId([0; 16]), None)),
            };
            line(self.name, "<-", &heard.shown);
            if push == 0 || !self.kept.contains(&key) {
                return Ok(heard);
            }
            self.ack(push)?;
            why("Known already: the ack had died with the server. Acked again, shown once.");
        }
    }
}
