//! What the crowd does beside the messages: it is cut off and comes back, and it pings.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, bail};

use crate::fleet::{Event, Fleet, What};
use crate::latency::Histogram;
use crate::report::Run;

/// A crowd, of which each member does one thing at a time.
pub(super) struct Doings {
    crowd: Range<u32>,
    next: u32,
    /// Members that are away, or have asked: since when, by the schedule.
    away: HashMap<u32, u64>,
    asked: HashMap<u32, u64>,
    back: Histogram,
    answered: Histogram,
}

impl Doings {
    pub(super) fn new(crowd: Range<u32>) -> Self {
        Self {
            next: crowd.start,
            crowd,
            away: HashMap::new(),
            asked: HashMap::new(),
            back: Histogram::new(),
            answered: Histogram::new(),
        }
    }

    /// What was done so far was the warm-up.
    pub(super) fn forget(&mut self) {
        (self.back, self.answered) = (Histogram::new(), Histogram::new());
    }

    pub(super) fn over(&self) -> bool {
        self.away.is_empty() && self.asked.is_empty()
    }

    /// The connection of the next one that is at leisure ends, without a word.
    ///
    /// # Errors
    /// When nobody is at leisure: the server is behind by the whole crowd.
    pub(super) fn cut_off(&mut self, fleet: &mut Fleet, intended_ns: u64) -> anyhow::Result<()> {
        let client = self.at_leisure().context("the whole crowd is away or waits")?;
        self.away.insert(client, intended_ns);
        fleet.close(client);
        Ok(())
    }

    /// The next one that is at leisure asks for a sign of life.
    ///
    /// # Errors
    /// As [`Doings::cut_off`].
    pub(super) fn ping(&mut self, fleet: &mut Fleet, intended_ns: u64) -> anyhow::Result<()> {
        let client = self.at_leisure().context("the whole crowd is away or waits")?;
        self.asked.insert(client, intended_ns);
        fleet.ping(client);
        Ok(())
    }

    fn at_leisure(&mut self) -> Option<u32> {
        for _ in self.crowd.clone() {
            let client = self.next;
            self.next = if client + 1 < self.crowd.end { client + 1 } else { self.crowd.start };
            if !self.away.contains_key(&client) && !self.asked.contains_key(&client) {
                return Some(client);
            }
        }
        None
    }

    /// Takes an event of the crowd; false for anybody else's.
    ///
    /// # Errors
    /// When one is refused, or lost without having been cut off.
    pub(super) fn handle(&mut self, fleet: &mut Fleet, event: &Event) -> anyhow::Result<bool> {
        let client = event.client;
        if !self.crowd.contains(&client) {
            return Ok(false);
        }
        let since = |from: u64, fleet: &Fleet| fleet.now_ns().saturating_sub(from);
        match &event.what {
            What::Closed if self.away.contains_key(&client) => fleet.connect(client),
            What::Closed => bail!("client {client} was closed"),
            What::Ready => {
                if let Some(from) = self.away.remove(&client) {
                    self.back.record(since(from, fleet));
                }
            }
            What::Pong => {
                if let Some(from) = self.asked.remove(&client) {
                    self.answered.record(since(from, fleet));
                }
            }
            What::NotConnected(errno) => bail!("client {client}: {errno}"),
            What::Refused(why) => bail!("client {client} was refused: {why}"),
            What::Message(_) => bail!("client {client} got what nobody sent to it"),
            What::Connected | What::Accepted | What::Delivered => {}
        }
        Ok(true)
    }

    /// Puts in what was done and how long it took.
    pub(super) fn tell(&self, run: &mut Run) {
        (run.reconnects, run.pings) = (self.back.count(), self.answered.count());
        run.reconnect_latency = (run.reconnects > 0).then(|| self.back.latency());
        run.ping_latency = (run.pings > 0).then(|| self.answered.latency());
    }
}
