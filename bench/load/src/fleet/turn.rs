//! One turn of one ring: completions become events, and what they ask of the ring is done after
//! all of them were read.

use bytes::BytesMut;
use ringpost_ring::{Completion, Errno, Operation, ReceiveMode, Rings, SendBuffer, Slot, Wait};
use slab::Slab;

use super::{Active, Client, Event, Fleet, Listening, NONE, What};
use crate::dialect::{Dialect, Inbound};
use crate::stamp::Stamp;

/// What a completion asks of the ring.
enum Act {
    Arm(u32),
    ReceiveOnce(u32),
    Send(u32, SendBuffer),
    PollWritable(u32),
    Close(u32),
}

/// Everything of the fleet but the ring whose completions are read.
struct Reading<'a> {
    owners: &'a mut Vec<u32>,
    clients: &'a mut [Client],
    active: &'a mut Slab<Active>,
    dirty: &'a mut Vec<u32>,
    events: &'a mut Vec<Event>,
    dialect: &'a dyn Dialect,
    content_bytes: usize,
    acts: Vec<Act>,
}

impl Fleet {
    pub(super) fn turn_ring(&mut self, ring: usize, wait: Wait) {
        let Self { rings, clients, active, dirty, events, dialect, content_bytes, .. } = self;
        let super::Ring { set, owners } = &mut rings[ring];
        let mut reading = Reading {
            owners,
            clients,
            active,
            dirty,
            events,
            dialect: dialect.as_ref(),
            content_bytes: *content_bytes,
            acts: Vec::new(),
        };
        set.submit_and_wait(wait, |completion| reading.on(completion));
        for act in reading.acts {
            self.act(act);
        }
    }

    fn act(&mut self, act: Act) {
        let client = match &act {
            Act::Arm(client)
            | Act::ReceiveOnce(client)
            | Act::Send(client, _)
            | Act::PollWritable(client)
            | Act::Close(client) => *client,
        };
        let state = &mut self.clients[client as usize];
        // The scenario, or an earlier act, may have closed it meanwhile.
        let Some(slot) = state.slot else { return };
        let set = &mut self.rings[usize::from(state.ring)].set;
        match act {
            Act::Arm(_) => self.arm(client),
            Act::ReceiveOnce(_) => {
                state.armed = true;
                set.receive(slot, ReceiveMode::OneShot);
            }
            Act::Send(_, buffer) => set.send(slot, buffer),
            Act::PollWritable(_) => set.poll_writable(slot),
            Act::Close(_) => self.close(client),
        }
        self.release_if_quiet(client);
    }
}

impl Reading<'_> {
    fn on(&mut self, completion: Completion<'_>) {
        match completion {
            Completion::Connected { slot, key } => self.connected(slot, key),
            Completion::ConnectFailed { key, errno } => self.tell(key, What::NotConnected(errno)),
            Completion::Readable { slot } => {
                if let Some(client) = self.owner(slot) {
                    self.clients[client as usize].armed = false;
                    self.acts.push(Act::ReceiveOnce(client));
                }
            }
            Completion::Received { slot, bytes, more } => self.received(slot, bytes, more),
            Completion::Sent { slot, buffer, result } => self.sent(slot, buffer, result),
            Completion::Writable { slot } => self.writable(slot),
            Completion::Eof { slot } => self.over(slot),
            Completion::Failed { slot, operation, .. } => {
                // A socket that is being closed has no room to wait for.
                if operation != Operation::PollWritable {
                    self.over(slot);
                }
            }
            Completion::Closed { slot } => self.closed(slot),
            _ => unreachable!("a client accepts, moves and installs nothing"),
        }
    }

    fn tell(&mut self, client: u32, what: What) {
        self.events.push(Event { client, what });
    }

    /// The client of a slot that stands; none once it is being closed.
    fn owner(&self, slot: Slot) -> Option<u32> {
        let client = *self.owners.get(slot.index() as usize)?;
        (self.clients.get(client as usize)?.slot == Some(slot)).then_some(client)
    }

    fn connected(&mut self, slot: Slot, client: u32) {
        let position = slot.index() as usize;
        if self.owners.len() <= position {
            self.owners.resize(position + 1, NONE);
        }
        self.owners[position] = client;
        self.clients[client as usize].slot = Some(slot);
        self.tell(client, What::Connected);
        self.greet(client);
        self.acts.push(Act::Arm(client));
    }

    fn greet(&mut self, client: u32) {
        let stage = self.clients[client as usize].stage;
        let dialect = self.dialect;
        dialect.greet(client, stage, self.outgoing(client));
    }

    fn active_of(&mut self, client: u32) -> &mut Active {
        let state = &mut self.clients[client as usize];
        if state.active == NONE {
            state.active = self.active.insert(Active::default()) as u32;
        }
        &mut self.active[state.active as usize]
    }

    fn outgoing(&mut self, client: u32) -> &mut BytesMut {
        if !self.active_of(client).dirty {
            self.dirty.push(client);
        }
        let active = self.active_of(client);
        active.dirty = true;
        &mut active.out
    }

    fn received(&mut self, slot: Slot, bytes: &mut [u8], more: bool) {
        let Some(client) = self.owner(slot) else { return };
        let state = &mut self.clients[client as usize];
        state.armed = more;
        let held = state.active != NONE && !self.active[state.active as usize].partial.is_empty();
        if held {
            let mut whole = std::mem::take(&mut self.active_of(client).partial);
            whole.extend_from_slice(bytes);
            let rest = self.read(client, &whole);
            whole.drain(..rest);
            self.active_of(client).partial = whole;
        } else {
            let rest = self.read(client, bytes);
            if rest < bytes.len() {
                self.active_of(client).partial.extend_from_slice(&bytes[rest..]);
            }
        }
        if !more && self.clients[client as usize].listening != Listening::Deaf {
            self.acts.push(Act::Arm(client));
        }
    }

    /// Reads whole units; says how many bytes they had.
    fn read(&mut self, client: u32, input: &[u8]) -> usize {
        let dialect = self.dialect;
        let (mut done, mut highest) = (0, 0);
        let mut answers = BytesMut::new();
        loop {
            let stage = self.clients[client as usize].stage;
            let (bytes, inbound) = match dialect.parse(client, stage, &input[done..], &mut answers)
            {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break,
                Err(wrong) => {
                    self.tell(client, What::Refused(wrong));
                    self.acts.push(Act::Close(client));
                    return input.len();
                }
            };
            done += bytes;
            if let Inbound::Message { ack, .. } | Inbound::Delivered { ack } = inbound {
                highest = highest.max(ack);
            }
            self.inbound(client, inbound);
        }
        if highest > 0 {
            dialect.acknowledge(highest, &mut answers);
        }
        if !answers.is_empty() {
            self.outgoing(client).extend_from_slice(&answers);
        }
        done
    }

    fn inbound(&mut self, client: u32, inbound: Inbound<'_>) {
        let what = match inbound {
            Inbound::Nothing => return,
            Inbound::Next => {
                self.clients[client as usize].stage += 1;
                return self.greet(client);
            }
            Inbound::Ready => What::Ready,
            Inbound::Message { content, .. } => {
                What::Message(Stamp::read(&content, self.content_bytes))
            }
            Inbound::Accepted => What::Accepted,
            Inbound::Delivered { .. } => What::Delivered,
            Inbound::Pong => What::Pong,
            Inbound::Refused(why) => What::Refused(why),
        };
        self.tell(client, what);
    }

    fn sent(&mut self, slot: Slot, buffer: SendBuffer, result: Result<usize, Errno>) {
        let Some(client) = self.owner(slot) else { return };
        match result {
            Ok(_) if buffer.is_empty() => {
                let active = self.active_of(client);
                active.sending = false;
                if !active.out.is_empty() && !active.dirty {
                    active.dirty = true;
                    self.dirty.push(client);
                }
            }
            Ok(_) => self.acts.push(Act::Send(client, buffer)),
            Err(Errno::EAGAIN) => {
                let active = self.active_of(client);
                active.blocked = Some(buffer);
                self.acts.push(Act::PollWritable(client));
            }
            Err(_) => self.over(slot),
        }
    }

    fn writable(&mut self, slot: Slot) {
        let Some(client) = self.owner(slot) else { return };
        if let Some(buffer) = self.active_of(client).blocked.take() {
            self.acts.push(Act::Send(client, buffer));
        }
    }

    /// The server has ended it, or the network.
    fn over(&mut self, slot: Slot) {
        if let Some(client) = self.owner(slot) {
            self.clients[client as usize].armed = false;
            self.acts.push(Act::Close(client));
        }
    }

    fn closed(&mut self, slot: Slot) {
        let Some(owner) = self.owners.get_mut(slot.index() as usize) else { return };
        let client = std::mem::replace(owner, NONE);
        let Some(state) = self.clients.get_mut(client as usize) else { return };
        if state.slot.is_some_and(|stands| stands != slot) {
            return;
        }
        state.slot = None;
        state.armed = false;
        if state.active != NONE {
            self.active.remove(state.active as usize);
            state.active = NONE;
        }
        self.tell(client, What::Closed);
    }
}
