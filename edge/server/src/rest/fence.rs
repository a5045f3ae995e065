//! A fence before history reads: what was `sent` is in history.
//!
//! The applier runs behind the journal. A read takes the last durable position, has the applier
//! run at once, waits until it has passed, and only then looks into the store.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringpost_shard::Position;
use tokio::sync::oneshot;

/// How long a read waits for the applier; then 503.
pub const FENCE_DEADLINE: Duration = Duration::from_secs(1);

/// Reads that may wait at one time.
const WAITERS_MAX: usize = 1_024;

/// Where the journal and the applier are.
pub trait Fence: Send + Sync {
    /// The last record that is durable: everything acknowledged is at or before it.
    fn durable_position(&self) -> Position;

    /// Has the applier run at once, and answers when it has passed `position`. A dropped sender
    /// means that it will not: too many wait, or it has stopped.
    fn passed(&self, position: Position) -> oneshot::Receiver<()>;
}

/// The fence over two numbers that the journal thread and the applier raise.
pub struct Progress {
    durable: AtomicU64,
    applied: AtomicU64,
    waiting: Mutex<Vec<(Position, oneshot::Sender<()>)>>,
    kick: Box<dyn Fn(Position) + Send + Sync>,
}

impl Progress {
    /// A fence at `start`, where recovery has ended. `kick` has the applier run up to a position
    /// at once; it must not block.
    pub fn new(start: Position, kick: impl Fn(Position) + Send + Sync + 'static) -> Self {
        Self {
            durable: AtomicU64::new(start.0),
            applied: AtomicU64::new(start.0),
            waiting: Mutex::new(Vec::new()),
            kick: Box::new(kick),
        }
    }

    /// The journal has made everything up to `position` durable. Called before anybody is told.
    pub fn on_durable(&self, position: Position) {
        self.durable.fetch_max(position.0, SeqCst);
    }

    /// The store shows everything up to `position`.
    pub fn on_applied(&self, position: Position) {
        self.applied.fetch_max(position.0, SeqCst);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, waiter) in waiting.extract_if(.., |(until, _)| *until <= position) {
            // A reader that has given up has dropped its receiver.
            let _ = waiter.send(());
        }
    }

    /// Nothing more will be applied: everybody who waits is told.
    pub fn on_stopped(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Fence for Progress {
    fn durable_position(&self) -> Position {
        Position(self.durable.load(SeqCst))
    }

    fn passed(&self, position: Position) -> oneshot::Receiver<()> {
        let (waiter, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Asked under the lock: `on_applied` raises the number first and then takes it.
            if self.applied.load(SeqCst) >= position.0 {
                let _ = waiter.send(());
                return receiver;
            }
            if waiting.len() >= WAITERS_MAX {
                waiting.retain(|(_, waiter)| !waiter.is_closed());
            }
            if waiting.len() < WAITERS_MAX {
                waiting.push((position, waiter));
            }
        }
        (self.kick)(position);
        receiver
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_read_waits_until_the_applier_has_passed_and_kicks_it() {
        let kicked = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&kicked);
        let progress = Progress::new(Position(3), move |to| seen.store(to.0, SeqCst));
        assert_eq!(progress.passed(Position(3)).try_recv(), Ok(()));
        assert_eq!(kicked.load(SeqCst), 0, "nothing to do, nobody kicked");
        progress.on_durable(Position(7));
        assert_eq!(progress.durable_position(), Position(7));
        let mut waits = progress.passed(Position(7));
        assert_eq!(kicked.load(SeqCst), 7);
        progress.on_applied(Position(6));
        assert!(waits.try_recv().is_err());
        progress.on_applied(Position(8));
        assert_eq!(waits.try_recv(), Ok(()));
    }

    #[test]
    fn too_many_readers_and_a_stopped_applier_are_told() {
        let progress = Progress::new(Position(0), |_| {});
        let mut kept: Vec<_> = (0..WAITERS_MAX).map(|_| progress.passed(Position(1))).collect();
        let mut refused = progress.passed(Position(1));
        assert_eq!(refused.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        // Readers who gave up make room.
        kept.truncate(WAITERS_MAX / 2);
        let mut taken = progress.passed(Position(1));
        assert_eq!(taken.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        progress.on_stopped();
        assert_eq!(taken.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
