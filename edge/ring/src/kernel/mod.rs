//! Operations, and the memory that they lend to the kernel.
//!
//! This is where soundness is argued. Whatever an operation names belongs to [`Kernel`]:
//! - send buffers, message headers and address buffers are put on the heap as [`Lent`], found
//!   again by the key in `user_data`, and taken back at that operation's last completion;
//! - the buffer ring is never freed while an operation is in flight;
//! - slots and listeners outlive their operations because [`RingSet`](crate::RingSet) closes
//!   them only after the last completion.
//!
//! `in_flight` counts operations without a last completion. Dropping cancels them and waits for
//! that count to fall to zero; if the kernel kept some (it should not), their memory is leaked
//! rather than freed under its hands.

mod admitting;
mod connecting;
mod operations;
#[cfg(test)]
mod tests;

use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{Probe, cqueue};
use nix::errno::Errno;
use slab::Slab;
use smallvec::SmallVec;

use self::admitting::AdmitInFlight;
use self::connecting::ConnectInFlight;
pub(crate) use self::connecting::Connecting;
use crate::buffers::BufferRing;
use crate::config::{OpenError, RingConfig};
use crate::handle::{Bell, Door, EventWaker, RingHandle};
use crate::rings::{Slot, Wait};
use crate::send_buffer::SendBuffer;
use crate::sleep::WakeOnce;
use crate::stats::RingStats;
use crate::token::{Kind, Token};
use crate::uring::Uring;

/// Bytes of the address buffer: a `sockaddr_in6`, the longest that a TCP socket has.
pub(crate) const ADDRESS_BYTES: usize = 28;
/// Completions that are taken out of the queue at a time.
pub(crate) const BATCH: usize = 64;
/// Sleeps that dropping may spend on the last completions, and the length of each.
const DROP_ROUNDS_MAX: u32 = 200;
const DROP_ROUND: Duration = Duration::from_millis(10);

/// A value on the heap that the kernel may read or write; not freed unless it is taken back.
/// A raw pointer, because a reference or a box would promise that nobody else writes.
struct Lent<T>(NonNull<T>);

impl<T> Lent<T> {
    fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Only after the last completion of the operation that names it, or if there was none.
    fn take_back(self) -> Box<T> {
        // SAFETY: made from a leaked box in `new`, and `self` is consumed, so it is taken once.
        unsafe { Box::from_raw(self.0.as_ptr()) }
    }
}

/// A send in flight. `message` points into `vectors`, which points into `buffer`.
struct SendInFlight {
    slot: Slot,
    buffer: SendBuffer,
    vectors: SmallVec<[libc::iovec; 4]>,
    message: MaybeUninit<libc::msghdr>,
}

struct PeerQuestion {
    slot: Slot,
    address: [u8; ADDRESS_BYTES],
}

struct MoveInFlight {
    slot: Slot,
    /// Keeps the target's descriptor open.
    to: RingHandle,
    /// Which of the target's rings.
    door: usize,
}

/// A completion, taken apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) token: Token,
    pub(crate) result: Result<u32, Errno>,
    /// The operation is still armed (`IORING_CQE_F_MORE`).
    pub(crate) more: bool,
    /// The buffer that was filled.
    pub(crate) buffer: Option<u16>,
    /// The socket has more to read.
    pub(crate) nonempty: bool,
}

/// A ring with everything that the kernel may touch on its behalf.
pub(crate) struct Kernel {
    uring: Uring,
    pub(crate) buffers: ManuallyDrop<BufferRing>,
    pub(crate) stats: RingStats,
    sends: Slab<Lent<SendInFlight>>,
    questions: Slab<Lent<PeerQuestion>>,
    moves: Slab<MoveInFlight>,
    connects: Slab<Lent<ConnectInFlight>>,
    admits: Slab<Lent<AdmitInFlight>>,
    /// Targets of wakes that have not been submitted yet.
    wake_targets: Vec<RingHandle>,
    /// Index of the first slot of this ring within its set.
    base: u32,
    bell: Arc<Bell>,
    bell_count: Option<Lent<u64>>,
    /// Of the parking rings, where there are some: written by the kernel.
    parking_bell: Option<(OwnedFd, Lent<u64>)>,
    /// Cap of one turn of a multishot receive; 0 where the kernel knows none.
    receive_turn_bytes: u32,
}

impl Kernel {
    /// Opens a ring for the calling thread, of a set in which its slots begin at `base`; says how
    /// many of the slots that are wanted it has.
    pub(crate) fn open(
        config: &RingConfig,
        slots_wanted: u32,
        base: u32,
    ) -> Result<(Self, u32), OpenError> {
        let mut uring = Uring::open(config)?;
        let slots = uring.register_slots(slots_wanted)?;
        let bell = Bell { file: new_eventfd()?.into(), once: WakeOnce::new() };
        let buffers = BufferRing::register(&uring, config)?;
        let mut kernel = Self {
            uring,
            buffers: ManuallyDrop::new(buffers),
            stats: RingStats::default(),
            sends: Slab::new(),
            questions: Slab::new(),
            moves: Slab::new(),
            connects: Slab::new(),
            admits: Slab::new(),
            wake_targets: Vec::new(),
            base,
            bell: Arc::new(bell),
            bell_count: None,
            parking_bell: None,
            receive_turn_bytes: 0,
        };
        if config.receive_turn_bytes > 0 && kernel.knows_receive_cap() {
            kernel.receive_turn_bytes = config.receive_turn_bytes;
        }
        if base == 0 {
            kernel.read_bell();
        }
        Ok((kernel, slots))
    }

    /// How others reach this ring, which has so many slots.
    pub(crate) fn door(&self, slots: u32) -> Result<Door, OpenError> {
        let fd = self.uring.duplicate_fd();
        let fd = fd.map_err(|error| OpenError::of("a handle of the ring", &error))?;
        Ok(Door::new(fd, slots))
    }

    /// Opens the eventfd that parking rings write and this ring reads.
    pub(crate) fn open_parking_bell(&mut self) -> Result<OwnedFd, OpenError> {
        let bell = new_eventfd()?;
        let own = bell.try_clone().map_err(|error| OpenError::of("eventfd", &error))?;
        self.parking_bell = Some((own, Lent::new(0)));
        self.read_parking_bell();
        Ok(bell)
    }

    /// As a parking ring: writes the bell when work comes while there is none.
    pub(crate) fn ring_on_work(&mut self, bell: BorrowedFd<'_>) -> Result<(), OpenError> {
        self.uring.ring_on_work(bell)
    }

    pub(crate) fn event_waker(&self) -> EventWaker {
        EventWaker::new(Arc::clone(&self.bell))
    }

    /// Whether multishot receives are capped.
    pub(crate) fn caps_receives(&self) -> bool {
        self.receive_turn_bytes > 0
    }

    /// Whether sends that are submitted with a sleep do not end it.
    pub(crate) fn sleeps_past_sends(&self) -> bool {
        self.uring.has_min_wait()
    }

    /// Operations that this crate submits and this kernel does not know.
    pub(crate) fn missing_operations(&self) -> Result<Vec<&'static str>, OpenError> {
        let mut probe = Probe::new();
        let probed = self.uring.submitter().register_probe(&mut probe);
        probed.map_err(|error| OpenError::of("the probe of operations", &error))?;
        let missing = operations::NEEDED.iter().filter(|(code, _)| !probe.is_supported(*code));
        Ok(missing.map(|(_, name)| *name).collect())
    }

    /// Submits everything that was pushed, and sleeps as `wait` allows. The sends among it are done
    /// when the sleep begins (they never wait for room), so they do not end it.
    pub(crate) fn submit_and_wait(&mut self, wait: Wait) {
        self.uring.submit_and_wait(wait, self.sends.len() as u32, &mut self.stats);
        if self.uring.all_submitted() {
            self.wake_targets.clear();
        }
    }

    /// As a parking ring: submits everything without sleeping or ringing; true if there is
    /// something to collect.
    pub(crate) fn submit_hushed(&mut self) -> bool {
        let collect = self.uring.submit_hushed(&mut self.stats);
        if self.uring.all_submitted() {
            self.wake_targets.clear();
        }
        collect
    }

    pub(crate) fn has_overflown(&mut self) -> bool {
        self.uring.has_overflown()
    }

    /// The last enter has left operations that are ready to the next one.
    pub(crate) fn has_deferred_work(&self) -> bool {
        self.uring.left_work()
    }

    /// Completions that can be taken now.
    pub(crate) fn ready(&mut self) -> usize {
        self.uring.ready()
    }

    /// Takes up to `most` completions out of the queue, at most [`BATCH`].
    pub(crate) fn take(&mut self, most: usize, batch: &mut SmallVec<[Done; BATCH]>) {
        let mut entries = [const { MaybeUninit::<cqueue::Entry>::uninit() }; BATCH];
        batch.clear();
        for entry in self.uring.fill(&mut entries[..most.min(BATCH)]) {
            let done = Done::of(entry);
            self.stats.completions += 1;
            if !done.more && is_counted(done.token.kind()) {
                self.stats.in_flight -= 1;
            }
            batch.push(done);
        }
    }

    /// The send of this completion, which was its last.
    pub(crate) fn take_send(&mut self, token: Token) -> (Slot, SendBuffer) {
        let send = self.sends.remove(token.key()).take_back();
        (send.slot, send.buffer)
    }

    /// The question of this completion, and the address that the kernel has written.
    pub(crate) fn take_question(&mut self, token: Token) -> (Slot, [u8; ADDRESS_BYTES]) {
        let question = self.questions.remove(token.key()).take_back();
        (question.slot, question.address)
    }

    /// The move of this completion: what moved, and the place that was taken for it.
    pub(crate) fn take_move(&mut self, token: Token) -> (Slot, RingHandle, usize) {
        let MoveInFlight { slot, to, door } = self.moves.remove(token.key());
        (slot, to, door)
    }

    /// The descriptor that an install has made.
    pub(crate) fn adopt(&mut self, fd: u32) -> OwnedFd {
        let fd = i32::try_from(fd).expect("a descriptor is a positive i32");
        // SAFETY: FIXED_FD_INSTALL has just made this descriptor for us; the completion that
        // names it is consumed, so nobody else adopts it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    /// The eventfd was read: lets it ring again, before the worker looks at its queues.
    pub(crate) fn bell_rang(&mut self) {
        self.bell.once.lower();
        self.read_bell();
    }

    /// The parking bell was read: lets it ring again.
    pub(crate) fn parking_bell_rang(&mut self) {
        self.stats.parking_wakes += 1;
        self.read_parking_bell();
    }

    /// Cancels everything and waits for it; true if the kernel holds nothing any more.
    fn wind_down(&mut self) -> bool {
        self.cancel_everything();
        let mut batch = SmallVec::new();
        for _ in 0..DROP_ROUNDS_MAX {
            let wait =
                if self.stats.in_flight > 0 { Wait::at_most(DROP_ROUND) } else { Wait::POLL };
            self.submit_and_wait(wait);
            let ready = self.ready();
            for _ in 0..ready.div_ceil(BATCH) {
                self.take(BATCH, &mut batch);
                for done in &batch {
                    self.discard(done);
                }
            }
            if ready == 0 && self.stats.in_flight == 0 {
                return true;
            }
        }
        false
    }

    fn discard(&mut self, done: &Done) {
        match (done.token.kind(), done.result) {
            (Kind::Send, _) => drop(self.take_send(done.token)),
            (Kind::PeerName, _) => drop(self.take_question(done.token)),
            (Kind::Move, result) => {
                let (_, to, door) = self.take_move(done.token);
                if result.is_err() {
                    to.doors()[door].leave();
                }
            }
            (Kind::Socket, _) => drop(self.take_connect(done.token)),
            (Kind::ConnectStep, result) => drop(self.connect_step_done(done.token, result)),
            (Kind::Admit, _) => drop(self.take_admit(done.token)),
            (Kind::Install | Kind::PeerInstall, Ok(fd)) => drop(self.adopt(fd)),
            _ => {}
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let quiet = self.wind_down();
        // Handles of this ring may outlive it: what it holds must not.
        self.uring.unregister();
        if quiet {
            // SAFETY: dropped once, here; the ring is unregistered and nothing is in flight, so
            // the kernel does not write to the buffers any more.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
            let parking = self.parking_bell.take().map(|(_, count)| count);
            for count in self.bell_count.take().into_iter().chain(parking) {
                drop(count.take_back());
            }
        }
    }
}

impl Done {
    fn of(entry: &cqueue::Entry) -> Self {
        let result = entry.result();
        Self {
            token: Token(entry.user_data()),
            result: u32::try_from(result).map_err(|_| Errno::from_raw(-result)),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
            nonempty: cqueue::sock_nonempty(entry.flags()),
        }
    }
}

/// Whether an operation has a last completion in every case. Cancels and wakes report only
/// failures; `Woken` and `MovedIn` are other rings' operations.
fn is_counted(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::CancelAccept
            | Kind::CancelInput
            | Kind::CancelOutput
            | Kind::CancelAll
            | Kind::Wake
            | Kind::Woken
            | Kind::MovedIn
    )
}

fn new_eventfd() -> Result<OwnedFd, OpenError> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(OpenError::of_errno("eventfd", Errno::last()));
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
