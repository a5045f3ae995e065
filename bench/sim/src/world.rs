//! The world of one run: a server that lives and dies, clients, time, checkers. One thread, and
//! every choice from the seed.
//!
//! ```text
//!   all devices sign in -> trouble, `steps` of it -> calm until nothing is owed -> end
//!                                                      '-> time is up -> restart, calm again
//! ```

use std::time::Duration;

use ringpost_ring::fake::Faults;
use ringpost_store::engine::MemoryEngine;

use crate::checkers::{self, Checker, Liveness, Violation};
use crate::clients::{Device, Liar, Newcomer, Surroundings};
use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::fact::{Fact, Who};
use crate::front_desk::Revoked;
use crate::options::Options;
use crate::process::Process;
use crate::storage::{Hardware, Unusable};
use crate::trace::Trace;

/// How long everything may take to come to rest once nothing goes wrong any more.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// One step of calm.
const CALM_STEP: Duration = Duration::from_millis(4);

/// How long a damaged disk is away.
const REPAIR: Duration = Duration::from_millis(100);

/// Steps in which all devices sign in for the first time.
const SIGN_IN_STEPS_MAX: u32 = 20_000;

/// Effects within which a dying process dies.
const EFFECTS_BEFORE_DEATH_MAX: u64 = 80;

/// What a run has met: a run that meets nothing shows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Messages answered with `sent`.
    pub sent: u64,
    /// Pushes that devices were shown.
    pub shown: u64,
    /// Receipts that devices were told.
    pub told: u64,
    /// Commands refused.
    pub refused: u64,
    /// Gaps that devices have read from history and closed.
    pub gaps: u64,
    /// Deaths of the process alone.
    pub kills: u64,
    /// Losses of power.
    pub power_cuts: u64,
    /// Starts that were refused because the disk was damaged.
    pub refused_starts: u64,
    /// Times that the store was out and was opened again.
    pub outages: u64,
    /// Those of them in which it had lost what it had applied.
    pub relapses: u64,
}

impl std::fmt::Display for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            sent,
            shown,
            told,
            refused,
            gaps,
            kills,
            power_cuts,
            refused_starts,
            outages,
            relapses,
        } = self;
        write!(
            f,
            "{sent} messages sent, {shown} shown, {told} receipts, {refused} refusals, {gaps} gaps \
             closed, {kills} kills, {power_cuts} power cuts, {refused_starts} starts refused, \
             {outages} outages of the store, {relapses} with a loss"
        )
    }
}

impl Met {
    /// Adds what another run has met.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.shown += other.shown;
        self.told += other.told;
        self.refused += other.refused;
        self.gaps += other.gaps;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.refused_starts += other.refused_starts;
        self.outages += other.outages;
        self.relapses += other.relapses;
    }
}

/// One run.
pub(crate) struct World {
    options: Options,
    clock: Clock,
    dice: Dice,
    trace: Trace,
    process: Option<Process>,
    hardware: Option<Hardware>,
    restart_at: Duration,
    devices: Vec<Device>,
    liars: Vec<Liar>,
    newcomers: Vec<Newcomer>,
    revoked: Revoked,
    checkers: Vec<Box<dyn Checker>>,
    liveness: Liveness,
    /// Everybody of the fleet has signed in.
    trouble_began: bool,
    next_canary: u64,
    next_connection: u64,
    met: Met,
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(options: Options, trace: Trace) -> Self {
        let mut dice = Dice::new(options.seed);
        let plant = options.plant;
        let disk = Disk::new(dice.split(), trace.clone(), plant, options.disk_error_in);
        let names = |from: u8, users: u8, devices: u8| {
            (from..from + users)
                .flat_map(move |user| (1..=devices).map(move |device| Who { user, device }))
        };
        let devices = names(0, options.users, options.devices);
        let devices = devices.map(|who| Device::new(who, plant, &mut dice)).collect();
        let liars = names(options.users, options.liars, 1).map(Liar::new).collect();
        let first_newcomer = options.users + options.liars;
        let newcomers = names(first_newcomer, options.newcomers, 1).map(Newcomer::new).collect();
        Self {
            clock: Clock::new(),
            dice,
            trace,
            process: None,
            hardware: Some(Hardware { disk, engine: MemoryEngine::new(), agreed_ms: 0 }),
            restart_at: Duration::ZERO,
            devices,
            liars,
            newcomers,
            revoked: Revoked::new(),
            checkers: checkers::all(),
            liveness: Liveness::new(!options.queues_age()),
            trouble_began: false,
            next_canary: 1,
            next_connection: 1,
            met: Met::default(),
            options,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first broken promise.
    pub(crate) fn run(mut self) -> Result<Met, Violation> {
        self.sign_everybody_in()?;
        self.trouble_began = true;
        for _ in 0..self.options.steps {
            self.trouble();
            self.come_and_go();
            self.step(false)?;
        }
        if !self.calm_down()? {
            self.trace.fact(Fact::TimeUp);
            self.options.plant = None;
            self.die(false);
            self.calm_down()?;
        }
        self.trace.fact(Fact::End);
        self.check()?;
        Ok(self.met)
    }

    fn sign_everybody_in(&mut self) -> Result<(), Violation> {
        for _ in 0..SIGN_IN_STEPS_MAX {
            self.clock.pass(Duration::from_millis(1));
            self.step(true)?;
            if self.process.as_ref().is_some_and(Process::has_failed) {
                self.die(false);
            }
            if self.devices.iter().all(Device::is_known) {
                break;
            }
        }
        Ok(())
    }

    /// Newcomers sign out, and are told how that went.
    fn come_and_go(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let date_ms = process.date_ms(self.clock.read());
        for newcomer in &mut self.newcomers {
            if newcomer.signs_out() {
                let before_ms = self.revoked.entry(newcomer.who).or_default();
                *before_ms = date_ms.max(*before_ms + 1);
                process.sign_out(newcomer.who, *before_ms);
            }
        }
        let told = process.signed_out();
        self.process = Some(process);
        self.with_newcomers(|newcomers, it| {
            for (who, done) in told {
                let newcomer = newcomers.iter_mut().find(|it| it.who == who);
                newcomer.expect("only newcomers sign out").told_out(done, it);
            }
        });
    }

    /// Time passes, and something may go wrong.
    fn trouble(&mut self) {
        let micros = self.dice.pick(&[0, 0, 100, 1_000, 1_000, 5_000, 20_000]);
        let far = if self.dice.one_in(200) { 1_500_000 } else { 0 };
        self.clock.pass(Duration::from_micros(micros + far));
        if self.dice.one_in(self.options.jump_in) {
            let off_ms = self.clock.jump(&mut self.dice);
            self.trace.note(&format!("the wall clock jumps and is {off_ms} ms ahead"));
        }
        let dies = self.dice.one_in(self.options.death_in);
        let effects = self.dice.below(EFFECTS_BEFORE_DEATH_MAX);
        if let Some(process) = &self.process {
            if dies {
                process.fuse().light(effects);
            }
            if process.fuse().is_dead() {
                let power = self.dice.one_in(2);
                self.die(power);
            } else if process.has_failed() && self.dice.one_in(50) {
                // An operator sees it and restarts the server.
                self.die(false);
            }
        }
    }

    fn die(&mut self, power: bool) {
        let Some(process) = self.process.take() else { return };
        let mut hardware = process.die();
        if power {
            hardware.disk.lose_power();
        }
        if self.dice.one_in(self.options.flip_in) {
            hardware.disk.flip_a_bit();
        }
        // The engine may keep what it has not persisted, if only the process died.
        if power || self.dice.one_in(2) {
            hardware.engine.crash();
        }
        self.met.power_cuts += u64::from(power);
        self.met.kills += u64::from(!power);
        self.hardware = Some(hardware);
        self.trace.fact(Fact::Died { power });
        let pause = Duration::from_millis(self.dice.below(400));
        self.restart_at = self.clock.mono() + pause;
        self.with_clients(|devices, liars, it| {
            devices.iter_mut().for_each(|device| device.server_died(it));
            liars.iter_mut().for_each(Liar::server_died);
        });
        self.with_newcomers(|newcomers, it| {
            newcomers.iter_mut().for_each(|newcomer| newcomer.server_died(it));
        });
    }

    fn step(&mut self, is_calm: bool) -> Result<(), Violation> {
        self.trace.set_time(self.clock.mono().as_micros() as u64);
        self.start_if_due();
        let clocks = self.clock.read();
        self.connect();
        self.with_clients(|devices, liars, it| {
            devices.iter_mut().for_each(|device| device.step(it, is_calm));
            if !is_calm {
                liars.iter_mut().for_each(|liar| liar.step(it));
            }
        });
        if self.trouble_began {
            self.with_newcomers(|newcomers, it| {
                newcomers.iter_mut().for_each(|newcomer| newcomer.step(it, is_calm));
            });
        }
        if let Some(process) = &mut self.process {
            process.step(clocks, is_calm);
        }
        self.check()
    }

    fn start_if_due(&mut self) {
        if self.process.is_some() || self.clock.mono() < self.restart_at {
            return;
        }
        let hardware = self.hardware.take().expect("there is no process that holds it");
        let (dice, trace) = (self.dice.split(), self.trace.clone());
        let (given, clocks) = ((dice, trace), self.clock.read());
        match Process::start(hardware, &self.options, &self.revoked, given, clocks) {
            Ok(process) => self.process = Some(process),
            Err(unusable) => {
                let Unusable { mut hardware, why } = *unusable;
                self.met.refused_starts += 1;
                self.trace.fact(Fact::Unusable { why });
                // An operator reads what the server says, and the disk is seen to.
                hardware.disk.repair();
                self.restart_at = self.clock.mono() + REPAIR;
                self.hardware = Some(hardware);
            }
        }
    }

    fn connect(&mut self) {
        let Some(process) = &mut self.process else { return };
        let now = self.clock.read();
        let it = &mut Surroundings {
            now,
            dice: &mut self.dice,
            trace: &self.trace,
            users: self.options.users,
            newcomers: &[],
            body_bytes_max: self.options.body_bytes_max,
            server: None,
            next_canary: &mut self.next_canary,
        };
        let delay = self.options.delay_max;
        for device in self.devices.iter_mut().filter(|it| it.wants_connection(now.mono)) {
            self.next_connection += 1;
            device.connect(self.next_connection, process.connect(), delay, it);
        }
        for newcomer in self.newcomers.iter_mut().filter(|it| it.wants_connection(now.mono)) {
            self.next_connection += 1;
            newcomer.connect(self.next_connection, process.connect(), delay, it);
        }
        for liar in self.liars.iter_mut().filter(|it| it.wants_connection(now.mono)) {
            self.next_connection += 1;
            liar.connect(self.next_connection, process.connect(), delay, it);
        }
    }

    fn with_clients(
        &mut self,
        act: impl FnOnce(&mut Vec<Device>, &mut Vec<Liar>, &mut Surroundings<'_>),
    ) {
        let newcomers = self.newcomers.iter().filter(|newcomer| newcomer.was_welcome());
        let newcomers: Vec<u8> = newcomers.map(|newcomer| newcomer.who.user).collect();
        let it = &mut Surroundings {
            now: self.clock.read(),
            dice: &mut self.dice,
            trace: &self.trace,
            users: self.options.users,
            newcomers: &newcomers,
            body_bytes_max: self.options.body_bytes_max,
            server: self.process.as_mut(),
            next_canary: &mut self.next_canary,
        };
        act(&mut self.devices, &mut self.liars, it);
    }

    fn with_newcomers(&mut self, act: impl FnOnce(&mut Vec<Newcomer>, &mut Surroundings<'_>)) {
        let it = &mut Surroundings {
            now: self.clock.read(),
            dice: &mut self.dice,
            trace: &self.trace,
            users: self.options.users,
            newcomers: &[],
            body_bytes_max: self.options.body_bytes_max,
            server: self.process.as_mut(),
            next_canary: &mut self.next_canary,
        };
        act(&mut self.newcomers, it);
    }

    /// Nothing goes wrong any more; answers whether all came to rest in time.
    fn calm_down(&mut self) -> Result<bool, Violation> {
        self.trace.fact(Fact::Calm);
        if self.process.as_ref().is_some_and(|it| it.has_failed() || it.fuse().is_dead()) {
            self.die(false);
        }
        if let Some(hardware) = &mut self.hardware {
            hardware.disk.fail_once_in(0);
        }
        self.options.disk_error_in = 0;
        self.options.read_error_in = 0;
        self.options.flip_in = 0;
        self.options.faults = Faults::none();
        self.options.delay_max = Duration::ZERO;
        self.options.latency_max = Duration::from_micros(200);
        self.options.lag = Duration::ZERO;
        if let Some(process) = &mut self.process {
            process.heal();
        }
        self.devices.iter_mut().for_each(Device::heal);
        self.liars.iter_mut().for_each(Liar::server_died);
        let end = self.clock.mono() + REST_WITHIN;
        while self.clock.mono() < end {
            self.clock.pass(CALM_STEP);
            self.step(true)?;
            let at_rest = self.devices.iter().all(Device::is_at_rest)
                && self.newcomers.iter().all(Newcomer::is_at_rest);
            if self.liveness.owed().is_none() && at_rest {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check(&mut self) -> Result<(), Violation> {
        for fact in self.trace.take() {
            match fact {
                Fact::Sent { .. } => self.met.sent += 1,
                Fact::Shown { .. } => self.met.shown += 1,
                Fact::Told { .. } => self.met.told += 1,
                Fact::Refused { .. } => self.met.refused += 1,
                Fact::GapClosed { .. } => self.met.gaps += 1,
                Fact::Reopened { lost } => {
                    self.met.outages += 1;
                    self.met.relapses += u64::from(lost > 0);
                }
                _ => {}
            }
            for checker in &mut self.checkers {
                let name = checker.name();
                checker.see(&fact).map_err(|what| Violation { checker: name, what })?;
            }
            let name = self.liveness.name();
            self.liveness.see(&fact).map_err(|what| Violation { checker: name, what })?;
        }
        Ok(())
    }
}
