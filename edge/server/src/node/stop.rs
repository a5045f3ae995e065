//! Stopping a node in order, past whoever does not come along.
//!
//! A worker that does not end in its time is left behind, named: everything acknowledged is in the
//! journal, which is flushed all the same. What takes too long behind that is ended by the process
//! (`signals`), which is told here what is waited for.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use ringpost_conn::Letter;
use ringpost_store::thread::StopError;

use super::driver::Command;
use super::{Node, WorkerThread};
use crate::exit::{Failure, Kind};
use crate::signals::{Doing, Failing};

/// How long the store may take to persist at a stop.
const STORE_STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How long clients have to leave a node that can do no more good, at most.
const FAILED_DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// How long behind the drain deadline a worker may end: it looks at the clock ten times a second.
const WORKER_GRACE: Duration = Duration::from_secs(1);

/// What a stop may take behind the drain deadline: the last workers, the flush of the journal, the
/// store, what REST still answers.
const BEHIND_DRAIN: Duration = Duration::from_secs(25);

/// Time between two looks at whether a worker has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Node {
    /// The longest that a stop may take. Whoever told it to stop need not wait longer.
    pub fn stop_max(&self) -> Duration {
        self.config.drain_deadline + BEHIND_DRAIN
    }

    /// Has this told when the node can do no more good: it is then to be stopped by
    /// [`Node::stop_failed`].
    pub fn watch_ending(&self, failing: Failing) {
        self.ending.watch(failing);
    }

    /// Ends a node that can do no more good, as [`Node::stop`] does, but soon; answers why it could not
    /// go on.
    ///
    /// # Panics
    /// If nothing has failed.
    pub fn stop_failed(mut self, doing: &Doing) -> Failure {
        let ending = Arc::clone(&self.ending);
        let failure = ending.reason().expect("it was told that a part has failed");
        tracing::error!(error = %failure, "stopping: there is nothing to serve any more");
        let drain = &mut self.config.drain_deadline;
        *drain = (*drain).min(FAILED_DRAIN_DEADLINE);
        if let Err(other) = self.stop(doing) {
            tracing::warn!(error = %other, "what was found on the way out");
        }
        failure
    }

    /// Tells every client to leave, waits for them, makes everything durable and ends. Says in
    /// `doing` what it waits for.
    ///
    /// # Errors
    /// If a worker did not end, the journal had failed, or the store is damaged or late. A disk that
    /// takes no writes is none: the journal then keeps what the store lacks.
    pub fn stop(self, doing: &Doing) -> Result<(), Failure> {
        let deadline = Instant::now() + self.config.drain_deadline;
        self.readiness.refuse("draining", "the server was told to stop");
        doing.set("workers");
        for worker in &self.workers {
            // A worker that is stuck reads neither; others find the command without the letter.
            let _ = worker.mailbox.offer(Letter::Drain { within: self.config.drain_deadline });
            // A worker that has ended already has nothing to stop.
            let _ = worker.commands.send(Command::StopWhenDrained { deadline });
            worker.mailbox.wake();
        }
        let workers = join_all(self.workers, deadline + WORKER_GRACE);
        doing.set("journal");
        let journal = self.journal.stop();
        self.progress.on_stopped();
        doing.set("store");
        let store = self.store.stop(STORE_STOP_DEADLINE);
        doing.set("rest");
        drop(self.watch);
        if let Some(rest) = Arc::into_inner(self.rest) {
            rest.stop();
        }
        workers?;
        journal.map_err(|error| Failure::new(Kind::JournalFailed, anyhow!("{error}")))?;
        match store {
            // All is in the journal, which is flushed: the next start reads it from there.
            Err(StopError::Store(error)) if error.may_pass() => {
                tracing::warn!(
                    %error,
                    "the store could not write down what it had in memory: the next start reads it \
                     from the journal, and needs room to write it"
                );
                Ok(())
            }
            store => store.map_err(|error| Failure::new(Kind::Storage, error)),
        }
    }
}

/// Waits for all workers until the deadline.
fn join_all(workers: Vec<WorkerThread>, deadline: Instant) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for (number, worker) in workers.into_iter().enumerate() {
        // Ends: at the deadline. A round is one sleep.
        while !worker.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
        let ended = if worker.thread.is_finished() {
            worker.thread.join().map_err(|_| "panicked")
        } else {
            tracing::error!(worker = number, "a worker is stuck and left behind");
            Err("did not end")
        };
        if let Err(what) = ended {
            outcome = Err(Failure::new(Kind::Internal, anyhow!("worker-{number} {what}")));
        }
    }
    outcome
}
