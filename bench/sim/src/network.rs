//! The way between a client and the server: delays, stalls, cuts, ends. Bytes stay in order.

use std::collections::VecDeque;
use std::time::Duration;

use ringpost_ring::fake::{FakePeer, PeerRead};
use ringpost_wire::{Command, Event};

use crate::dice::Dice;
use crate::speech::{Form, Speech};

/// Read at once by a client that is not slow.
const READ_BYTES: usize = 16 * 1024;

/// A slow reader reads a byte this often.
const TRICKLE_EVERY: Duration = Duration::from_secs(1);

/// One connection, seen from the client.
pub(crate) struct Link {
    /// Number of the connection in the run.
    pub(crate) number: u64,
    peer: Option<FakePeer>,
    up: VecDeque<(Duration, Vec<u8>)>,
    down: VecDeque<(Duration, Vec<u8>)>,
    speech: Speech,
    /// Said before the server agreed to the form.
    unsaid: Vec<Vec<u8>>,
    delay_max: Duration,
    /// Nothing passes until then.
    stalled_until: Duration,
    /// Reads one byte a second.
    trickles_at: Option<Duration>,
    is_over: bool,
}

impl Link {
    /// A fresh connection that has said in which form it speaks.
    pub(crate) fn new(
        number: u64,
        peer: FakePeer,
        form: Form,
        delay_max: Duration,
        now: Duration,
    ) -> Self {
        let speech = Speech::new(form);
        Self {
            number,
            peer: Some(peer),
            up: VecDeque::from([(now, speech.opening())]),
            down: VecDeque::new(),
            speech,
            unsaid: Vec::new(),
            delay_max,
            stalled_until: Duration::ZERO,
            trickles_at: None,
            is_over: false,
        }
    }

    /// Puts a command on its way.
    pub(crate) fn say(&mut self, command: &Command<'_>, now: Duration, dice: &mut Dice) {
        let bytes = self.speech.encode(command, dice);
        if self.speech.is_open() {
            self.write(&bytes, now, dice);
        } else {
            self.unsaid.push(bytes);
        }
    }

    /// Puts bytes on their way.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Duration, dice: &mut Dice) {
        let due = self.due(self.up.back().map(|it| it.0), now, dice);
        self.up.push_back((due, bytes.to_vec()));
    }

    /// Whether it is at its end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Nothing passes for a while.
    pub(crate) fn stall(&mut self, until: Duration) {
        self.stalled_until = until;
    }

    /// Reads a byte a second from here on.
    pub(crate) fn trickle(&mut self, now: Duration) {
        self.trickles_at = Some(now);
    }

    /// Passes everything at once from here on.
    pub(crate) fn heal(&mut self) {
        (self.stalled_until, self.trickles_at, self.delay_max) =
            (Duration::ZERO, None, Duration::ZERO);
    }

    /// Breaks it; bytes under way are lost.
    pub(crate) fn reset(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.reset();
        }
        self.is_over = true;
    }

    /// The client closes in order.
    pub(crate) fn hang_up(&mut self) {
        self.peer = None;
        self.is_over = true;
    }

    /// Moves bytes both ways; answers what the client heard.
    pub(crate) fn pump(&mut self, now: Duration, dice: &mut Dice) -> Vec<Event> {
        if self.is_over || now < self.stalled_until {
            return Vec::new();
        }
        self.pump_up(now);
        self.pump_down(now, dice);
        let mut heard = Vec::new();
        while let Some((_, bytes)) = self.down.pop_front_if(|(due, _)| *due <= now) {
            self.hear(&bytes, &mut heard, now, dice);
        }
        if self.down.is_empty() && self.peer.is_none() {
            self.is_over = true;
        }
        heard
    }

    fn pump_up(&mut self, now: Duration) {
        let Some(peer) = &mut self.peer else { return };
        while let Some((due, bytes)) = self.up.front_mut() {
            if *due > now {
                return;
            }
            // What the server has closed it does not hear; what it said can still be read.
            let written = peer.write(bytes).unwrap_or(bytes.len());
            bytes.drain(..written);
            if !bytes.is_empty() {
                return;
            }
            self.up.pop_front();
        }
    }

    fn pump_down(&mut self, now: Duration, dice: &mut Dice) {
        let Some(peer) = &mut self.peer else { return };
        let most = match &mut self.trickles_at {
            Some(at) if *at > now => return,
            Some(at) => {
                *at = now + TRICKLE_EVERY;
                1
            }
            None => READ_BYTES,
        };
        match peer.read(most) {
            PeerRead::Bytes(bytes) if bytes.is_empty() => {}
            PeerRead::Bytes(bytes) => {
                let due = self.due(self.down.back().map(|it| it.0), now, dice);
                self.down.push_back((due, bytes));
            }
            PeerRead::End => self.peer = None,
            PeerRead::Reset => {
                self.down.clear();
                self.peer = None;
            }
        }
    }

    fn due(&self, behind: Option<Duration>, now: Duration, dice: &mut Dice) -> Duration {
        let delay = self.delay_max.mul_f64(dice.below(1_000) as f64 / 1_000.0);
        (now + delay).max(behind.unwrap_or_default())
    }

    fn hear(&mut self, bytes: &[u8], heard: &mut Vec<Event>, now: Duration, dice: &mut Dice) {
        match self.speech.hear(bytes, heard, dice) {
            Some(answer) if answer.is_empty() => {}
            Some(answer) => self.write(&answer, now, dice),
            None => self.hang_up(),
        }
        if self.speech.is_open() {
            for bytes in std::mem::take(&mut self.unsaid) {
                self.write(&bytes, now, dice);
            }
        }
    }
}
