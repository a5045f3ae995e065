//! Connections that come from elsewhere in the process as ordinary descriptors: the way back of
//! `install`.
//!
//! A slot is reported only when the connection has its place; the descriptor is closed then, and the
//! slot alone keeps the connection. One that gets no place is given back.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::kernel::Done;
use crate::ring_set::RingSet;
use crate::rings::Completion;

impl RingSet {
    pub(crate) fn begin_admit(&mut self, fd: OwnedFd, key: u32) {
        // The kernel arms no poll for a file that is O_NONBLOCK: it would answer EAGAIN.
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_RDWR)).expect("a socket takes its flags");
        let ring = self.bank.handle().take_place();
        self.bank.ring(ring).admit(fd, key);
    }

    pub(crate) fn on_admit(
        &mut self,
        ring: usize,
        done: &Done,
        on: &mut impl FnMut(Completion<'_>),
    ) {
        let admitting = self.bank.ring(ring).take_admit(done.token);
        let key = admitting.key;
        // The kernel counts what it took: one, or none without a reason where there is one.
        match done.result {
            Ok(1) => {
                let slot = self.arrive(ring, admitting.place, on);
                self.bank.main().stats.admitted += 1;
                on(Completion::Admitted { slot, key });
            }
            Ok(_) | Err(_) => {
                let errno = done.result.err().unwrap_or(Errno::EBADF);
                self.bank.gave_place_back(ring);
                self.bank.main().stats.admits_failed += 1;
                fcntl(&admitting.fd, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
                    .expect("a socket takes O_NONBLOCK");
                on(Completion::AdmitFailed { fd: admitting.fd, key, errno });
            }
        }
    }
}
