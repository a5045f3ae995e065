//! What is tried again after a pause. The pause is the same for all, so the line is in order.

use std::collections::VecDeque;
use std::time::Duration;

use ringpost_wire::{DeviceId, UserId};

use crate::event::ConnectionKey;

/// What to try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retry {
    /// Load the user, if a session of it still waits.
    Load(UserId),
    /// Go on with a sign-in whose load failed.
    SignIn(ConnectionKey),
    /// Go on pushing to the device (a read of its messages failed).
    Push(UserId, DeviceId),
    /// Start loads that wait for memory.
    WaitingLoads,
}

/// Bounded by the store reads that may be outstanding: each failed one adds one, and they are
/// started anew only from here or by a client under its rate.
#[derive(Debug)]
pub(crate) struct Retries {
    line: VecDeque<(Duration, Retry)>,
    pause: Duration,
}

impl Retries {
    pub(crate) const fn new(pause: Duration) -> Self {
        Self { line: VecDeque::new(), pause }
    }

    pub(crate) fn add(&mut self, now: Duration, retry: Retry) {
        self.line.push_back((now + self.pause, retry));
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.line.front().map(|&(deadline, _)| deadline)
    }

    /// The next one whose pause is over.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Retry> {
        self.line.pop_front_if(|&mut (deadline, _)| deadline <= now).map(|(_, retry)| retry)
    }
}
