//! One worker with two signed-in clients, and a hand in the place of ring, journal and store: what
//! is armed is remembered, what is sent has been taken, what is committed is durable at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ringpost_conn::letter::{CredentialRefused, Identity};
use ringpost_conn::{
    ConnectionConfig, InputRate, Letter, Operation, Output, Tables, Ticket, Tickets, Worker,
};
use ringpost_ring::{Completion, ReceiveMode, SendBuffer, Slot};
use ringpost_shard::event::{Now, Proof, WorkerId};
use ringpost_shard::image::{DeviceImage, UserImage};
use ringpost_shard::{Effect, Event, Homes, Position, Provision, Shard, ShardConfig, ShardLimits};
use ringpost_wire::binary::encode_command;
use ringpost_wire::command::{Credential, Hello};
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{Command, DeviceId, MessageId, ServerId, UserId};

/// Longer than a loop lasts by its own clock: no client is asked whether it lives, no ticket ends.
const NEVER: Duration = Duration::from_secs(24 * 3_600);
const HASH_SEED: u64 = 3;
const SLOTS: u32 = 64;
/// Between two receives: a tenth of what the rates of a client allow.
const PAUSE: Duration = Duration::from_millis(20);

const NOW: Now =
    Now { mono: Duration::from_secs(10), wall_ms: 1_800_000_000_000, may_expire: true };

/// The two clients.
pub(crate) const ALICE: usize = 0;
pub(crate) const BOB: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Armed {
    Nothing,
    Poll,
    Receive(ReceiveMode),
}

/// The worker and the hand.
pub(crate) struct Hand {
    worker: Worker,
    now: Now,
    armed: [Armed; 2],
    position: Position,
    /// Bytes sent to each client.
    pub(crate) sent_bytes: [u64; 2],
}

impl Hand {
    /// A worker at which both clients have signed in.
    pub(crate) fn new() -> Self {
        Self::with([&[], &[]])
    }

    /// The same, where a client opens its connection by these receives, of which the last is its
    /// `hello`, and not by the preamble.
    pub(crate) fn with(openings: [&[Vec<u8>]; 2]) -> Self {
        let mut hand = Self {
            worker: worker(),
            now: NOW,
            armed: [Armed::Nothing; 2],
            position: Position(0),
            sent_bytes: [0; 2],
        };
        for client in [ALICE, BOB] {
            hand.complete(Completion::Accepted { slot: slot(client) });
            hand.turn();
            match openings[client] {
                [] => hand.receive(client, &mut hello(user(client))),
                given => given.iter().for_each(|it| hand.receive(client, &mut it.clone())),
            }
            assert!(hand.sent_bytes[client] > 0, "client {client} is welcome");
        }
        hand
    }

    /// Lets a client be heard and everything happen that follows.
    pub(crate) fn receive(&mut self, client: usize, bytes: &mut [u8]) {
        self.now.mono += PAUSE;
        let slot = slot(client);
        if self.armed[client] == Armed::Poll {
            self.armed[client] = Armed::Nothing;
            self.complete(Completion::Readable { slot });
            self.turn();
        }
        let Armed::Receive(mode) = self.armed[client] else { panic!("client {client} is heard") };
        let more = mode == ReceiveMode::Multishot;
        if !more {
            self.armed[client] = Armed::Nothing;
        }
        self.complete(Completion::Received { slot, bytes, more });
        self.turn();
    }

    fn complete(&mut self, completion: Completion<'_>) {
        self.worker.complete(completion, self.now);
    }

    /// Turns until nothing is left to do.
    fn turn(&mut self) {
        loop {
            self.worker.end_turn(self.now);
            let outputs: Vec<Output> = self.worker.outputs().collect();
            let operations: Vec<Operation> = self.worker.operations().collect();
            if outputs.is_empty() && operations.is_empty() {
                return;
            }
            outputs.into_iter().for_each(|output| self.answer(output));
            operations.into_iter().for_each(|operation| self.operate(operation));
        }
    }

    fn answer(&mut self, output: Output) {
        let letter = match output {
            Output::Tier(Effect::Load { user, .. }) => {
                let answer = Ok(Some(image(self.position)));
                Letter::Event(Event::Loaded { user, answer })
            }
            Output::Tier(Effect::Commit { record }) => {
                self.position.0 += 1;
                let position = self.position;
                self.worker.letter(Letter::Durable(vec![(position, record)]), self.now);
                Letter::Event(Event::Applied { position })
            }
            Output::Tier(Effect::FindReceived { user, device, .. }) => {
                Letter::Event(Event::ReceivedFound { user, device, answer: Ok(None) })
            }
            Output::Tier(Effect::LookUpAccepted { user, device, message_id, .. }) => {
                let answer = Ok(None);
                Letter::Event(Event::AcceptedFound { user, device, message_id, answer })
            }
            Output::SignedIn(_) => return,
            other => panic!("not expected: {other:?}"),
        };
        self.worker.letter(letter, self.now);
    }

    fn operate(&mut self, operation: Operation) {
        match operation {
            Operation::PeerAddress(slot) => {
                let address = ([127, 0, 0, 1], 4_000).into();
                self.complete(Completion::PeerAddress { slot, address });
            }
            Operation::Receive(slot, mode) => self.arm(slot, Armed::Receive(mode)),
            Operation::PollReadable(slot) => self.arm(slot, Armed::Poll),
            Operation::StopReceive(slot) => {
                self.arm(slot, Armed::Nothing);
                self.complete(Completion::ReceiveStopped { slot });
            }
            Operation::Send(slot, buffer) => self.send(slot, buffer),
            other => panic!("not expected: {other:?}"),
        }
    }

    fn arm(&mut self, slot: Slot, armed: Armed) {
        self.armed[slot.index() as usize] = armed;
    }

    fn send(&mut self, slot: Slot, mut buffer: SendBuffer) {
        let bytes = buffer.remaining_bytes();
        self.sent_bytes[slot.index() as usize] += bytes as u64;
        buffer.advance(bytes);
        self.complete(Completion::Sent { slot, buffer, result: Ok(bytes) });
    }
}

/// A command as it comes from a client.
pub(crate) fn encoded(command: &Command<'_>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_command(command, 1, &mut bytes);
    bytes.to_vec()
}

pub(crate) fn user(client: usize) -> UserId {
    UserId((client as u128 + 1).to_be_bytes())
}

fn slot(client: usize) -> Slot {
    Slot::new(client as u32, 0)
}

fn device() -> DeviceId {
    DeviceId::new(1).expect("1 to 127")
}

fn hello(user: UserId) -> Vec<u8> {
    let hello = Hello {
        credential: Credential::Ticket(user.0[..].into()),
        device: device(),
        window_pushes: 0,
        window_bytes: 0,
        intents: 0,
    };
    [&PREAMBLE[..], &encoded(&Command::Hello(hello))].concat()
}

fn worker() -> Worker {
    let shard = Shard::new(ShardConfig {
        worker: WorkerId(0),
        workers: 1,
        node: 1,
        hash_seed: HASH_SEED,
        stamp_floor: ServerId::default(),
        provision: Provision::RegisteredOnly,
        plaintext_allowed: false,
        limits: ShardLimits::default(),
    });
    let domain = (shard, Homes::new(HASH_SEED, 1));
    // Nobody is made to wait: what is counted is what input costs.
    let all = InputRate { bytes_per_second: u64::MAX, burst_bytes: u64::MAX };
    let config = ConnectionConfig {
        ping_interval_tcp: NEVER,
        ping_interval_websocket: NEVER,
        user_input: all,
        address_input: all,
        ..ConnectionConfig::default()
    };
    let (tickets, tables) = (Box::new(NamedTickets), Arc::new(Tables::new(HASH_SEED, &config)));
    Worker::new(WorkerId(0), config, domain, tickets, tables, SLOTS, Duration::ZERO)
}

/// A store in which every user exists and nothing waits.
fn image(applied: Position) -> UserImage {
    let device = DeviceImage {
        device: device(),
        highest_accepted: MessageId::default(),
        seen_ms: NOW.wall_ms,
        gap: None,
        entries: Vec::new(),
        receipts: Vec::new(),
    };
    UserImage { applied, devices: vec![device], ..UserImage::default() }
}

/// Whoever presents sixteen bytes is that user.
struct NamedTickets;

impl Tickets for NamedTickets {
    fn issue(&self, identity: &Identity, _: u64) -> Ticket {
        Ticket { bytes: Bytes::copy_from_slice(&identity.user.0), ttl_ms: 1_000 }
    }

    fn open(&self, ticket: &[u8], now_ms: u64) -> Result<Identity, CredentialRefused> {
        let user = ticket.try_into().map_err(|_| CredentialRefused::TicketUnknown)?;
        let expires_at_ms = now_ms + NEVER.as_millis() as u64;
        let (user, proof) = (UserId(user), Proof::Ticket);
        Ok(Identity { user, device: device(), issued_at_ms: now_ms, expires_at_ms, proof })
    }
}
