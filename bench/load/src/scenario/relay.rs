//! `relay`: messages from one client to another.
//!
//! Lanes are at work at the same time; in each a pair of clients talks, with a number of messages
//! outstanding (closed loop), or whenever the schedule says (open loop). A sender that has used up
//! what its server allows one user leaves its lane to the next pair that nobody has used. The
//! receiver is the sender's partner, or with `random` that of any lane.
//!
//! A message of the full form is over when it was accepted (`sent`) and has arrived; the
//! receiver's acknowledgement and the receipt that follows it are part of the load.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::{NAP, PATIENCE, Stage, with_costs};
use crate::arrival::Schedule;
use crate::fleet::{Event, Listening, What};
use crate::latency::{Histogram, Unpromised};
use crate::ledger::Ledger;
use crate::peer::{Form, Name, Promise, Setting};
use crate::progress::Progress;
use crate::report::Run;
use crate::stamp::{self, STAMP_BYTES, Stamp};
use crate::verdict::{self, LATE_NS, Loop};

/// Of all messages, the share that warms up and is not measured.
const WARM_UP_SHARE: f64 = 0.1;

/// The shape of a relay.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Plain or full.
    pub(crate) form: Form,
    /// Pairs at work at a time.
    pub(crate) pairs: u32,
    /// Messages of a pair on their way; the closed loop.
    pub(crate) outstanding: u32,
    /// Content of a message, bytes.
    pub(crate) content_bytes: usize,
    /// Messages of the run, warm-up included.
    pub(crate) messages: u64,
    /// Messages in a second; the open loop.
    pub(crate) rate: Option<u64>,
    /// To any receiver rather than to one's partner.
    pub(crate) random: bool,
}

impl Shape {
    /// Clients that the run needs: all peers are given the same, whatever each would allow.
    pub(crate) fn clients(&self) -> u32 {
        // Each lane has a sender who is not done yet; all others are used up.
        let used_up = self.messages / u64::from(MESSAGES_PER_SENDER_MAX);
        2 * (self.pairs + used_up as u32)
    }

    fn words(&self) -> String {
        let Self { pairs, content_bytes, messages, .. } = self;
        let order = match self.rate {
            None => format!("{} outstanding", self.outstanding),
            Some(rate) => format!("{rate} messages/s"),
        };
        let to = if self.random { "random destinations" } else { "fixed pairs" };
        format!("{messages} messages of {content_bytes} B, {pairs} pairs, {order}, {to}")
    }

    /// For tables.
    pub(crate) fn name(&self) -> &'static str {
        match self.form {
            Form::Plain => "relay --plain",
            Form::Full => "relay",
        }
    }
}

/// Messages that one sender sends: below what the strictest server allows at once.
const MESSAGES_PER_SENDER_MAX: u32 = 450;

struct Lane {
    /// Who talks in it now.
    pair: u32,
    /// By the present sender.
    sent: u32,
}

/// What is known of a sender's messages.
#[derive(Default, Clone)]
struct Sender {
    lane: u32,
    sent: u32,
    accepted: u32,
    arrived: u32,
    unpromised: Unpromised,
}

struct Relay<'a> {
    stage: &'a mut Stage,
    shape: &'a Shape,
    lanes: Vec<Lane>,
    /// Pairs that have or had a lane; the next is its number.
    pairs_used: u32,
    senders: Vec<Sender>,
    ledger: Ledger,
    content: Vec<u8>,
    histogram: Histogram,
    promised: Histogram,
    late: u64,
    random: u64,
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
    ensure!(shape.content_bytes >= STAMP_BYTES, "content is at least {STAMP_BYTES} bytes");
    ensure!(shape.pairs > 0 && shape.outstanding > 0, "there is a pair with a message");
    let setting = Setting { clients: shape.clients(), form: shape.form, ..setting.clone() };
    let mut stage = Stage::open(name, &setting, shape.content_bytes)?;
    ensure!(
        stage.peer.messages_per_sender_max() >= MESSAGES_PER_SENDER_MAX,
        "{name} allows a sender fewer than {MESSAGES_PER_SENDER_MAX} messages"
    );
    stage.fleet.listen(Listening::Hot);
    stage.sign_in(0..setting.clients)?;
    let full = stage.peer.promise() != Promise::Nothing;
    let mut relay = Relay {
        shape,
        lanes: Vec::new(),
        pairs_used: 0,
        senders: vec![Sender::default(); setting.clients as usize],
        ledger: Ledger::default(),
        content: stamp::content(shape.content_bytes),
        histogram: Histogram::new(),
        promised: Histogram::new(),
        late: 0,
        random: 0x9e37_79b9_7f4a_7c15,
        full,
        stage: &mut stage,
    };
    for lane in 0..shape.pairs {
        let pair = relay.next_pair(lane);
        relay.lanes.push(Lane { pair, sent: 0 });
    }
    let warm_up = (shape.messages as f64 * WARM_UP_SHARE) as u64;
    relay.go(warm_up)?;
    let begun = relay.stage.begin()?;
    let measured_from = relay.ledger.arrived();
    let late_before = (relay.late, relay.ledger.sent());
    (relay.histogram, relay.promised) = (Histogram::new(), Histogram::new());
    relay.go(shape.messages)?;
    let spent = relay.stage.spent(&begun)?;
    relay.drain()?;
    let messages = relay.ledger.arrived() - measured_from;
    let faults = relay.ledger.faults();
    let late_share =
        (relay.late - late_before.0) as f64 / (relay.ledger.sent() - late_before.1).max(1) as f64;
    let latency = shape.rate.map(|_| relay.histogram.latency());
    let sent_latency = shape.rate.filter(|_| full).map(|_| relay.promised.latency());
    let mut run = with_costs(stage.run(shape.name(), shape.words()), messages, &spent);
    let made = if shape.rate.is_some() { Loop::Open { late_share } } else { Loop::Closed };
    run.late_share = shape.rate.map(|_| late_share);
    (run.latency, run.sent_latency) = (latency, sent_latency);
    run.void = verdict::void(&spent, cores, made, faults);
    Ok(run.with_faults(faults))
}

impl Relay<'_> {
    /// Sends until `target` messages were sent and all are over.
    fn go(&mut self, target: u64) -> anyhow::Result<()> {
        let mut progress = Progress::new("messages", self.shape.messages);
        match self.shape.rate {
            None => self.closed(target, &mut progress),
            Some(rate) => self.open(rate, target, &mut progress),
        }
    }

    fn closed(&mut self, target: u64, progress: &mut Progress) -> anyhow::Result<()> {
        for lane in 0..self.shape.pairs {
            self.fill(lane, target);
        }
        while !self.over(target) {
            for event in self.stage.turn()? {
                if let Some(sender) = self.handle(&event)? {
                    let lane = self.senders[sender as usize].lane;
                    self.fill(lane, target);
                }
            }
            progress.at(self.ledger.arrived());
        }
        Ok(())
    }

    fn open(&mut self, rate: u64, target: u64, progress: &mut Progress) -> anyhow::Result<()> {
        let count = target - self.ledger.sent();
        let mut schedule = Schedule::new(rate, count, self.stage.fleet.now_ns());
        let mut happened = Vec::new();
        let mut heard = Instant::now();
        while !self.over(target) {
            let now = self.stage.fleet.now_ns();
            while let Some(intended) = schedule.due(now) {
                let lane = (self.ledger.sent() % u64::from(self.shape.pairs)) as u32;
                self.late += u64::from(now - intended > LATE_NS);
                self.send(lane, intended);
            }
            let wait = schedule.wait(self.stage.fleet.now_ns()).unwrap_or(NAP);
            self.stage.fleet.turn(wait.min(NAP), &mut happened);
            if !happened.is_empty() {
                heard = Instant::now();
            }
            ensure!(heard.elapsed() < PATIENCE, "messages stopped: {:?}", self.ledger.faults());
            for event in happened.drain(..) {
                self.handle(&event)?;
            }
            progress.at(self.ledger.arrived());
        }
        Ok(())
    }

    fn over(&self, target: u64) -> bool {
        let arrived = self.ledger.sent() >= target && self.ledger.arrived() >= self.ledger.sent();
        arrived && (!self.full || self.senders.iter().all(|sender| sender.accepted == sender.sent))
    }

    /// Sends what the lane may have on its way.
    fn fill(&mut self, lane: u32, target: u64) {
        loop {
            let sender = self.sender(lane);
            let known = &self.senders[sender as usize];
            let over = if self.full { known.arrived.min(known.accepted) } else { known.arrived };
            let may = known.sent - over < self.shape.outstanding;
            if !may || self.ledger.sent() >= target {
                return;
            }
            let now = self.stage.fleet.now_ns();
            self.send(lane, now);
        }
    }

    /// The client that sends in a lane: the next pair's once the present one has said its part.
    fn sender(&mut self, lane: u32) -> u32 {
        if self.lanes[lane as usize].sent >= MESSAGES_PER_SENDER_MAX {
            let pair = self.next_pair(lane);
            self.lanes[lane as usize] = Lane { pair, sent: 0 };
        }
        2 * self.lanes[lane as usize].pair
    }

    fn next_pair(&mut self, lane: u32) -> u32 {
        let pair = self.pairs_used;
        self.pairs_used += 1;
        self.senders[2 * pair as usize].lane = lane;
        pair
    }

    fn send(&mut self, lane: u32, intended_ns: u64) {
        let from = self.sender(lane);
        let to = self.receiver(from);
        self.lanes[lane as usize].sent += 1;
        self.senders[from as usize].sent += 1;
        if self.full {
            self.senders[from as usize].unpromised.send(intended_ns);
        }
        let sequence = self.ledger.send(from, to);
        Stamp { from, sequence, intended_ns }.write(&mut self.content);
        self.stage.fleet.message(from, to, &self.content);
    }

    fn receiver(&mut self, from: u32) -> u32 {
        if !self.shape.random {
            return from + 1;
        }
        // xorshift: cheap, and the same in each run.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let lane = self.random % u64::from(self.shape.pairs);
        2 * self.lanes[lane as usize].pair + 1
    }

    /// What an event means; the sender of which one message more may be over.
    fn handle(&mut self, event: &Event) -> anyhow::Result<Option<u32>> {
        match &event.what {
            What::Message(Some(stamp)) => {
                let late = self.stage.fleet.now_ns().saturating_sub(stamp.intended_ns);
                self.histogram.record(late);
                let from = stamp.from as usize;
                if self.ledger.arrive(stamp.from, event.client, stamp.sequence) {
                    self.senders[from].arrived += 1;
                }
                Ok(Some(stamp.from))
            }
            What::Message(None) => bail!("client {} got what nobody sent", event.client),
            What::Accepted => {
                let sender = &mut self.senders[event.client as usize];
                sender.accepted += 1;
                sender.unpromised.accept(self.stage.fleet.now_ns(), &mut self.promised);
                Ok(Some(event.client))
            }
            What::Refused(why) => bail!("client {} was refused: {why}", event.client),
            What::Closed => bail!("client {} was closed", event.client),
            _ => Ok(None),
        }
    }

    /// Anything more that comes is a duplicate: waits for it a little.
    fn drain(&mut self) -> anyhow::Result<()> {
        const QUIET: Duration = Duration::from_millis(200);
        let begun = Instant::now();
        let mut happened = Vec::new();
        while begun.elapsed() < QUIET {
            self.stage.fleet.turn(NAP, &mut happened);
            for event in happened.drain(..) {
                self.handle(&event)?;
            }
        }
        Ok(())
    }
}
