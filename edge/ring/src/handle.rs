//! What other threads hold of a ring set: a name for wakes and moves, and a bell for threads
//! without a ring.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::sleep::WakeOnce;

/// Names a ring set to the other workers. Sends to a ring set that is gone fail; the handle does
/// not keep its connections alive.
#[derive(Debug, Clone)]
pub struct RingHandle {
    fd: Arc<OwnedFd>,
}

impl RingHandle {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd) }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
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
