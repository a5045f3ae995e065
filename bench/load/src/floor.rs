//! The floor: a server that does nothing but the input and output. Raw frames come in, go to the
//! connection that they name, and leave once per turn and destination; nobody is checked, nothing
//! is kept. What a relay costs above this is what its server adds.
//!
//! It uses the ring as the real edge does: idle connections wait by a one-shot poll, busy ones by
//! an armed receive.

use std::net::{SocketAddrV4, TcpListener};

use anyhow::Context;
use bytes::BytesMut;
use nix::sys::socket::{setsockopt, sockopt};
use ringpost_ring::{Completion, ReceiveMode, RingConfig, RingSet, Rings, SendBuffer, Slot, Wait};

use crate::dialect::raw::{self, to};
use crate::exit::Outcome;

/// Rings at most: as a server's, the floor's connections may be more than one table holds.
const RINGS_MAX: u16 = 1_024;
/// Frames of a connection before its receive stays armed: the first is its hello.
const FRAMES_COLD: u8 = 2;

#[derive(Default)]
struct Peer {
    slot: Option<Slot>,
    user: u32,
    frames: u8,
    traffic: Option<Box<Traffic>>,
}

#[derive(Default)]
struct Traffic {
    partial: Vec<u8>,
    out: BytesMut,
    sending: bool,
    dirty: bool,
}

enum Act {
    Arm(Slot),
    Receive(Slot, ReceiveMode),
    Send(Slot, SendBuffer),
    PollWritable(Slot),
    Close(Slot),
}

#[derive(Default)]
struct Floor {
    /// By position of the slot.
    peers: Vec<Peer>,
    /// By user: the position of the slot.
    users: Vec<u32>,
    dirty: Vec<u32>,
    /// What the socket had no room for, by position.
    blocked: Vec<(u32, SendBuffer)>,
    acts: Vec<Act>,
    enters: u64,
    slots: u32,
}

/// Serves so many connections until it is killed.
///
/// # Errors
/// When it cannot listen or the ring cannot be opened.
pub(crate) fn serve(listen: SocketAddrV4, slots: u32) -> anyhow::Result<Outcome> {
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    // What is accepted inherits it. Who only receives acknowledges late, and a second small send
    // would wait for that.
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    let config = RingConfig { slots_max: slots, rings_max: RINGS_MAX, ..RingConfig::default() };
    let mut rings = RingSet::open(&config)?;
    rings.listen(listener.into());
    let mut floor = Floor { slots, ..Floor::default() };
    loop {
        floor.flush(&mut rings);
        floor.enters = rings.stats().enters;
        rings.submit_and_wait(Wait::FOREVER, |completion| floor.on(completion));
        for act in std::mem::take(&mut floor.acts) {
            match act {
                Act::Arm(slot) => floor.arm(slot, &mut rings),
                Act::Receive(slot, mode) => rings.receive(slot, mode),
                Act::Send(slot, buffer) => rings.send(slot, buffer),
                Act::PollWritable(slot) => rings.poll_writable(slot),
                Act::Close(slot) => {
                    if floor.peers[slot.index() as usize].slot.take().is_some() {
                        rings.close(slot);
                    }
                }
            }
        }
    }
}

impl Floor {
    fn on(&mut self, completion: Completion<'_>) {
        match completion {
            Completion::Accepted { slot } => self.accepted(slot),
            Completion::Readable { slot } => {
                self.acts.push(Act::Receive(slot, ReceiveMode::OneShot));
            }
            Completion::Received { slot, bytes, more } => {
                self.received(slot, bytes);
                if !more {
                    self.acts.push(Act::Arm(slot));
                }
            }
            Completion::Sent { slot, buffer, result } => self.sent(slot, buffer, result.is_err()),
            Completion::Writable { slot } => {
                let found = self.blocked.iter().position(|(index, _)| *index == slot.index());
                if let Some(position) = found {
                    let (_, buffer) = self.blocked.swap_remove(position);
                    self.acts.push(Act::Send(slot, buffer));
                }
            }
            Completion::Eof { slot } | Completion::Failed { slot, .. } => {
                self.acts.push(Act::Close(slot));
            }
            _ => {}
        }
    }

    fn accepted(&mut self, slot: Slot) {
        let position = slot.index() as usize;
        if self.peers.len() <= position {
            self.peers.resize_with(position + 1, Peer::default);
        }
        self.blocked.retain(|(index, _)| *index != slot.index());
        self.peers[position] = Peer { slot: Some(slot), user: to::FIRST, frames: 0, traffic: None };
        self.acts.push(Act::Arm(slot));
    }

    fn arm(&mut self, slot: Slot, rings: &mut RingSet) {
        let peer = &mut self.peers[slot.index() as usize];
        if peer.slot != Some(slot) {
            return;
        }
        if peer.frames <= FRAMES_COLD {
            release_if_quiet(peer);
            rings.poll_readable(slot);
        } else {
            rings.receive(slot, ReceiveMode::Multishot);
        }
    }

    fn received(&mut self, slot: Slot, bytes: &[u8]) {
        let position = slot.index() as usize;
        let held = self.peers[position].traffic.as_mut().map(|traffic| &mut traffic.partial);
        let Some(partial) = held.filter(|partial| !partial.is_empty()) else {
            let rest = self.read(position, bytes);
            if rest < bytes.len() {
                let traffic = self.peers[position].traffic.get_or_insert_default();
                traffic.partial.extend_from_slice(&bytes[rest..]);
            }
            return;
        };
        let mut whole = std::mem::take(partial);
        whole.extend_from_slice(bytes);
        let rest = self.read(position, &whole);
        whole.drain(..rest);
        self.peers[position].traffic.get_or_insert_default().partial = whole;
    }

    fn read(&mut self, position: usize, input: &[u8]) -> usize {
        let mut done = 0;
        loop {
            let frame = match raw::first(&input[done..]) {
                Ok(Some(frame)) => frame,
                Ok(None) => return done,
                Err(_) => {
                    self.acts.extend(self.peers[position].slot.map(Act::Close));
                    return input.len();
                }
            };
            done += frame.whole.len();
            let peer = &mut self.peers[position];
            peer.frames = peer.frames.saturating_add(1);
            self.route(position, frame);
        }
    }

    fn route(&mut self, position: usize, frame: raw::Frame<'_>) {
        match frame.to {
            to::HELLO => {
                let number = frame.content().try_into().map(u32::from_le_bytes);
                let user = number.unwrap_or(to::FIRST);
                if user < self.slots {
                    self.peers[position].user = user;
                    if self.users.len() <= user as usize {
                        self.users.resize(user as usize + 1, u32::MAX);
                    }
                    self.users[user as usize] = position as u32;
                    self.outgoing(position).extend_from_slice(frame.whole);
                }
            }
            to::ECHO => self.outgoing(position).extend_from_slice(frame.whole),
            to::ENTERS => {
                let enters = self.enters.to_le_bytes();
                raw::put(to::ENTERS, &enters, self.outgoing(position));
            }
            to::ALL => {
                for other in 0..self.peers.len() {
                    let peer = &self.peers[other];
                    if other != position && peer.slot.is_some() && peer.user < to::FIRST {
                        self.outgoing(other).extend_from_slice(frame.whole);
                    }
                }
            }
            user => {
                if let Some(&other) = self.users.get(user as usize)
                    && self.peers.get(other as usize).is_some_and(|peer| peer.slot.is_some())
                {
                    self.outgoing(other as usize).extend_from_slice(frame.whole);
                }
            }
        }
    }

    fn outgoing(&mut self, position: usize) -> &mut BytesMut {
        let traffic = self.peers[position].traffic.get_or_insert_default();
        if !traffic.dirty {
            traffic.dirty = true;
            self.dirty.push(position as u32);
        }
        &mut traffic.out
    }

    fn flush(&mut self, rings: &mut RingSet) {
        for position in self.dirty.drain(..) {
            let peer = &mut self.peers[position as usize];
            let Some(traffic) = &mut peer.traffic else { continue };
            traffic.dirty = false;
            if let Some(slot) = peer.slot
                && !traffic.sending
                && !traffic.out.is_empty()
            {
                traffic.sending = true;
                rings.send(slot, traffic.out.split().freeze().into());
            }
        }
    }

    fn sent(&mut self, slot: Slot, buffer: SendBuffer, failed: bool) {
        let peer = &mut self.peers[slot.index() as usize];
        if peer.slot != Some(slot) {
            return;
        }
        if failed {
            // No room: wait for it. Any other failure is told by the receive.
            self.blocked.push((slot.index(), buffer));
            self.acts.push(Act::PollWritable(slot));
        } else if !buffer.is_empty() {
            self.acts.push(Act::Send(slot, buffer));
        } else if let Some(traffic) = &mut peer.traffic {
            traffic.sending = false;
            if !traffic.out.is_empty() && !traffic.dirty {
                traffic.dirty = true;
                self.dirty.push(slot.index());
            }
            if peer.frames <= FRAMES_COLD {
                release_if_quiet(peer);
            }
        }
    }
}

/// An idle connection owns no buffer.
fn release_if_quiet(peer: &mut Peer) {
    let quiet = |traffic: &Traffic| {
        !traffic.sending && !traffic.dirty && traffic.out.is_empty() && traffic.partial.is_empty()
    };
    if peer.traffic.as_deref().is_some_and(quiet) {
        peer.traffic = None;
    }
}
