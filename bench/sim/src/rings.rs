//! The rings of a worker: the fake ones, which a dead process cannot reach any more.

use std::os::fd::OwnedFd;

use ringpost_ring::fake::{FakeHandle, FakeRing};
use ringpost_ring::{Completion, MoveToken, ReceiveMode, RingStats, Rings, SendBuffer, Slot, Wait};

use crate::fact::Fact;
use crate::fuse::Fuse;
use crate::plant::Plant;
use crate::trace::Trace;

/// Rounds after which the planted fault of a turn that goes round gives up: the real one would not.
const ROUNDS_MAX: u64 = 1_000;

/// A [`FakeRing`] that burns the process's fuse and tells of each turn.
pub(crate) struct SimRings {
    inner: FakeRing,
    fuse: Fuse,
    plant: Option<Plant>,
    trace: Trace,
    /// Queued since the last turn.
    operations: u64,
}

impl SimRings {
    /// Rings of a process.
    pub(crate) fn new(inner: FakeRing, fuse: Fuse, plant: Option<Plant>, trace: Trace) -> Self {
        Self { inner, fuse, plant, trace, operations: 0 }
    }

    /// One look into the ring; whether a cancel has failed in it.
    fn enter(&mut self, wait: Wait, on_completion: impl FnMut(Completion<'_>)) -> bool {
        let before = self.inner.stats().cancel_retries;
        self.inner.submit_and_wait(wait, on_completion);
        self.inner.stats().cancel_retries > before
    }
}

/// Passes operations on as long as the process lives.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&mut self, $($argument: $type),*) {
            if self.fuse.burn() {
                self.operations += 1;
                self.inner.$name($($argument),*);
            }
        })*
    };
}

impl Rings for SimRings {
    type Handle = FakeHandle;

    fn handle(&self) -> FakeHandle {
        self.inner.handle()
    }

    fn slots(&self) -> u32 {
        self.inner.slots()
    }

    fn slots_in_use(&self) -> u32 {
        self.inner.slots_in_use()
    }

    pass_on! {
        pause_accept();
        resume_accept();
        close_listeners();
        poll_readable(slot: Slot);
        receive(slot: Slot, mode: ReceiveMode);
        stop_receive(slot: Slot);
        send(slot: Slot, buffer: SendBuffer);
        poll_writable(slot: Slot);
        shutdown_write(slot: Slot);
        close(slot: Slot);
        peer_address(slot: Slot);
        install(slot: Slot);
        admit(fd: OwnedFd, key: u32);
        move_out(slot: Slot, to: &FakeHandle, token: MoveToken);
        reclaim_unannounced();
    }

    fn wake(&mut self, to: &FakeHandle) {
        if self.plant != Some(Plant::LoseWake) && self.fuse.burn() {
            self.inner.wake(to);
        }
    }

    fn submit_and_wait(&mut self, wait: Wait, mut on_completion: impl FnMut(Completion<'_>)) {
        if !self.fuse.burn() {
            return;
        }
        let (mut enters, mut completions) = (0, 0);
        for _ in 0..ROUNDS_MAX {
            enters += 1;
            let has_failed = self.enter(wait, |completion| {
                completions += 1;
                on_completion(completion);
            });
            if self.plant != Some(Plant::RetryAtOnce) || !has_failed {
                break;
            }
        }
        let operations = std::mem::take(&mut self.operations);
        let slots = u64::from(self.inner.slots());
        self.trace.fact(Fact::Turned { enters, operations, completions, slots });
    }

    fn stats(&self) -> RingStats {
        self.inner.stats()
    }
}
