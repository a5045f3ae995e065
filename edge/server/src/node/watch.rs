//! Who is stuck: looks at every thread that others depend on, from outside.
//!
//! ```text
//!   worker     has it ended a turn since the last look? if not: wakes it, and looks again
//!   journal    is something on its way to the disk, and has nothing arrived since the last look?
//!   applier    does something wait for it, and has it done nothing since the last look?
//!   rest       has it run the task that the last look gave it?
//!   admin      the same
//! ```
//! A worker that sleeps is not stuck: it answers the wake. One that runs in circles, or waits for
//! something, does not. Who has not gone on for [`STUCK_AFTER`] is a reason against traffic in
//! `/readyz`, by name and for how long, a line in the log, and `ringpost_node_stuck_seconds`.
//!
//! Owns a thread that looks every [`LOOK_EVERY`]; at rest that is one wake of it and, every second
//! time, of each worker. Repairs nothing: what is stuck is a bug or a disk, and ends with the
//! process, which a stop ends in any case (`signals`); a supervisor is told every time that no worker is
//! stuck, and may end a server that does not say so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringpost_journal::JournalHandle;
use ringpost_store::thread::StoreHandle;
use tokio::runtime::Handle;

use super::mailbox::Mailbox;
use crate::metrics::{MetricSource, Samples};
use crate::readiness::Readiness;
use crate::supervisor;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who has not gone on for so long is stuck: three looks. A turn takes milliseconds, a sync of a
/// slow disk a second.
const STUCK_AFTER: Duration = Duration::from_secs(6);

/// The names of workers begin so.
const WORKER: &str = "worker-";

/// The name under which [`Readiness`] keeps who is stuck.
const REASON: &str = "stuck";

/// Counts what a thread has ended: the turns of a worker; or says that it has ended itself.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

/// The pulse of a worker that was told to stop and has. No worker lives for so many turns.
const ENDED: u64 = u64::MAX;

impl Pulse {
    /// A turn has ended. Costs one store to memory that the worker alone writes.
    pub(super) fn beat(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// The worker has done its part of a stop, and waits for nobody.
    pub(super) fn end(&self) {
        self.0.store(ENDED, Relaxed);
    }

    fn beats(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A thread that is watched, asked at each look: has it gone on since the last one, or nothing to
/// do?
pub(super) type GoesOn = Box<dyn FnMut() -> bool + Send>;

/// The names of the workers, for labels: they are as many as there are cores, made once.
pub(super) fn worker_names(count: usize) -> impl Iterator<Item = &'static str> {
    (0..count).map(|number| &*format!("{WORKER}{number}").leak())
}

/// A worker: it ends turns. One that has not may be asleep, and is woken for the next look. One that
/// has ended is done, however long others take for their part of a stop.
pub(super) fn worker(pulse: Arc<Pulse>, mailbox: Arc<Mailbox>) -> GoesOn {
    let mut seen = pulse.beats();
    Box::new(move || {
        let last = std::mem::replace(&mut seen, pulse.beats());
        let goes_on = last != seen || seen == ENDED;
        if !goes_on {
            mailbox.wake();
        }
        goes_on
    })
}

/// The journal's thread: what is on its way to the disk arrives. One that has failed has told so.
pub(super) fn journal(journal: JournalHandle) -> GoesOn {
    let mut seen = journal.durable_position();
    Box::new(move || {
        let last = std::mem::replace(&mut seen, journal.durable_position());
        last != seen || journal.is_idle() || journal.failure().is_some()
    })
}

/// The applier: what waits for it becomes less, or it tries again.
pub(super) fn applier(store: StoreHandle) -> GoesOn {
    let mut seen = store.stats();
    Box::new(move || {
        let last = std::mem::replace(&mut seen, store.stats());
        let done = |it: &ringpost_store::thread::ThreadStats| (it.batches, it.persists, it.retries);
        seen.backlog_bytes == 0 || done(&last) != done(&seen)
    })
}

/// The threads of a runtime: they run a task that they are given.
pub(super) fn runtime(runtime: Handle) -> GoesOn {
    let ran = Arc::new(AtomicU64::new(0));
    let mut given = 0;
    Box::new(move || {
        let goes_on = ran.load(Relaxed) == given;
        if goes_on {
            given += 1;
            let ran = Arc::clone(&ran);
            runtime.spawn(async move { ran.fetch_add(1, Relaxed) });
        }
        goes_on
    })
}

/// One of those who are watched.
struct Watched {
    name: &'static str,
    goes_on: GoesOn,
    /// When it was last seen to go on.
    at: Instant,
    ages: Arc<Ages>,
    position: usize,
}

/// For how long each is stuck, seconds; 0: it is not.
struct Ages(Vec<(&'static str, AtomicU64)>);

impl MetricSource for Ages {
    fn collect(&self, out: &mut Samples) {
        for (thread, seconds) in &self.0 {
            let help = "Time for which a thread has not gone on, 0 while it does.";
            let labels = [("thread", *thread)];
            out.gauge("ringpost_node_stuck_seconds", help, &labels, seconds.load(Relaxed) as i64);
        }
    }
}

/// The thread that looks. It ends when this is dropped.
pub(super) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts watching over these, by name; answers what they count, too.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        all: Vec<(&'static str, GoesOn)>,
        readiness: Arc<Readiness>,
    ) -> io::Result<(Self, Arc<dyn MetricSource>)> {
        let ages = Ages(all.iter().map(|(name, _)| (*name, AtomicU64::new(0))).collect());
        let ages = Arc::new(ages);
        let now = Instant::now();
        let mut watched: Vec<Watched> = (0..)
            .zip(all)
            .map(|(position, (name, goes_on))| Watched {
                name,
                goes_on,
                at: now,
                ages: Arc::clone(&ages),
                position,
            })
            .collect();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            // Ends: when the owner lets go. A round is one look.
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if look(&mut watched, &readiness, Instant::now()) {
                    supervisor::alive();
                }
            }
        })?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, ages))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there is a bug of a look, and has been told.
            let _ = thread.join();
        }
    }
}

/// Looks at all once; answers whether every worker goes on. Who waits for a disk is no reason for a
/// supervisor to start the server again: the disk would be the same.
fn look(watched: &mut [Watched], readiness: &Readiness, now: Instant) -> bool {
    let mut stuck = Vec::new();
    let mut workers_go_on = true;
    for it in watched {
        if let Some(age) = it.look(now) {
            workers_go_on &= !it.name.starts_with(WORKER);
            stuck.push(format!("{} has not gone on for {} s", it.name, age.as_secs()));
        }
    }
    if stuck.is_empty() {
        readiness.clear(REASON);
    } else {
        readiness.refuse(REASON, stuck.join("; "));
    }
    workers_go_on
}

impl Watched {
    /// For how long it is stuck.
    fn look(&mut self, now: Instant) -> Option<Duration> {
        let told = &self.ages.0[self.position].1;
        if (self.goes_on)() {
            self.at = now;
        }
        let age = now.saturating_duration_since(self.at);
        let is_stuck = age >= STUCK_AFTER;
        let seconds = if is_stuck { age.as_secs() } else { 0 };
        let was_stuck = told.swap(seconds, Relaxed) > 0;
        match (was_stuck, is_stuck) {
            (false, true) => tracing::error!(thread = self.name, seconds, "a thread is stuck"),
            (true, false) => tracing::info!(thread = self.name, "a thread goes on again"),
            _ => {}
        }
        is_stuck.then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn who_does_not_go_on_is_named_and_forgotten_when_it_does() {
        let goes_on = Arc::new(AtomicBool::new(false));
        let (seen, begin) = (Arc::clone(&goes_on), Instant::now());
        let ages = Arc::new(Ages(vec![("worker-1", AtomicU64::new(0))]));
        let mut watched = [Watched {
            name: "worker-1",
            goes_on: Box::new(move || seen.load(Relaxed)),
            at: begin,
            ages: Arc::clone(&ages),
            position: 0,
        }];
        let readiness = Readiness::default();
        for (after_s, stuck_s) in [(2, 0), (4, 0), (6, 6), (8, 8)] {
            let alive = look(&mut watched, &readiness, begin + Duration::from_secs(after_s));
            assert_eq!(alive, stuck_s == 0, "{after_s}");
            assert_eq!(readiness.is_ready(), stuck_s == 0, "{after_s}");
            assert_eq!(ages.0[0].1.load(Relaxed), stuck_s, "{after_s}");
        }
        let why = readiness.json()["reasons"][REASON].to_string();
        assert_eq!(why, r#""worker-1 has not gone on for 8 s""#);
        goes_on.store(true, Relaxed);
        assert!(look(&mut watched, &readiness, begin + Duration::from_secs(10)));
        assert!(readiness.is_ready());
        assert_eq!(ages.0[0].1.load(Relaxed), 0);
    }
}
