//! Connections coming home: the descriptor and the state travel apart, under one token.
//!
//! Either may come first. What stays alone beyond the deadline is dropped: a descriptor is closed
//! (the client connects again), a state is forgotten.

use std::time::Duration;

use ringpost_ring::Slot;

use crate::letter::Arriving;

use hashbrown::HashMap;

/// One half of a moved connection.
#[derive(Debug)]
pub(super) enum Half {
    /// The descriptor is here.
    Descriptor(Slot),
    /// The state is here.
    State(Box<Arriving>),
}

/// Halves that wait for the other, bounded by what the peers may have under way.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    waiting: HashMap<u64, (Duration, Half)>,
}

impl Arrivals {
    /// Keeps the descriptor until `deadline`, or answers the state that came before it.
    pub(super) fn descriptor(
        &mut self,
        token: u64,
        slot: Slot,
        deadline: Duration,
    ) -> Option<Box<Arriving>> {
        match self.waiting.remove(&token) {
            Some((_, Half::State(state))) => Some(state),
            Some((_, Half::Descriptor(_))) | None => {
                self.waiting.insert(token, (deadline, Half::Descriptor(slot)));
                None
            }
        }
    }

    /// Keeps the state until `deadline`, or answers it with the descriptor that came before it.
    pub(super) fn state(
        &mut self,
        state: Box<Arriving>,
        deadline: Duration,
    ) -> Option<(Slot, Box<Arriving>)> {
        match self.waiting.remove(&state.token) {
            Some((_, Half::Descriptor(slot))) => Some((slot, state)),
            Some((_, Half::State(_))) | None => {
                self.waiting.insert(state.token, (deadline, Half::State(state)));
                None
            }
        }
    }

    /// The move failed: its state will not be needed.
    pub(super) fn forget(&mut self, token: u64) {
        self.waiting.remove(&token);
    }

    /// How many halves wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the first half must be dropped.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.values().map(|(deadline, _)| *deadline).min()
    }

    /// Halves whose other half did not come in time.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Half> {
        let late = |(deadline, _): &(Duration, Half)| *deadline <= now;
        let mut tokens: Vec<u64> =
            self.waiting.iter().filter(|(_, half)| late(half)).map(|(&token, _)| token).collect();
        tokens.sort_unstable();
        tokens.iter().filter_map(|token| self.waiting.remove(token)).map(|(_, half)| half).collect()
    }
}
