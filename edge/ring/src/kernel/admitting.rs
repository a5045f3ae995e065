//! Taking an ordinary descriptor into the table of slots, and what that lends to the kernel.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::opcode;

use super::{Kernel, Lent};
use crate::token::{Kind, Token};

/// `IORING_FILE_INDEX_ALLOC`: the kernel chooses a free place of the table.
const ANY_PLACE: i32 = -1;

/// A descriptor on its way into the table.
pub(super) struct AdmitInFlight {
    fd: OwnedFd,
    key: u32,
    /// Read by the kernel as the descriptor, overwritten with the place that it got.
    place: RawFd,
}

/// What came of it.
pub(crate) struct Admitting {
    /// The descriptor that was given; another reference to the same socket once that has a place.
    pub(crate) fd: OwnedFd,
    /// What the caller gave.
    pub(crate) key: u32,
    /// The place in this ring's own table, where it got one.
    pub(crate) place: u32,
}

impl Kernel {
    pub(crate) fn admit(&mut self, fd: OwnedFd, key: u32) {
        let place = fd.as_raw_fd();
        let admit = Lent::new(AdmitInFlight { fd, key, place });
        // SAFETY: the allocation is live and the kernel does not know it yet; nothing is read.
        let place = unsafe { &raw mut (*admit.as_ptr()).place };
        let entry = opcode::FilesUpdate::new(place.cast_const(), 1).offset(ANY_PLACE).build();
        let key = self.admits.insert(admit);
        // SAFETY: names one number and one descriptor of a `Lent`, which is taken back at the
        // completion.
        unsafe { self.push(entry, Token::of_key(Kind::Admit, key)) };
    }

    /// The descriptor of this completion, and its place if it got one.
    pub(crate) fn take_admit(&mut self, token: Token) -> Admitting {
        let AdmitInFlight { fd, key, place } = *self.admits.remove(token.key()).take_back();
        Admitting { fd, key, place: place.cast_unsigned() }
    }
}
