//! The world: one node and its fleet, a step at a time, every choice by seed.
//!
//! ```text
//!   gather ------> live ------> crash --.        calm ------> nothing is owed
//!   all sign in     ^ faults            |         ^ no faults, all reconnect
//!                   '-- restart <-------'---------'
//! ```
//! A step is one step of one thread of the server, or of one client, or something that befalls
//! them. So whatever can happen between two effects happens in some seed.

use std::time::Duration;

use ringpost_shard::event::Now;
use ringpost_store::engine::MemoryEngine;
use ringpost_wire::UserId;

use crate::chance::Chance;
use crate::checkers::Checkers;
use crate::device::Device;
use crate::disk::Disk;
use crate::node::Node;
use crate::observed::{DeviceKey, Observed, Violation};
use crate::options::Options;
use crate::trace::Trace;

const WALL_MS: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 86_400_000;

/// Steps in which a healthy world must have brought everything to everybody.
const CALM_STEPS_MAX: usize = 400_000;

/// Steps without anything happening after which time passes up to the next deadline.
const QUIET_STEPS: usize = 100;

/// What a run did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Messages made.
    pub made: u64,
    /// `sent` received.
    pub sent: u64,
    /// Messages pushed.
    pub pushed: u64,
    /// `delivered` received.
    pub delivered: u64,
    /// Deaths of the server.
    pub crashes: u64,
    /// Steps.
    pub steps: u64,
}

/// What came of a run.
pub struct Outcome {
    /// What it did.
    pub counts: Counts,
    /// Equal for equal runs.
    pub digest: u64,
    /// The rule that was broken, if any.
    pub violation: Option<Violation>,
    /// The last events.
    pub tail: String,
}

/// Runs the world of these options to its end.
pub fn run(options: &Options) -> Outcome {
    let mut world = World::new(options);
    let violation = world.run().err();
    let World { counts, trace, .. } = world;
    Outcome { counts, digest: trace.digest(), violation, tail: trace.tail() }
}

struct World<'o> {
    options: &'o Options,
    now: Now,
    node: Option<Node>,
    disk: Disk,
    engine: MemoryEngine,
    fleet: Vec<Device>,
    checkers: Checkers,
    trace: Trace,
    chance: Chance,
    counts: Counts,
    lives: usize,
    quiet: usize,
    seen: Vec<Observed>,
}

impl<'o> World<'o> {
    fn new(options: &'o Options) -> Self {
        let mut chance = Chance::new(options.seed, 0);
        let users: Vec<UserId> =
            (1..=options.users as u128).map(|user| UserId(user.to_be_bytes())).collect();
        let keys: Vec<DeviceKey> = users
            .iter()
            .flat_map(|&user| (1..=1 + chance.below(3) as u8).map(move |number| (user, number)))
            .map(|(user, number)| DeviceKey { user, number })
            .collect();
        let partners = |own: UserId| users.iter().copied().filter(|it| *it != own).collect();
        let device = |&key: &DeviceKey| Device::new(key, partners(key.user), options);
        Self {
            options,
            now: Now { mono: Duration::from_secs(1), wall_ms: WALL_MS },
            node: None,
            disk: Disk::new(options),
            engine: MemoryEngine::new(),
            fleet: keys.iter().map(device).collect(),
            checkers: Checkers::new(&keys),
            trace: Trace::new(options.events_shown_max),
            chance,
            counts: Counts::default(),
            lives: 0,
            quiet: 0,
            seen: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.disk.heal();
        self.start()?;
        self.until(|world| world.fleet.iter().all(|it| it.is_known()), "sign in")?;
        self.disk.arm(self.options);
        for life in 1..=self.options.lives {
            self.live()?;
            if life < self.options.lives {
                self.crash()?;
            }
        }
        self.calm()
    }

    /// Steps with faults, until their number is reached.
    fn live(&mut self) -> Result<(), Violation> {
        for _ in 0..self.options.steps {
            self.befall()?;
            self.step()?;
        }
        Ok(())
    }

    /// No faults any more: everything is answered and has come within a bounded number of steps.
    fn calm(&mut self) -> Result<(), Violation> {
        self.disk.heal();
        if self.node.as_ref().is_none_or(|node| node.tier.has_failed()) {
            self.crash()?;
        }
        self.seen.push(Observed::Calm);
        for device in &mut self.fleet {
            device.calm();
        }
        self.until(
            |world| {
                world.fleet.iter().all(Device::has_all_answers) && world.checkers.owed().is_none()
            },
            "bring everything to everybody",
        )
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool, what: &str) -> Result<(), Violation> {
        for _ in 0..CALM_STEPS_MAX {
            if self.trace_seen()? && done(self) {
                return Ok(());
            }
            self.step()?;
        }
        let waiting = self.fleet.iter().find(|device| !device.has_all_answers());
        Err(self.checkers.owed().filter(|_| waiting.is_none()).unwrap_or_else(|| {
            let whom = waiting.map(|device| format!("; {} waits", device.key)).unwrap_or_default();
            Violation {
                checker: "liveness",
                what: format!("{CALM_STEPS_MAX} steps were not enough to {what}{whom}"),
            }
        }))
    }

    /// Something befalls somebody, or nothing.
    fn befall(&mut self) -> Result<(), Violation> {
        let options = self.options;
        if self.chance.once_in(options.wall_jump_once_in) {
            let jump = self.chance.below(2 * DAY_MS as usize) as u64;
            self.now.wall_ms = (self.now.wall_ms + jump).saturating_sub(DAY_MS);
            self.trace.stir(self.now.wall_ms);
        }
        if self.chance.once_in(options.disconnect_once_in) {
            let at = self.chance.below(self.fleet.len());
            self.fleet[at].disconnect(&mut self.seen);
        }
        let due = self.counts.made < options.messages as u64 && self.chance.once_in(4);
        if due {
            let at = self.chance.below(self.fleet.len());
            self.fleet[at].make(&mut self.seen);
        }
        if self.node.as_ref().is_some_and(|node| node.tier.has_failed()) && self.chance.once_in(30)
        {
            self.crash()?;
        }
        Ok(())
    }

    /// One step of one thread or client.
    fn step(&mut self) -> Result<(), Violation> {
        self.counts.steps += 1;
        let moment = Duration::from_micros(50 * self.chance.below(8) as u64);
        self.pass(moment);
        let node = self.node.as_mut().expect("a server lives between two crashes");
        let busy = if self.chance.below(3) > 0 {
            node.step(&mut self.disk, self.now, &mut self.seen)
        } else {
            let at = self.chance.below(self.fleet.len());
            let device = &mut self.fleet[at];
            if device.is_connected() {
                device.step(self.now.mono, &mut self.seen)?
            } else {
                device.connect(node.connect());
                true
            }
        };
        self.quiet = if busy { 0 } else { self.quiet + 1 };
        if self.quiet > QUIET_STEPS {
            self.quiet = 0;
            let next = node.next_deadline().unwrap_or_default();
            let wait = next.saturating_sub(self.now.mono).max(Duration::from_millis(1));
            self.pass(wait.min(Duration::from_secs(1)));
        }
        self.trace_seen().map(drop)
    }

    fn pass(&mut self, time: Duration) {
        let before = self.now.mono.as_millis() as u64;
        self.now.mono += time;
        self.now.wall_ms += self.now.mono.as_millis() as u64 - before;
    }

    /// The server dies, by its own hand or with the power, and starts again.
    fn crash(&mut self) -> Result<(), Violation> {
        if let Some(mut node) = self.node.take() {
            if !node.tier.has_failed() {
                node.last_gasp(self.now);
            }
            let power = self.chance.once_in(2);
            if power {
                self.disk.lose_power();
            }
            if power || self.chance.once_in(2) {
                self.engine.crash();
            }
            self.counts.crashes += 1;
            self.seen.push(Observed::Crashed { power });
            for device in &mut self.fleet {
                device.disconnect(&mut self.seen);
            }
        }
        self.start()
    }

    fn start(&mut self) -> Result<(), Violation> {
        for _ in 0..100 {
            let (disk, engine) = (&mut self.disk, &self.engine);
            match Node::start(self.options, self.lives, disk, engine, self.now, &mut self.seen) {
                Ok(node) => {
                    self.lives += 1;
                    self.node = Some(node);
                    self.seen.push(Observed::Restarted);
                    return self.trace_seen().map(drop);
                }
                // The disk failed while it was read: somebody starts the server again.
                Err(violation) if self.disk.has_just_failed() => self.trace.stir(violation.what),
                Err(violation) => return Err(violation),
            }
        }
        Err(Violation { checker: "recovery", what: "the server does not start".to_owned() })
    }

    /// Shows the checkers what was seen; always true, for the sake of the caller's condition.
    fn trace_seen(&mut self) -> Result<bool, Violation> {
        for event in std::mem::take(&mut self.seen) {
            self.trace.note(self.counts.steps as usize, &event);
            let counts = &mut self.counts;
            match &event {
                Observed::Made { .. } => counts.made += 1,
                Observed::Sent { .. } => counts.sent += 1,
                Observed::Pushed { .. } => counts.pushed += 1,
                Observed::Delivered { .. } => counts.delivered += 1,
                _ => {}
            }
            self.checkers.see(&event)?;
        }
        Ok(true)
    }
}
