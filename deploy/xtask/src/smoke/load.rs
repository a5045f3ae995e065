//! Load on one worker: lanes of pairs, each pair with [`OUTSTANDING`] messages on their way.
//!
//! A lane is a thread that works through its pairs one after the other, so that no user comes
//! near the server's rates, while the number of pairs at work stays [`LANES`]. The loop is
//! closed: a message is sent when an earlier one has arrived (plain) or is `sent` (full). What is
//! measured is capacity; latency under a given load is another question.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ringpost_wire::command::{Content, SendMessage};
use ringpost_wire::event::Status;
use ringpost_wire::{Command, Event, MessageId, ServerId, UserId};
use uuid::Uuid;

use super::link::{self, Link, READ_BYTES};
use super::process;
use crate::server::Server;

/// Pairs at work at a time.
pub(super) const LANES: usize = 20;
/// Messages of a pair on their way.
pub(super) const OUTSTANDING: usize = 16;
/// Content of a message, bytes.
pub(super) const CONTENT_BYTES: usize = 64;
/// Messages of one pair: with an ack for each, below the burst of frames that the server allows a
/// connection.
const MESSAGES_PER_PAIR: usize = 450;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Ephemeral: shard and ring alone, nothing is kept.
    Plain,
    /// Durable: journal, `sent`, push, ack, `delivered`.
    Full,
}

/// What a load was met with.
#[derive(Debug)]
pub(super) struct Measured {
    /// Messages that went all their way.
    pub(super) messages: u64,
    /// How long it took.
    pub(super) took: Duration,
    /// `io_uring_enter` calls of the server meanwhile.
    pub(super) enters: u64,
    /// Processor time of the server meanwhile, all its threads.
    pub(super) processor: Duration,
}

impl Measured {
    /// Messages in a second.
    pub(super) fn rate(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }

    /// `io_uring_enter` calls for each message.
    pub(super) fn enters_per_message(&self) -> f64 {
        self.enters as f64 / self.messages as f64
    }

    /// Processor time of the server for each message, microseconds.
    pub(super) fn processor_us(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.messages as f64
    }
}

struct Pair {
    sender: Link,
    receiver: Link,
    to: UserId,
}

/// Runs the load to its end.
///
/// # Errors
/// If a message is refused or does not arrive.
pub(super) fn run(server: &Server, mode: Mode, pairs_per_lane: usize) -> anyhow::Result<Measured> {
    let users = (0..LANES * pairs_per_lane * 2).map(|_| UserId::from(Uuid::new_v4()));
    let users = users.collect::<Vec<_>>();
    let tokens = server.tokens(&users, link::device())?;
    let mut links = link::sign_in(server.address(), &tokens)?.into_iter();
    let mut lanes = Vec::with_capacity(LANES);
    for users in users.chunks(pairs_per_lane * 2) {
        let pairs = users.chunks(2).map(|pair| {
            let (sender, receiver) = (links.next()?, links.next()?);
            Some(Pair { sender, receiver, to: pair[1] })
        });
        lanes.push(pairs.collect::<Option<Vec<_>>>().expect("a link for each user"));
    }
    let before = (server.metric("ringpost_ring_enters_total")?, processor_time(server)?);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let lanes = lanes.iter_mut().map(|pairs| {
            scope.spawn(move || pairs.iter_mut().try_for_each(|pair| converse(pair, mode)))
        });
        let lanes = lanes.collect::<Vec<_>>();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })?;
    let took = begun.elapsed();
    Ok(Measured {
        messages: (LANES * pairs_per_lane * MESSAGES_PER_PAIR) as u64,
        took,
        enters: server.metric("ringpost_ring_enters_total")? - before.0,
        processor: processor_time(server)? - before.1,
    })
}

fn processor_time(server: &Server) -> anyhow::Result<Duration> {
    process::processor_time(server.process_id()?)
}

fn converse(pair: &mut Pair, mode: Mode) -> anyhow::Result<()> {
    match mode {
        Mode::Plain => plain(pair),
        Mode::Full => {
            let Pair { sender, receiver, to } = pair;
            std::thread::scope(|scope| {
                let receiving = scope.spawn(|| receive(receiver).context("receiving"));
                send(sender, *to).context("sending")?;
                receiving.join().expect("a receiver does not panic")
            })
        }
    }
}

/// One thread for both ends: what arrives is replaced.
fn plain(pair: &mut Pair) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let (mut sent, mut arrived) = (0, 0);
    while arrived < MESSAGES_PER_PAIR {
        let wanted = MESSAGES_PER_PAIR.min(arrived + OUTSTANDING);
        for _ in sent..wanted {
            put_message(&mut pair.sender, pair.to, true);
        }
        sent = wanted;
        pair.sender.flush()?;
        pair.receiver.read(&mut buffer, |event| match event {
            Event::NewMessage(message) if message.ephemeral => {
                arrived += 1;
                Ok(())
            }
            other => bail!("expected an ephemeral message, got {other:?}"),
        })?;
    }
    Ok(())
}

/// Sends until all are `sent` and the last is `delivered`.
fn send(sender: &mut Link, to: UserId) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let (mut put, mut sent) = (0, 0);
    let (mut last, mut delivered) = (ServerId::default(), ServerId::default());
    while sent < MESSAGES_PER_PAIR || delivered < last {
        let wanted = MESSAGES_PER_PAIR.min(sent + OUTSTANDING);
        for _ in put..wanted {
            put_message(sender, to, false);
        }
        put = wanted;
        sender.flush()?;
        let mut ack = 0;
        sender.read(&mut buffer, |event| match event {
            Event::Receipt(receipt) if receipt.status == Status::Sent => {
                sent += 1;
                last = last.max(receipt.id);
                Ok(())
            }
            Event::Receipt(receipt) => {
                delivered = delivered.max(receipt.id);
                ack = receipt.push;
                Ok(())
            }
            other => bail!("expected a receipt, got {other:?}"),
        })?;
        if ack > 0 {
            sender.put(&Command::Ack { push: ack });
        }
    }
    sender.flush()
}

/// Receives all, and acks what each read brought.
fn receive(receiver: &mut Link) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut arrived = 0;
    while arrived < MESSAGES_PER_PAIR {
        let mut push = 0;
        receiver.read(&mut buffer, |event| match event {
            Event::NewMessage(message) => {
                push = message.push;
                arrived += 1;
                Ok(())
            }
            other => bail!("expected a message, got {other:?}"),
        })?;
        if push > 0 {
            receiver.put(&Command::Ack { push });
            receiver.flush()?;
        }
    }
    Ok(())
}

fn put_message(sender: &mut Link, to: UserId, ephemeral: bool) {
    sender.put(&Command::SendMessage(SendMessage {
        message_id: MessageId::from(Uuid::now_v7()),
        to,
        reply_to: None,
        client_timestamp_ms: 0,
        ephemeral,
        content: Content::Encrypted(Cow::Borrowed(&[0x5a; CONTENT_BYTES])),
    }));
}
