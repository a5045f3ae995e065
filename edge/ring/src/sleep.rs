//! The sleep protocol: how a worker falls asleep without missing work, and how others learn that
//! they must wake it.
//!
//! ```text
//!   worker                             pusher
//!   announce()                         push to the worker's queue
//!   look at every queue again          should_wake()?  -> wake (MSG_RING or eventfd)
//!   empty: enter the ring, sleep
//!   awake()
//! ```
//!
//! Both sides write, pass a sequentially consistent fence, then read what the other writes, so at
//! least one of them sees the other: the worker finds the work, or the pusher finds the worker
//! asleep. The queues between them need no ordering stronger than release and acquire.
//!
//! Model-checked by `tests/sleep_protocol_loom.rs`. The fences stand apart from the accesses
//! because loom models a SeqCst fence, but not a SeqCst access; all writes to a flag are swaps,
//! because between a swap and a plain store loom admits an order of modifications that the
//! memory model forbids. A swap per sleep costs nothing beside the system call.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Says whether a worker is asleep in its ring; shared by the worker and all who push to it.
#[derive(Debug, Default)]
pub struct SleepFlag {
    asleep: AtomicBool,
}

impl SleepFlag {
    /// A flag of a worker that is awake.
    #[must_use]
    pub fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// The worker intends to sleep. It must look at every queue once more after this call, and
    /// either sleep or call [`SleepFlag::awake`].
    pub fn announce(&self) {
        self.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// The worker is back: it came out of the ring, or found work on its second look.
    pub fn awake(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }

    /// Asked after a push: must the caller wake the worker? True for exactly one of several
    /// pushers that find it asleep, so one sleep costs one wake.
    ///
    /// Costs a fence, and a swap only if the worker sleeps.
    #[must_use]
    pub fn should_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }
}

/// Coalesces signals: between two looks of the worker, however many threads raise it, one writes
/// the eventfd.
#[derive(Debug, Default)]
pub struct WakeOnce {
    raised: AtomicBool,
}

impl WakeOnce {
    /// Nothing raised.
    #[must_use]
    pub fn new() -> Self {
        Self { raised: AtomicBool::new(false) }
    }

    /// Raises the signal; true if the caller is the one who must deliver it.
    #[must_use]
    pub fn raise(&self) -> bool {
        !self.raised.swap(true, Ordering::AcqRel)
    }

    /// The signal has arrived. Called before the queues are looked at: a swap, not a store, so
    /// that everything pushed before any coalesced [`WakeOnce::raise`] is visible.
    pub fn lower(&self) {
        self.raised.swap(false, Ordering::AcqRel);
    }
}
