//! `churn`, `slow` and `mixed`: messages by a schedule while something else goes on as well.
//!
//! Pairs of clients talk, and a crowd stands beside them. By schedules of their own, members of
//! the crowd are cut off and come back (`churn`: 0.3 % of them in a second), or ask for a sign of
//! life; a share of the receivers never reads (`slow`). `mixed` is all but the last: a messenger's
//! day. Nothing waits for answers; latency of everything counts from its intended time.
//!
//! What is sent to one who does not read need not arrive where nothing is kept. Where it is kept,
//! the slow ones read in the end, and then all of it must be there.

mod doings;

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use self::doings::Doings;
use super::{NAP, PATIENCE, Stage, with_costs};
use crate::arrival::Schedule;
use crate::fleet::{Event, Listening, What};
use crate::latency::{Histogram, Unpromised};
use crate::ledger::{Faults, Ledger};
use crate::measure::resident_bytes;
use crate::peer::{Form, Name, Peer, Promise, Setting};
use crate::progress::Progress;
use crate::report::Run;
use crate::stamp::{self, STAMP_BYTES, Stamp};
use crate::verdict::{self, LATE_NS, Loop};

/// Messages that a sender may send in a second, so that no server would slow it down.
const SENDER_RATE_MAX: u64 = 200;
/// The warm-up, as a share of the seconds of the run.
const WARM_UP_SHARE: u64 = 5;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reconnects beside the messages.
    Churn,
    /// Receivers that never read.
    Slow,
    /// Reconnects and pings beside the messages.
    Mixed,
}

/// The shape of the traffic.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// For the name.
    pub(crate) kind: Kind,
    /// Plain or full.
    pub(crate) form: Form,
    /// Pairs that talk.
    pub(crate) pairs: u32,
    /// Who stand beside them.
    pub(crate) crowd: u32,
    /// Messages in a second.
    pub(crate) rate: u64,
    /// Length of the measured part.
    pub(crate) seconds: u64,
    /// Content of a message, bytes.
    pub(crate) content_bytes: usize,
    /// Of 1,000 in the crowd, those that are cut off in a second.
    pub(crate) reconnects_per_mille: u32,
    /// Pings in a second.
    pub(crate) pings: u64,
    /// Of 100 receivers, those that never read.
    pub(crate) slow_percent: u32,
}

impl Shape {
    /// For tables.
    pub(crate) fn name(&self) -> &'static str {
        match (self.kind, self.form) {
            (Kind::Churn, Form::Plain) => "churn --plain",
            (Kind::Churn, Form::Full) => "churn",
            (Kind::Slow, Form::Plain) => "slow --plain",
            (Kind::Slow, Form::Full) => "slow",
            (Kind::Mixed, Form::Plain) => "mixed --plain",
            (Kind::Mixed, Form::Full) => "mixed",
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.content_bytes >= STAMP_BYTES, "content is at least {STAMP_BYTES} bytes");
        let most = u64::from(self.pairs) * SENDER_RATE_MAX;
        ensure!(
            self.rate <= most,
            "{} pairs say at most {most} messages a second, {SENDER_RATE_MAX} each",
            self.pairs
        );
        ensure!(
            self.crowd > 0 || self.reconnects_per_mille == 0 && self.pings == 0,
            "reconnects and pings are of a crowd"
        );
        Ok(())
    }

    /// Length of the run.
    pub(crate) fn seconds_with_warm_up(&self) -> u64 {
        self.seconds + self.warm_up()
    }

    fn warm_up(&self) -> u64 {
        self.seconds.div_ceil(WARM_UP_SHARE)
    }

    fn clients(&self) -> u32 {
        2 * self.pairs + self.crowd
    }

    /// Pairs below this have a receiver that never reads.
    fn slow_pairs(&self) -> u32 {
        self.pairs * self.slow_percent / 100
    }

    /// Of the whole crowd, in a second.
    fn reconnects(&self) -> u64 {
        u64::from(self.crowd) * u64::from(self.reconnects_per_mille) / 1_000
    }

    fn words(&self) -> String {
        let Self { pairs, crowd, rate, seconds, content_bytes, pings, .. } = self;
        format!(
            "{rate} messages/s of {content_bytes} B for {seconds} s, {pairs} pairs of which {} do \
             not read, {crowd} beside them: {} reconnects/s, {pings} pings/s",
            self.slow_pairs(),
            self.reconnects()
        )
    }
}

/// What somebody looks at while the traffic goes on.
pub(crate) type Beside<'a> = &'a mut dyn FnMut(&dyn Peer) -> anyhow::Result<()>;

/// How often.
const BESIDE_EVERY: Duration = Duration::from_secs(1);

struct Traffic<'a> {
    stage: &'a mut Stage,
    beside: Beside<'a>,
    looked: Instant,
    shape: &'a Shape,
    /// To those who read, and to those who do not.
    ledger: Ledger,
    slow: Ledger,
    content: Vec<u8>,
    histogram: Histogram,
    promised: Histogram,
    /// By pair.
    unpromised: Vec<Unpromised>,
    doings: Doings,
    accepted: u64,
    /// Turns of the pairs.
    next: u32,
    late: u64,
    full: bool,
}

/// Runs it against one peer.
///
/// # Errors
/// When a client is refused or lost, or messages stop.
pub(crate) fn run(
    name: &Name,
    setting: &Setting,
    shape: &Shape,
    cores: usize,
) -> anyhow::Result<Run> {
    run_beside(name, setting, shape, cores, &mut |_| Ok(()))
}

/// The same, with a look at the server every second, from the first message on.
///
/// # Errors
/// As [`run`], and when the look fails.
pub(crate) fn run_beside(
    name: &Name,
    setting: &Setting,
    shape: &Shape,
    cores: usize,
    beside: Beside<'_>,
) -> anyhow::Result<Run> {
    shape.check()?;
    let clients = shape.clients();
    let setting = Setting { clients, form: shape.form, tickets: true, ..setting.clone() };
    let mut stage = Stage::open(name, &setting, shape.content_bytes)?;
    stage.sign_in(0..clients)?;
    let full = stage.peer.promise() != Promise::Nothing;
    let mut traffic = Traffic {
        shape,
        ledger: Ledger::default(),
        slow: Ledger::default(),
        content: stamp::content(shape.content_bytes),
        histogram: Histogram::new(),
        promised: Histogram::new(),
        unpromised: vec![Unpromised::default(); shape.pairs as usize],
        doings: Doings::new(2 * shape.pairs..clients),
        accepted: 0,
        next: 0,
        late: 0,
        full,
        stage: &mut stage,
        beside,
        looked: Instant::now(),
    };
    traffic.listen();
    traffic.go(shape.warm_up())?;
    let (sent, arrived) = (traffic.sent(), traffic.ledger.arrived());
    let resident = resident_bytes(traffic.stage.peer.process_id())?;
    (traffic.late, traffic.histogram) = (0, Histogram::new());
    traffic.promised = Histogram::new();
    traffic.doings.forget();
    let begun = traffic.stage.begin()?;
    traffic.go(shape.seconds)?;
    let spent = traffic.stage.spent(&begun)?;
    let grown = resident_bytes(traffic.stage.peer.process_id())?.saturating_sub(resident);
    let messages = traffic.ledger.arrived() - arrived;
    let late_share = traffic.late as f64 / (traffic.sent() - sent).max(1) as f64;
    traffic.catch_up()?;
    let faults = traffic.faults();
    let (latency, promised) = (traffic.histogram.latency(), traffic.promised.latency());
    let doings = traffic.doings;
    let mut run = with_costs(stage.run(shape.name(), shape.words()), messages, &spent);
    run.latency = Some(latency);
    run.sent_latency = full.then_some(promised);
    run.late_share = Some(late_share);
    doings.tell(&mut run);
    // Where messages are kept, the store's own caches grow meanwhile: no reader is the reason.
    if shape.slow_pairs() > 0 && !full {
        run.bytes_per_slow_reader = Some(grown as f64 / f64::from(shape.slow_pairs()));
    }
    run.void = verdict::void(&spent, cores, Loop::Open { late_share }, faults);
    Ok(run.with_faults(faults))
}

impl Traffic<'_> {
    fn listen(&mut self) {
        for pair in 0..self.shape.pairs {
            let deaf = pair < self.shape.slow_pairs();
            let receiver = if deaf { Listening::Deaf } else { Listening::Hot };
            self.stage.fleet.listen_as(2 * pair, Listening::Hot);
            self.stage.fleet.listen_as(2 * pair + 1, receiver);
        }
    }

    fn sent(&self) -> u64 {
        self.ledger.sent() + self.slow.sent()
    }

    /// Everything by its schedule for so long, then waits until all of it is over.
    fn go(&mut self, seconds: u64) -> anyhow::Result<()> {
        let shape = self.shape;
        let begun_ns = self.stage.fleet.now_ns();
        let schedule = |rate: u64| Schedule::new(rate.max(1), rate * seconds, begun_ns);
        let mut messages = schedule(shape.rate);
        let mut reconnects = schedule(shape.reconnects());
        let mut pings = schedule(shape.pings);
        let mut progress = Progress::new("messages", shape.rate * seconds);
        let (mut happened, mut heard) = (Vec::new(), Instant::now());
        let before = self.ledger.arrived();
        loop {
            let now = self.stage.fleet.now_ns();
            while let Some(intended) = messages.due(now) {
                self.late += u64::from(now - intended > LATE_NS);
                self.send(intended);
            }
            while let Some(intended) = reconnects.due(now) {
                self.doings.cut_off(&mut self.stage.fleet, intended)?;
            }
            while let Some(intended) = pings.due(now) {
                self.doings.ping(&mut self.stage.fleet, intended)?;
            }
            let now = self.stage.fleet.now_ns();
            let waits = [messages.wait(now), reconnects.wait(now), pings.wait(now)];
            let wait = waits.into_iter().flatten().min();
            if wait.is_none() && self.over() {
                return Ok(());
            }
            self.turn(wait.unwrap_or(NAP), &mut happened, &mut heard)?;
            progress.at(self.ledger.arrived() - before);
        }
    }

    fn turn(
        &mut self,
        wait: Duration,
        happened: &mut Vec<Event>,
        heard: &mut Instant,
    ) -> anyhow::Result<()> {
        self.stage.fleet.turn(wait.min(NAP), happened);
        if !happened.is_empty() {
            *heard = Instant::now();
        }
        ensure!(heard.elapsed() < PATIENCE, "all stopped: {:?}", self.ledger.faults());
        if self.looked.elapsed() >= BESIDE_EVERY {
            self.looked = Instant::now();
            (self.beside)(self.stage.peer.as_ref())?;
        }
        happened.drain(..).try_for_each(|event| self.handle(&event))
    }

    fn over(&self) -> bool {
        let kept = !self.full || self.accepted == self.sent();
        kept && self.ledger.arrived() >= self.ledger.sent() && self.doings.over()
    }

    fn send(&mut self, intended_ns: u64) {
        let pair = self.next;
        self.next = (self.next + 1) % self.shape.pairs;
        let (from, to) = (2 * pair, 2 * pair + 1);
        let slow = pair < self.shape.slow_pairs();
        let ledger = if slow { &mut self.slow } else { &mut self.ledger };
        let sequence = ledger.send(from, to);
        if self.full {
            self.unpromised[pair as usize].send(intended_ns);
        }
        Stamp { from, sequence, intended_ns }.write(&mut self.content);
        self.stage.fleet.message(from, to, &self.content);
    }

    fn handle(&mut self, event: &Event) -> anyhow::Result<()> {
        let client = event.client;
        if self.doings.handle(&mut self.stage.fleet, event)? {
            return Ok(());
        }
        match &event.what {
            What::Message(Some(stamp)) => {
                if stamp.from / 2 < self.shape.slow_pairs() {
                    self.slow.arrive(stamp.from, client, stamp.sequence);
                } else if self.ledger.arrive(stamp.from, client, stamp.sequence) {
                    let late = self.stage.fleet.now_ns().saturating_sub(stamp.intended_ns);
                    self.histogram.record(late);
                }
            }
            What::Message(None) => bail!("client {client} got what nobody sent"),
            What::Accepted => {
                self.accepted += 1;
                let now = self.stage.fleet.now_ns();
                self.unpromised[(client / 2) as usize].accept(now, &mut self.promised);
            }
            What::Refused(why) => bail!("client {client} was refused: {why}"),
            What::Closed => bail!("client {client} was closed"),
            _ => {}
        }
        Ok(())
    }

    /// Those who did not read do now: what is kept for them must come.
    fn catch_up(&mut self) -> anyhow::Result<()> {
        if !self.full {
            return Ok(());
        }
        for pair in 0..self.shape.slow_pairs() {
            self.stage.fleet.listen_as(2 * pair + 1, Listening::Hot);
        }
        let (mut happened, mut heard) = (Vec::new(), Instant::now());
        while self.slow.arrived() < self.slow.sent() {
            self.turn(NAP, &mut happened, &mut heard)?;
        }
        Ok(())
    }

    fn faults(&self) -> Faults {
        let (read, slow) = (self.ledger.faults(), self.slow.faults());
        Faults {
            // Where nothing is kept, nobody promised it to one who does not read.
            lost: read.lost + if self.full { slow.lost } else { 0 },
            duplicated: read.duplicated + slow.duplicated,
            reordered: read.reordered + slow.reordered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Kind, Shape};

    const FINE: Shape = Shape {
        kind: Kind::Mixed,
        form: Form::Full,
        pairs: 10,
        crowd: 1_000,
        rate: 2_000,
        seconds: 1,
        content_bytes: 16,
        reconnects_per_mille: 3,
        pings: 1,
        slow_percent: 25,
    };

    #[test]
    fn a_shape_that_would_measure_something_else_is_refused() {
        assert!(FINE.check().is_ok());
        let check = |shape: Shape, word: &str| {
            let said = shape.check().expect_err(word).to_string();
            assert!(said.contains(word), "{said}");
        };
        check(Shape { rate: 2_001, ..FINE }, "2000 messages a second");
        check(Shape { content_bytes: 15, ..FINE }, "16 bytes");
        check(Shape { crowd: 0, ..FINE }, "crowd");
    }

    #[test]
    fn shares_are_of_the_pairs_and_of_the_crowd() {
        assert_eq!((FINE.slow_pairs(), FINE.reconnects(), FINE.clients()), (2, 3, 1_020));
    }
}
