//! What is done to a server, one file for each scenario, and what all of them share: a server on
//! its core, a fleet of clients on the other, and signing them in.

mod chosen;
pub(crate) mod connect;
pub(crate) mod disk;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod relay;
pub(crate) mod soak;
pub(crate) mod storm;
pub(crate) mod traffic;

use std::fs;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

pub(crate) use self::chosen::Scenario;
use crate::exit::NotStarted;
use crate::fleet::{Event, Fleet, What};
use crate::measure::{Environment, Reading, Spent, processor_time};
use crate::peer::{self, Name, Peer, Setting};
use crate::progress::Progress;
use crate::report::Run;

/// Sign-ins that are on their way at a time: what an accept queue holds, with room.
const SIGNING_IN_MAX: usize = 256;
/// How long nothing may happen before a run is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// One sleep of the generator at most.
pub(crate) const NAP: Duration = Duration::from_millis(20);
/// A server is at rest that uses less than this share of a core for so long; and how long that is
/// waited for, since some never rest.
const REST_SHARE: f64 = 0.02;
const REST_POLL: Duration = Duration::from_millis(100);
const REST_DEADLINE: Duration = Duration::from_secs(5);
/// Sockets in TIME_WAIT that may be left when memory is read, and how long that may take.
const TIME_WAIT_MAX: u64 = 64;
const TIME_WAIT_DEADLINE: Duration = Duration::from_secs(90);

/// A server and its clients.
pub(crate) struct Stage {
    /// Before the peer: clients go first, by a reset, and nobody remembers them.
    pub(crate) fleet: Fleet,
    pub(crate) peer: Box<dyn Peer>,
    pub(crate) environment: Environment,
    happened: Vec<Event>,
}

impl Stage {
    /// Starts the peer; nobody is connected yet.
    ///
    /// # Errors
    /// When the peer does not start or the rings cannot be opened.
    pub(crate) fn open(
        name: &Name,
        setting: &Setting,
        content_bytes: usize,
    ) -> anyhow::Result<Self> {
        let environment = Environment::look()?;
        let started = peer::start(name, setting);
        let mut peer = started.with_context(|| NotStarted(name.to_string()))?;
        peer.admit(0..setting.clients)?;
        let fleet = Fleet::open(setting.clients, peer.dialect(), peer.address(), content_bytes)?;
        Ok(Self { peer, fleet, environment, happened: Vec::new() })
    }

    /// Connects these clients and waits until all are signed in.
    ///
    /// # Errors
    /// When one is refused, or nothing happens for [`PATIENCE`].
    pub(crate) fn sign_in(&mut self, clients: Range<u32>) -> anyhow::Result<()> {
        self.bring(clients, &What::Ready)
    }

    /// Connects these clients and waits until each has told `wanted`.
    ///
    /// # Errors
    /// As [`Stage::sign_in`].
    pub(crate) fn bring(&mut self, clients: Range<u32>, wanted: &What) -> anyhow::Result<()> {
        let mut progress = Progress::new("signed in", u64::from(clients.end - clients.start));
        let (mut next, mut there, mut on_the_way) = (clients.start, 0, 0usize);
        while there < clients.end - clients.start {
            while on_the_way < SIGNING_IN_MAX && next < clients.end {
                self.fleet.connect(next);
                (next, on_the_way) = (next + 1, on_the_way + 1);
            }
            for event in self.turn()? {
                match event.what {
                    what if what == *wanted && clients.contains(&event.client) => {
                        (there, on_the_way) = (there + 1, on_the_way - 1);
                    }
                    What::NotConnected(errno) => bail!("client {}: {errno}", event.client),
                    What::Closed => bail!("client {} was closed at sign-in", event.client),
                    What::Refused(why) => bail!("client {}: {why}", event.client),
                    _ => {}
                }
            }
            progress.at(u64::from(there));
        }
        Ok(())
    }

    /// Closes these clients and waits until they are closed.
    ///
    /// # Errors
    /// When nothing happens for [`PATIENCE`].
    pub(crate) fn send_away(&mut self, clients: Range<u32>) -> anyhow::Result<()> {
        let mut left = 0;
        for client in clients {
            if self.fleet.stands(client) {
                self.fleet.close(client);
                left += 1;
            }
        }
        while left > 0 {
            left -= self.turn()?.iter().filter(|event| event.what == What::Closed).count();
        }
        Ok(())
    }

    /// Turns until something has happened.
    ///
    /// # Errors
    /// When nothing happens for [`PATIENCE`].
    pub(crate) fn turn(&mut self) -> anyhow::Result<Vec<Event>> {
        let begun = Instant::now();
        let mut happened = std::mem::take(&mut self.happened);
        while happened.is_empty() {
            self.fleet.turn(NAP, &mut happened);
            ensure!(
                begun.elapsed() < PATIENCE || !happened.is_empty(),
                "nothing came from {} for {} s",
                self.peer.name(),
                PATIENCE.as_secs()
            );
        }
        Ok(happened)
    }

    /// Begins to measure, once the server has done with what came before: one that keeps users
    /// still stores them when they are long signed in.
    ///
    /// # Errors
    /// When the server is gone, or `/proc` has an unknown form.
    pub(crate) fn begin(&self) -> anyhow::Result<Reading> {
        let busy = || processor_time(self.peer.process_id());
        let begun = Instant::now();
        let mut before = busy()?;
        while begun.elapsed() < REST_DEADLINE {
            thread::sleep(REST_POLL);
            let now = busy()?;
            if now.saturating_sub(before) < REST_POLL.mul_f64(REST_SHARE) {
                break;
            }
            before = now;
        }
        Reading::begin(self.peer.as_ref(), self.fleet.counters().enters)
    }

    /// What was spent since then.
    ///
    /// # Errors
    /// As [`Stage::begin`].
    pub(crate) fn spent(&self, since: &Reading) -> anyhow::Result<Spent> {
        since.spent(self.peer.as_ref(), self.fleet.counters().enters)
    }

    /// A report with what is known of every run.
    pub(crate) fn run(&self, scenario: &str, shape: String) -> Run {
        Run {
            scenario: scenario.to_owned(),
            peer: self.peer.name().to_owned(),
            promise: self.peer.promise().words().to_owned(),
            shape,
            connections: u64::from(self.fleet.clients()),
            environment: self.environment.clone(),
            ..Run::default()
        }
    }
}

/// Puts in what `messages` cost.
pub(crate) fn with_costs(mut run: Run, messages: u64, spent: &Spent) -> Run {
    let count = messages as f64;
    let wall = spent.wall.as_secs_f64();
    run.messages = messages;
    run.messages_per_server_cpu_second = Some(count / spent.server.as_secs_f64());
    run.messages_per_second = Some(count / wall);
    run.enters_per_message = spent.enters.map(|enters| enters as f64 / count);
    run.server_core_share = Some(spent.server.as_secs_f64() / wall);
    run.generator_core_share = Some(spent.own.as_secs_f64() / wall);
    run.notes.push(format!(
        "generator: {:.4} io_uring_enter per message",
        spent.own_enters as f64 / count
    ));
    run
}

/// Waits until closed connections have left the kernel, which would count their remains.
///
/// # Errors
/// When they do not.
pub(crate) fn until_nothing_lingers() -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string("/proc/net/sockstat")?;
        let lingering = time_wait(&text).context("an unknown form of /proc/net/sockstat")?;
        if lingering <= TIME_WAIT_MAX {
            return Ok(());
        }
        ensure!(begun.elapsed() < TIME_WAIT_DEADLINE, "{lingering} sockets stay in TIME_WAIT");
        thread::sleep(Duration::from_millis(500));
    }
}

fn time_wait(sockstat: &str) -> Option<u64> {
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = tcp.split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::time_wait;

    #[test]
    fn sockets_in_time_wait_are_found_by_name() {
        let text = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 42 alloc 6 mem 1\nUDP: inuse 0\n";
        assert_eq!(time_wait(text), Some(42));
        assert_eq!(time_wait("TCP: inuse 5"), None);
    }
}
