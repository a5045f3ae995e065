//! The rings of a worker: the fake ones, which a dead process cannot reach any more.

use ringpost_ring::fake::{FakeHandle, FakeRing};
use ringpost_ring::{Completion, MoveToken, ReceiveMode, RingStats, Rings, SendBuffer, Slot, Wait};

use crate::fuse::Fuse;
use crate::plant::Plant;

/// A [`FakeRing`] that burns the process's fuse.
pub(crate) struct SimRings {
    inner: FakeRing,
    fuse: Fuse,
    plant: Option<Plant>,
}

impl SimRings {
    /// Rings of a process.
    pub(crate) fn new(inner: FakeRing, fuse: Fuse, plant: Option<Plant>) -> Self {
        Self { inner, fuse, plant }
    }
}

/// Passes operations on as long as the process lives.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&mut self, $($argument: $type),*) {
            if self.fuse.burn() {
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
        move_out(slot: Slot, to: &FakeHandle, token: MoveToken);
        reclaim_unannounced();
    }

    fn wake(&mut self, to: &FakeHandle) {
        if self.plant != Some(Plant::LoseWake) && self.fuse.burn() {
            self.inner.wake(to);
        }
    }

    fn submit_and_wait(&mut self, wait: Wait, on_completion: impl FnMut(Completion<'_>)) {
        if self.fuse.burn() {
            self.inner.submit_and_wait(wait, on_completion);
        }
    }

    fn stats(&self) -> RingStats {
        self.inner.stats()
    }
}
