//! What other threads hold of a ring set: a name for wakes and moves, and a bell for threads
//! without a ring.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bank::MAIN;
use crate::sleep::WakeOnce;

/// Names a ring set to the other workers. Sends to a ring set that is gone fail; the handle does
/// not keep its connections alive.
#[derive(Debug, Clone)]
pub struct RingHandle {
    doors: Arc<[Door]>,
}

/// One ring of a set, and how full its table is. Who moves a connection takes its place first, so
/// that a move costs no question.
#[derive(Debug)]
pub(crate) struct Door {
    fd: OwnedFd,
    slots: u32,
    /// Slots in use, and places taken by moves on their way. More than `slots` only while somebody
    /// asks in vain. A hint: the kernel's table decides, so no order of memory is needed.
    taken: AtomicU32,
}

impl RingHandle {
    pub(crate) fn new(doors: Arc<[Door]>) -> Self {
        Self { doors }
    }

    /// The main ring's descriptor, where a wake belongs.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.doors[MAIN].fd.as_raw_fd()
    }

    pub(crate) fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// Takes a place on the lowest ring that has one, for [`Door::leave`] or an arrival to give
    /// back. With no place anywhere the main ring is asked, whose kernel then says no.
    pub(crate) fn take_place(&self) -> usize {
        let door = self.doors.iter().position(|door| door.room() > 0).unwrap_or(MAIN);
        self.doors[door].enter();
        door
    }
}

impl Door {
    pub(crate) fn new(fd: OwnedFd, slots: u32) -> Self {
        Self { fd, slots, taken: AtomicU32::new(0) }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn room(&self) -> u32 {
        self.slots.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed).into()
    }

    pub(crate) fn enter(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "only a place that was taken is given back");
    }
}

/// Wakes a worker from any thread, through an eventfd that its ring reads.
///
/// Cheap to call often: between two looks of the worker only the first call writes. Push first,
/// then wake.
#[derive(Debug, Clone)]
pub struct EventWaker {
    bell: Arc<Bell>,
}

/// The eventfd and the flag that keeps it from being written twice.
#[derive(Debug)]
pub(crate) struct Bell {
    pub(crate) file: File,
    pub(crate) once: WakeOnce,
}

impl EventWaker {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { bell }
    }

    /// Makes the ring set report [`Completion::Woken`](crate::Completion::Woken).
    pub fn wake(&self) {
        if self.bell.once.raise() {
            let written = (&self.bell.file).write(&1u64.to_ne_bytes());
            // It fails only for a counter at its limit, which coalescing keeps near one.
            assert!(matches!(written, Ok(8)), "an eventfd below its limit takes eight bytes");
        }
    }
}
