//! The rings of a set: which of them a slot is on, where there is room, and how the one that
//! sleeps learns that another has something to report.
//!
//! A table of direct descriptors has at most RLIMIT_NOFILE entries, but a process may have many
//! tables. So where that limit is below what a worker is to hold, there are *parking rings* beside
//! the main one: the same operations on small queues. A connection stays on the ring where it
//! began; the lowest ring with room takes it, so few connections all live on the main ring.
//!
//! ```text
//!   slot index   0 ........ stride ........ 2 stride ......
//!   ring         [ main   ][ parking      ][ parking      ]
//!                    ^          |               |
//!                    +-- eventfd, read by main -+   a sleep is always in the main ring
//! ```
//!
//! - A parking ring has a small buffer group of its own: the kernel keeps a group's head with the
//!   ring, so two rings on one group would be given the same buffer twice. Bytes are consumed where
//!   they lie, as on the main ring; nothing is copied.
//! - The eventfd is written when work comes to a parking ring that had none, and is held down while
//!   the worker is in that ring anyway. Polling the ring's own descriptor loses wakes: a wake that
//!   comes from a ring makes a multishot poll one-shot.
//! - A parking ring costs a turn nothing until something was queued on it or it has rung.

use std::os::fd::AsFd;

use smallvec::SmallVec;

use crate::config::{OpenError, RingConfig};
use crate::handle::{Door, EventWaker, RingHandle};
use crate::kernel::{BATCH, Done, Kernel};
use crate::rings::{Slot, Wait};
use crate::stats::RingStats;

/// The ring that sleeps for all.
pub(crate) const MAIN: usize = 0;
/// Part of a table that accepting leaves alone while another ring has more room, because the
/// kernel accepts on before it hears that it should stop: of 20,000 slots more than a backlog.
const SPARE_DIVISOR: u32 = 4;

pub(crate) struct Bank {
    kernels: Vec<Kernel>,
    /// Slots of each ring.
    stride: u32,
    handle: RingHandle,
    /// Where connections are accepted.
    front: usize,
    /// Something was queued on a parking ring, or one has rung.
    due: bool,
}

impl Bank {
    /// Opens the rings for the calling thread.
    pub(crate) fn open(config: &RingConfig) -> Result<Self, OpenError> {
        config.check()?;
        let plan = config.plan()?;
        let (main, stride) = Kernel::open(config, plan.slots_each, 0)?;
        // The kernel may have granted fewer slots than there are files.
        let rings = plan.slots.div_ceil(stride).clamp(1, u32::from(config.rings_max));
        let mut kernels = vec![main];
        let parking = config.of_parking();
        for ring in 1..rings {
            let (kernel, slots) = Kernel::open(&parking, stride, ring * stride)?;
            if slots < stride {
                return Err(OpenError::UnequalTables);
            }
            kernels.push(kernel);
        }
        if let [main, parking @ ..] = kernels.as_mut_slice()
            && !parking.is_empty()
        {
            let bell = main.open_parking_bell()?;
            for kernel in parking {
                kernel.ring_on_work(bell.as_fd())?;
            }
        }
        let doors: Result<_, _> = kernels.iter().map(|kernel| kernel.door(stride)).collect();
        let handle = RingHandle::new(doors?);
        Ok(Self { kernels, stride, handle, front: MAIN, due: false })
    }

    /// Rings, the main one included.
    pub(crate) fn rings(&self) -> usize {
        self.kernels.len()
    }

    /// Slots of all rings.
    pub(crate) fn slots(&self) -> u32 {
        self.stride * self.kernels.len() as u32
    }

    pub(crate) fn event_waker(&self) -> EventWaker {
        self.kernels[MAIN].event_waker()
    }

    pub(crate) fn caps_receives(&self) -> bool {
        self.kernels[MAIN].caps_receives()
    }

    pub(crate) fn handle(&self) -> &RingHandle {
        &self.handle
    }

    pub(crate) fn main(&mut self) -> &mut Kernel {
        &mut self.kernels[MAIN]
    }

    /// The ring at this position, about to be used.
    pub(crate) fn ring(&mut self, ring: usize) -> &mut Kernel {
        self.due |= ring != MAIN;
        &mut self.kernels[ring]
    }

    /// The ring that the slot is on, about to be used.
    pub(crate) fn of(&mut self, slot: Slot) -> &mut Kernel {
        self.ring(self.position_of(slot))
    }

    /// Position of the ring that the slot is on.
    pub(crate) fn position_of(&self, slot: Slot) -> usize {
        (slot.index() / self.stride) as usize
    }

    /// Index of the slot that a ring calls `local`.
    pub(crate) fn index(&self, ring: usize, local: u32) -> u32 {
        ring as u32 * self.stride + local
    }

    /// Where connections are accepted.
    pub(crate) fn front(&self) -> usize {
        self.front
    }

    /// Accepts elsewhere if the front has little room and another ring much more; true if so.
    pub(crate) fn turn_front(&mut self) -> bool {
        let room = self.door(self.front).room();
        if room > self.stride / SPARE_DIVISOR {
            return false;
        }
        let roomier = self.handle.doors().iter().position(|door| door.room() / 2 > room);
        let any = || self.handle.doors().iter().position(|door| door.room() > 0);
        let Some(front) = roomier.or_else(|| if room == 0 { any() } else { None }) else {
            return false;
        };
        self.front = front;
        true
    }

    /// No slot of this ring is free.
    pub(crate) fn is_full(&self, ring: usize) -> bool {
        self.door(ring).room() == 0
    }

    /// A connection came to the ring without having asked for room.
    pub(crate) fn took_slot(&self, ring: usize) {
        self.door(ring).enter();
    }

    /// A place that was taken on the ring was not used.
    pub(crate) fn gave_place_back(&self, ring: usize) {
        self.door(ring).leave();
    }

    /// The slot is free again.
    pub(crate) fn released(&self, slot: Slot) {
        self.door(self.position_of(slot)).leave();
    }

    fn door(&self, ring: usize) -> &Door {
        &self.handle.doors()[ring]
    }

    /// Submits everything; sleeps in the main ring as `wait` allows, if no parking ring has
    /// anything to report.
    pub(crate) fn submit_and_wait(&mut self, wait: Wait) {
        let mut busy = false;
        if self.due {
            for kernel in &mut self.kernels[MAIN + 1..] {
                busy |= kernel.submit_hushed();
            }
        }
        self.main().submit_and_wait(if busy { Wait::POLL } else { wait });
    }

    /// A parking ring has work.
    pub(crate) fn has_rung(&mut self) {
        self.due = true;
        self.main().parking_bell_rang();
    }

    /// The parking rings are to be looked at in this turn; their work is done as far as it has
    /// come. What is queued on them from here on is for the next turn.
    pub(crate) fn begin_collecting(&mut self) -> bool {
        let due = std::mem::take(&mut self.due);
        if due {
            for kernel in &mut self.kernels[MAIN + 1..] {
                kernel.submit_hushed();
            }
        }
        due
    }

    /// Completions of a ring that can be taken now.
    pub(crate) fn ready(&mut self, ring: usize) -> usize {
        self.kernels[ring].ready()
    }

    /// Takes completions of a ring.
    pub(crate) fn take(&mut self, ring: usize, most: usize, batch: &mut SmallVec<[Done; BATCH]>) {
        self.kernels[ring].take(most, batch);
    }

    /// Counts a completion queue that has overflown.
    pub(crate) fn count_overflow(&mut self, ring: usize) {
        let kernel = &mut self.kernels[ring];
        if kernel.has_overflown() {
            kernel.stats.completion_queue_overflows += 1;
            self.due |= ring != MAIN;
        }
    }

    /// Shows the kernel the buffers that were given back.
    pub(crate) fn publish_buffers(&mut self, parking: bool) {
        let rings = if parking { self.kernels.len() } else { 1 };
        self.kernels[..rings].iter_mut().for_each(|kernel| kernel.buffers.publish());
    }

    /// The counters of all rings together.
    pub(crate) fn stats(&self) -> RingStats {
        let mut sum = RingStats::default();
        self.kernels.iter().for_each(|kernel| sum.add(&kernel.stats));
        sum.rings = self.kernels.len() as u64;
        sum.parked = self.handle.doors()[MAIN + 1..].iter().map(Door::taken).sum();
        sum
    }
}
