//! The buffer ring: receive buffers that all connections of a ring set share, so that none
//! belongs to an idle one.
//!
//! A buffer is with the kernel (between `publish` and the completion that names it) or with user
//! space (from that completion until `give_back`). Memory is allocated once and freed only when
//! the kernel can no longer write to it, see [`crate::kernel`].
//!
//! ```text
//!   entries   [ addr len bid | addr len bid | ... ]   power of two; the tail lives in entry 0
//!   memory    [ buffer 0     | buffer 1     | ... ]   id * buffer_bytes
//! ```

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::config::{OpenError, RingConfig};
use crate::uring::Uring;

/// The only buffer group of a ring.
pub(crate) const BUFFER_GROUP: u16 = 0;
/// The kernel maps the entries by pages.
const PAGE_BYTES: usize = 4_096;

/// A block of page-aligned, zeroed memory, resident from the start: what a worker takes is there
/// at boot, and no page fault stands in the way of a first message.
struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

impl Region {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, PAGE_BYTES)
            .expect("sizes of a checked configuration fit an allocation");
        // SAFETY: the layout has a size above zero, as `RingConfig::check` demands.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        for offset in (0..bytes).step_by(PAGE_BYTES) {
            // SAFETY: the offset is below the size of the allocation.
            let page = unsafe { start.as_ptr().add(offset) };
            // SAFETY: inside the allocation, which nobody else knows yet. Volatile, because
            // writing a zero over a zero would else be left out.
            unsafe { page.write_volatile(0) };
        }
        Self { start, layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

pub(crate) struct BufferRing {
    entries: Region,
    memory: Region,
    count: u16,
    buffer_bytes: u32,
    /// Where the next buffer goes; published to the kernel by `publish`.
    tail: u16,
    /// Buffers with user space; for the assertion that each goes back once.
    lent: u16,
}

impl BufferRing {
    /// Registers the ring and hands it all buffers.
    pub(crate) fn register(uring: &Uring, config: &RingConfig) -> Result<Self, OpenError> {
        let count = config.buffers;
        let entries = Region::new(usize::from(count) * size_of::<BufRingEntry>());
        let memory = Region::new(usize::from(count) * config.buffer_bytes as usize);
        // SAFETY: `entries` has room for `count` entries, is page-aligned, and stays allocated
        // until the ring is gone: `Kernel` drops it only after it has unregistered it.
        let registered = unsafe {
            uring.submitter().register_buf_ring_with_flags(
                entries.start.as_ptr() as u64,
                count,
                BUFFER_GROUP,
                0,
            )
        };
        registered.map_err(|error| OpenError::of("the buffer ring", &error))?;
        let buffer_bytes = config.buffer_bytes;
        let mut ring = Self { entries, memory, count, buffer_bytes, tail: 0, lent: count };
        (0..count).for_each(|id| ring.give_back(id));
        ring.publish();
        Ok(ring)
    }

    /// The kernel has put bytes into this buffer and named it in a completion.
    pub(crate) fn borrow(&mut self, id: u16, bytes: usize) -> &mut [u8] {
        self.lent += 1;
        assert!(self.lent <= self.count, "a buffer is taken once before it goes back");
        assert!(bytes <= self.buffer_bytes as usize, "the kernel stays inside a buffer");
        let start = self.buffer(id);
        // SAFETY: `buffer` checked that the id lies inside `memory`, `bytes` was checked above.
        // Neither the kernel nor another borrow touches it before `give_back` and `publish`, which need
        // `&mut self` and so cannot happen while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) }
    }

    /// Puts the buffer back in line; the kernel sees it after `publish`.
    pub(crate) fn give_back(&mut self, id: u16) {
        assert!(self.lent > 0, "only a buffer that was taken goes back");
        self.lent -= 1;
        let start = self.buffer(id);
        let position = usize::from(self.tail & (self.count - 1));
        let entries = self.entries.start.cast::<BufRingEntry>();
        // SAFETY: `position` is below `count`, for which `entries` has room.
        let entry = unsafe { entries.add(position) };
        // SAFETY: the entry lies inside `entries`, zeroed memory is a valid entry, and between
        // head and tail the kernel only reads other ones. The reference ends with this call.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    pub(crate) fn publish(&mut self) {
        let entries = self.entries.start.cast::<BufRingEntry>();
        // SAFETY: `entries` is the start of the registered ring, whose first entry is initialised
        // (zeroed at least).
        let tail = unsafe { BufRingEntry::tail(entries.as_ptr()) };
        // SAFETY: the tail is an aligned u16 inside `entries`, written only here; the kernel
        // reads it with acquire.
        let tail = unsafe { &*tail.cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn buffer(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count, "buffer ids come from this ring");
        // SAFETY: `memory` holds `count` buffers of `buffer_bytes`, and `id` is below `count`.
        unsafe { self.memory.start.add(usize::from(id) * self.buffer_bytes as usize) }
    }
}
