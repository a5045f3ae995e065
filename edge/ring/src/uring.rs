//! One io_uring: set-up, the submission queue with a backlog behind it, and `io_uring_enter`.
//!
//! Owns the mapping of the queues and the registered ring descriptor. Does not know what is
//! submitted. Flags (see io_uring_setup(2)):
//! - SINGLE_ISSUER and DEFER_TASKRUN: one thread, and completions are produced only inside our
//!   own enters, in batches. The ring must stay on the thread that opened it, hence `!Send`.
//! - TASKRUN_FLAG: without it an enter that does not wait would not produce completions.
//! - SUBMIT_ALL: one bad entry does not hold back those behind it.
//! - NO_SQARRAY: one indirection less.
//!
//! `io_uring_enter` is called directly: the crate's submitter forgets the registered descriptor
//! as soon as it is dropped.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, squeue};
use nix::errno::Errno;

use crate::buffers::BUFFER_GROUP;
use crate::config::{OpenError, RingConfig};
use crate::rings::{Sleep, Wait};
use crate::stats::RingStats;

/// `IORING_REGISTER_RING_FDS` of io_uring_register(2).
const REGISTER_RING_FDS: u32 = 20;
/// Enters of a parking ring in a row: one, and again if work came meanwhile. What comes after that
/// waits for the next turn.
const HUSHED_ENTERS_MAX: usize = 2;
/// How long completions of sends wait for company. If they ended the sleep of the call that submits
/// them, each turn that sends would be followed by one that finds nothing else. It must not be long:
/// a send for which the socket had no room is seen only then.
const SENDS_GRACE: Duration = Duration::from_micros(50);
/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

pub(crate) struct Uring {
    ring: IoUring,
    /// Index of the registered ring descriptor, or the descriptor itself.
    enter_fd: RawFd,
    enter_flags: EnterFlags,
    has_min_wait: bool,
    /// Entries for which the submission queue had no room and the kernel took none. Bounded by
    /// the operations that a slot can have at a time.
    backlog: VecDeque<squeue::Entry>,
    /// The last enter for completions has left deferred work to the next.
    left_work: bool,
    /// SINGLE_ISSUER binds the ring to its thread.
    not_send: PhantomData<*mut ()>,
}

impl Uring {
    /// Opens a ring for the calling thread.
    pub(crate) fn open(config: &RingConfig) -> Result<Self, OpenError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_no_sqarray()
            .setup_cqsize(config.completion_entries)
            .dontfork()
            .build(config.submission_entries)
            .map_err(|error| OpenError::of("io_uring_setup", &error))?;
        let mut enter_flags = EnterFlags::empty();
        enter_flags.set(EnterFlags::NO_IOWAIT, ring.params().is_feature_no_iowait());
        let has_min_wait = ring.params().is_feature_min_timeout();
        let mut uring = Self {
            enter_fd: ring.as_raw_fd(),
            ring,
            enter_flags,
            has_min_wait,
            backlog: VecDeque::new(),
            left_work: false,
            not_send: PhantomData,
        };
        uring.register_ring_fd();
        Ok(uring)
    }

    /// Saves a descriptor look-up per enter. A thread has 16 of these, so it may fail; the plain
    /// descriptor works too.
    fn register_ring_fd(&mut self) {
        let raw = self.ring.as_raw_fd();
        let mut update = ResourceUpdate { offset: u32::MAX, reserved: 0, data: raw as u64 };
        // SAFETY: the kernel reads and writes one `io_uring_rsrc_update` during the call; `update`
        // has its layout and outlives the call.
        let registered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                raw,
                REGISTER_RING_FDS,
                &raw mut update,
                1u32,
            )
        };
        if registered == 1 {
            self.enter_fd = update.offset as RawFd;
            self.enter_flags.insert(EnterFlags::REGISTERED_RING);
        }
    }

    /// Registers an empty table of direct descriptors: as many as wanted and as the kernel takes.
    pub(crate) fn register_slots(&mut self, wanted: u32) -> Result<u32, OpenError> {
        let mut slots = wanted;
        // Ends: each round halves the table, down to one slot.
        loop {
            match self.ring.submitter().register_files_sparse(slots) {
                Ok(()) => return Ok(slots),
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) && slots > 1 => slots /= 2,
                Err(error) => return Err(OpenError::of("the table of direct descriptors", &error)),
            }
        }
    }

    pub(crate) fn has_min_wait(&self) -> bool {
        self.has_min_wait
    }

    pub(crate) fn submitter(&self) -> Submitter<'_> {
        self.ring.submitter()
    }

    /// A descriptor of this ring that lives on its own.
    pub(crate) fn duplicate_fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the descriptor is open as long as `self.ring`, which outlives this call.
        let fd = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        fd.try_clone_to_owned()
    }

    /// Queues an operation. Never refuses: what finds no room waits in order.
    ///
    /// # Safety
    ///
    /// All memory and descriptors that the entry names must stay valid until its last completion,
    /// or until this ring is dropped if it never had one.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry, stats: &mut RingStats) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(entry);
            return;
        }
        // SAFETY: the caller vouches for the entry.
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return;
        }
        stats.submission_queue_full += 1;
        // One enter, which runs no deferred work: what is answered to it is for the next turn, whose
        // enter does. A refusal is counted in there; the entry then waits for that turn too.
        let _ = self.enter(0, None, stats);
        // SAFETY: the caller vouches for the entry.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    /// Makes room in the submission queue for the backlog, as far as the kernel takes entries.
    fn submit_backlog(&mut self, stats: &mut RingStats) {
        // Ends: each round but the last takes some, and nothing is added meanwhile.
        while !self.backlog.is_empty() {
            self.refill();
            let is_done = self.backlog.is_empty();
            if is_done || self.enter(0, None, stats).is_none_or(|taken| taken == 0) {
                return;
            }
        }
    }

    fn refill(&mut self) {
        let mut queue = self.ring.submission();
        // Ends: each round takes an entry out of the backlog, or is the last.
        while let Some(entry) = self.backlog.pop_front() {
            // SAFETY: whoever put the entry into the backlog through `push` vouched for it.
            if unsafe { queue.push(&entry) }.is_err() {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Submits everything, then sleeps as `wait` allows, past the completions of `sends`, which come
    /// within the call. Skips the system call when there is nothing to submit, nothing to wait for
    /// and nothing to collect.
    pub(crate) fn submit_and_wait(&mut self, wait: Wait, sends: u32, stats: &mut RingStats) {
        self.submit_backlog(stats);
        let timeout;
        let mut args = SubmitArgs::new();
        if let Sleep::AtMost(duration) = wait.sleep {
            timeout = Timespec::from(duration);
            args = args.timespec(&timeout);
        }
        let want = completions_wanted(wait.sleep, sends, self.has_min_wait);
        if want > 1 {
            args = args.min_wait_usec(SENDS_GRACE.as_micros() as u32);
        }
        let queue = self.ring.submission();
        if want > 0 || !queue.is_empty() || queue.taskrun() || queue.cq_overflow() {
            let queued = queue.len() as u32;
            drop(queue);
            // ETIME and EINTR end a sleep as completions do; refusals are counted in there.
            let taken = self.enter(want, Some(&args), stats);
            if taken.is_none_or(|taken| taken < queued) {
                // The kernel returns at the first entry that it does not take, without a look at
                // what is ready. That may be what it needs to go on.
                self.collect(stats);
            }
            self.left_work = self.ring.submission().taskrun();
        }
    }

    /// Runs deferred work, and takes over what has overflown, without submitting anything.
    fn collect(&mut self, stats: &mut RingStats) {
        let _ = self.enter_with(0, 0, Some(&SubmitArgs::new()), stats);
    }

    /// Has an eventfd written when work comes to this ring while it has none.
    pub(crate) fn ring_on_work(&mut self, bell: BorrowedFd<'_>) -> Result<(), OpenError> {
        let registered = self.ring.submitter().register_eventfd(bell.as_raw_fd());
        registered.map_err(|error| OpenError::of("an eventfd of a ring", &error))
    }

    /// Submits everything without sleeping, and without the eventfd for what completes meanwhile;
    /// true if there is something to collect. Costs no system call when there is nothing to do.
    pub(crate) fn submit_hushed(&mut self, stats: &mut RingStats) -> bool {
        for _ in 0..HUSHED_ENTERS_MAX {
            let queue = self.ring.submission();
            let rests = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
            drop(queue);
            if rests && self.backlog.is_empty() {
                break;
            }
            self.ring.completion().disable_eventfd();
            self.submit_and_wait(Wait::POLL, 0, stats);
            self.ring.completion().enable_eventfd();
            // Work that came while the bell was held down is seen now; what comes later rings.
            fence(Ordering::SeqCst);
        }
        let (_, queue, completions) = self.ring.split();
        queue.taskrun() || !completions.is_empty()
    }

    /// The last enter for completions has left deferred work.
    pub(crate) fn left_work(&self) -> bool {
        self.left_work
    }

    /// Completions that can be taken now.
    pub(crate) fn ready(&mut self) -> usize {
        self.ring.completion().len()
    }

    /// The completion queue has overflown: the kernel keeps the rest in order and hands it over
    /// in the next enter.
    pub(crate) fn has_overflown(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// The kernel has taken every entry.
    pub(crate) fn all_submitted(&mut self) -> bool {
        self.backlog.is_empty() && self.ring.submission().is_empty()
    }

    /// Gives up the slots and the buffer ring, which would otherwise live as long as the last
    /// descriptor of this ring.
    pub(crate) fn unregister(&mut self) {
        // Neither fails for a ring that registered both; the kernel frees them at the latest with
        // the ring.
        let _ = self.ring.submitter().unregister_files();
        let _ = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
    }

    /// Takes completions out of the queue.
    pub(crate) fn fill<'a>(
        &mut self,
        batch: &'a mut [MaybeUninit<cqueue::Entry>],
    ) -> &'a mut [cqueue::Entry] {
        self.ring.completion().fill(batch)
    }

    /// Submits everything; how many entries were taken, `None` if the kernel refuses.
    fn enter(
        &mut self,
        want: u32,
        args: Option<&SubmitArgs<'_, '_>>,
        stats: &mut RingStats,
    ) -> Option<u32> {
        let to_submit = self.ring.submission().len() as u32;
        self.enter_with(to_submit, want, args, stats)
    }

    fn enter_with(
        &mut self,
        to_submit: u32,
        want: u32,
        args: Option<&SubmitArgs<'_, '_>>,
        stats: &mut RingStats,
    ) -> Option<u32> {
        let mut flags = self.enter_flags;
        let (pointer, bytes) = match args {
            Some(args) => {
                // GETEVENTS runs the deferred work that produces completions.
                flags.insert(EnterFlags::EXT_ARG | EnterFlags::GETEVENTS);
                (std::ptr::from_ref(args), size_of::<SubmitArgs<'_, '_>>())
            }
            None => (std::ptr::null(), 0),
        };
        stats.enters += 1;
        stats.waits += u64::from(want > 0);
        // SAFETY: the descriptor is this ring's. `args` (with the timespec inside) is null or
        // outlives the call. Whoever pushed the entries vouched for what they name.
        let taken = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_fd,
                to_submit,
                want,
                flags.bits(),
                pointer,
                bytes,
            )
        };
        if taken >= 0 {
            stats.submissions.observe(taken as u64);
            return Some(taken as u32);
        }
        let errno = Errno::last();
        match errno {
            // Nothing was to submit, and the sleep ended early.
            Errno::ETIME | Errno::EINTR => {
                stats.submissions.observe(0);
                Some(0)
            }
            // Out of memory for requests, or the completion queue must be drained first.
            Errno::EAGAIN | Errno::EBUSY | Errno::ENOMEM => {
                stats.enters_refused += 1;
                None
            }
            _ => panic!("io_uring_enter with valid arguments does not fail with {errno}"),
        }
    }
}

/// Completions that end a sleep: one beside those of so many sends. Where the kernel knows no grace
/// (`min_wait`, Linux 6.12) the first of any kind does: a wait for several could last for ever.
fn completions_wanted(sleep: Sleep, sends: u32, has_grace: bool) -> u32 {
    match sleep {
        Sleep::No => 0,
        Sleep::AtMost(duration) if duration.is_zero() => 0,
        Sleep::AtMost(_) | Sleep::Forever if has_grace => 1 + sends,
        Sleep::AtMost(_) | Sleep::Forever => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_goes_past_its_own_sends_and_a_look_never_sleeps() {
        let brief = Sleep::AtMost(Duration::from_millis(1));
        for (sleep, sends, has_grace, wanted) in [
            (Sleep::Forever, 0, true, 1),
            (Sleep::Forever, 3, true, 4),
            (brief, 3, true, 4),
            (Sleep::Forever, 3, false, 1),
            (brief, 3, false, 1),
            (Sleep::No, 3, true, 0),
            (Sleep::AtMost(Duration::ZERO), 3, true, 0),
        ] {
            assert_eq!(completions_wanted(sleep, sends, has_grace), wanted, "{sleep:?}, {sends}");
        }
    }
}
