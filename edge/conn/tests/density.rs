//! Setup: a worker whose users' state is bounded to next to nothing, as it is in a server that
//! holds many more connections than users fit its cache. Action: clients sign in and say nothing
//! more; as many again do. Expectation: what the allocator handed out for the second half, and the
//! tables that are there from the start, stay below the promised bytes for each connection.
//!
//! Bytes are those that were asked for, counted by the allocator: the same in every run. The hash
//! table of users grows by doubling; it is counted at its most expensive moment.

use std::alloc::System;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cap::Cap;
use ringpost_conn::letter::{CredentialRefused, Identity};
use ringpost_conn::timer::TimerWheel;
use ringpost_conn::{
    ConnectionConfig, InputRate, Letter, Operation, Output, Tables, Ticket, Tickets, Worker,
};
use ringpost_ring::{Completion, ReceiveMode, Slot};
use ringpost_shard::event::{Now, Proof, WorkerId};
use ringpost_shard::image::{DeviceImage, UserImage};
use ringpost_shard::{Effect, Event, Homes, Position, Provision, Shard, ShardConfig, ShardLimits};
use ringpost_wire::binary::encode_command;
use ringpost_wire::command::{Credential, Hello};
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{Command, DeviceId, MessageId, ServerId, UserId};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The promise.
const IDLE_BYTES_MAX: usize = 132;

/// What the ring keeps for a slot; its own tests hold it.
const RING_BYTES: usize = 4;

/// Just above seven eighths of a power of two: the table of users has doubled a moment ago.
const MANY: u32 = 58_000;
const SLOTS: u32 = 1 << 17;

const DEVICE: u8 = 1;
const NOW: Now =
    Now { mono: Duration::from_secs(10), wall_ms: 1_800_000_000_000, may_expire: true };

/// Whoever presents sixteen bytes is that user.
struct NamedTickets;

impl Tickets for NamedTickets {
    fn issue(&self, identity: &Identity, _: u64) -> Ticket {
        Ticket { bytes: Bytes::copy_from_slice(&identity.user.0), ttl_ms: 1_000 }
    }

    fn open(&self, ticket: &[u8], now_ms: u64) -> Result<Identity, CredentialRefused> {
        let user = ticket.try_into().map_err(|_| CredentialRefused::TicketUnknown)?;
        let device = DeviceId::new(DEVICE).expect("1 to 127");
        let expires_at_ms = now_ms + 3_600_000;
        let proof = Proof::Ticket;
        Ok(Identity { user: UserId(user), device, issued_at_ms: now_ms, expires_at_ms, proof })
    }
}

fn worker() -> Worker {
    let limits = ShardLimits { resident_bytes_max: 64 * 1024, ..ShardLimits::default() };
    let shard = Shard::new(ShardConfig {
        worker: WorkerId(0),
        workers: 1,
        node: 1,
        hash_seed: 3,
        stamp_floor: ServerId::default(),
        provision: Provision::RegisteredOnly,
        plaintext_allowed: false,
        limits,
    });
    let domain = (shard, Homes::new(3, 1));
    // All of them come from one address, at once.
    let config = ConnectionConfig {
        unauthenticated_per_address_max: u32::MAX,
        address_input: InputRate { bytes_per_second: u64::MAX, burst_bytes: u64::MAX },
        ..Default::default()
    };
    let tables = Arc::new(Tables::new(3, &config));
    Worker::new(WorkerId(0), config, domain, Box::new(NamedTickets), tables, SLOTS, NOW.mono)
}

/// A store in which every user exists.
fn image(user_applied: Position) -> UserImage {
    let device = DeviceImage {
        device: DeviceId::new(DEVICE).expect("1 to 127"),
        highest_accepted: MessageId::default(),
        seen_ms: NOW.wall_ms,
        gap: None,
        entries: Vec::new(),
        receipts: Vec::new(),
    };
    UserImage { applied: user_applied, devices: vec![device], ..UserImage::default() }
}

/// The first bytes of a client.
fn hello(user: UserId) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::from(&PREAMBLE[..]);
    let command = Command::Hello(Hello {
        credential: Credential::Ticket(user.0[..].into()),
        device: DeviceId::new(DEVICE).expect("1 to 127"),
        window_pushes: 0,
        window_bytes: 0,
        intents: 0,
    });
    encode_command(&command, 1, &mut bytes);
    bytes.to_vec()
}

/// Lets a client sign in, and carries out all that follows.
fn sign_in(worker: &mut Worker, index: u32) {
    let slot = Slot::new(index, 0);
    let mut first_bytes = Some(hello(UserId(u128::from(index + 1).to_be_bytes())));
    worker.complete(Completion::Accepted { slot }, NOW);
    loop {
        worker.end_turn(NOW);
        let outputs: Vec<Output> = worker.outputs().collect();
        let mut operations: VecDeque<Operation> = worker.operations().collect();
        if outputs.is_empty() && operations.is_empty() {
            return;
        }
        for output in outputs {
            match output {
                Output::Tier(Effect::Load { user, .. }) => {
                    let answer = Ok(Some(image(Position(0))));
                    worker.letter(Letter::Event(Event::Loaded { user, answer }), NOW);
                }
                Output::SignedIn(_) => {}
                other => panic!("not expected: {other:?}"),
            }
        }
        while let Some(operation) = operations.pop_front() {
            complete(worker, operation, &mut first_bytes);
        }
    }
}

fn complete(worker: &mut Worker, operation: Operation, first_bytes: &mut Option<Vec<u8>>) {
    match operation {
        Operation::PeerAddress(slot) => {
            let address = ([127, 0, 0, 1], 4_000).into();
            worker.complete(Completion::PeerAddress { slot, address }, NOW);
        }
        Operation::Receive(slot, ReceiveMode::OneShot) => {
            if let Some(mut bytes) = first_bytes.take() {
                let bytes = &mut bytes[..];
                worker.complete(Completion::Received { slot, bytes, more: false }, NOW);
            }
        }
        Operation::Send(slot, mut buffer) => {
            let bytes = buffer.remaining_bytes();
            buffer.advance(bytes);
            worker.complete(Completion::Sent { slot, buffer, result: Ok(bytes) }, NOW);
        }
        Operation::PollReadable(_) => {}
        other => panic!("not expected: {other:?}"),
    }
}

#[test]
fn an_idle_signed_in_connection_costs_no_more_than_promised() {
    let mut worker = worker();
    (0..MANY).for_each(|index| sign_in(&mut worker, index));
    let (before, ledger) = (ALLOCATOR.allocated(), worker.ledger().user_bytes);
    (MANY..2 * MANY).for_each(|index| sign_in(&mut worker, index));
    let grown = ALLOCATOR.allocated() - before;
    let ledger = worker.ledger().user_bytes - ledger;
    assert_eq!(worker.shard().gauges().sessions, u64::from(2 * MANY));
    assert_eq!((worker.gauges().open, worker.gauges().awake), (2 * MANY as usize, 0));
    let timers = TimerWheel::bytes(2 * MANY) - TimerWheel::bytes(MANY);
    let each = |bytes: usize| bytes as f64 / f64::from(MANY);
    let sum = each(grown) + each(timers) + RING_BYTES as f64;
    println!(
        "{sum:.1} bytes: {:.1} allocated, {:.1} timers, {RING_BYTES} ring",
        each(grown),
        each(timers)
    );
    assert!(sum <= IDLE_BYTES_MAX as f64, "{sum:.1} bytes, at most {IDLE_BYTES_MAX}");
    // The ledger is arithmetic over what the tables have; the allocator is the truth.
    let truth = grown + timers;
    assert!(ledger.abs_diff(truth) <= truth / 50, "the ledger says {ledger}, it is {truth}");
}
