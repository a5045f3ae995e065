//! Deadlines of connections: a coarse timer wheel without an allocation per entry.
//!
//! Owns which key is due at which tick. Does not own what a key's deadline is for: a key that
//! expires is a *hint*. The owner looks at the real deadline, which may have moved on with every
//! byte that came, and schedules the key again if it is later. So a busy connection costs the
//! wheel nothing, and an idle one 8 bytes and one visit per horizon or deadline.
//!
//! ```text
//!    cursor: all ticks before it are empty
//!      |            one slot per tick; each the head of a list of keys
//!      v
//!   +-----+-----+-----+-   -+-----+
//!   | 403 | 404 | 405 | ... | 402 |   the last slot before the cursor is the farthest
//!   +--+--+-----+--+--+-   -+-----+
//!      |           |
//!      v           v
//!    key 7       key 12      links by index, both ways: a key leaves its list in O(1)
//!      |
//!    key 900
//! ```
//!
//! Invariants:
//! - A key is in at most one list.
//! - A key never expires before its deadline, but for one farther than the horizon from the
//!   earliest tick not yet polled: it expires at that horizon. Nor does it expire later than one
//!   tick behind its deadline, if the owner polls each tick.
//! - A key scheduled while others expire is not due before the coming tick, so that polling until
//!   `None` ends, whatever the owner answers. (After a jump of the clock by more than the horizon
//!   it may expire twice more.)
//! - Resident memory follows the largest key in use: the links are zero pages until touched.
//!
//! Time is a `Duration` since any fixed start of a monotonic clock, the same for all calls.

use std::time::Duration;

/// The grain of deadlines. The shortest deadline of a connection is some seconds.
pub const TICK: Duration = Duration::from_millis(250);

/// Slots of the wheel; one tick each. Its heads are 16 KiB.
const SLOTS: usize = 4096;

/// The farthest that a deadline can be ahead without an expiry in between: 17 minutes. Far beyond
/// the interval of heartbeats, so that a visit has a purpose.
pub const HORIZON: Duration = Duration::from_millis(TICK.as_millis() as u64 * (SLOTS as u64 - 1));

const TICK_NANOS: u64 = TICK.as_nanos() as u64;
const WORD_BITS: usize = u64::BITS as usize;

/// Marks a `before` link that names a slot, not a key.
const SLOT: u32 = 1 << 31;

/// Keys and slots by number in links. A key is stored as key + 1, so that zeroed links are free
/// ones.
const NONE: u32 = 0;

/// Neighbours of a key in its list; `BEFORE` is `NONE` only if the key is not in the wheel. An
/// array, because a vector of zeroed arrays is taken as zero pages.
type Links = [u32; 2];
const BEFORE: usize = 0;
const AFTER: usize = 1;

/// A timer wheel over the keys `0..keys_max`.
pub struct TimerWheel {
    links: Vec<Links>,
    /// First key + 1 of each slot, or `NONE`.
    heads: Box<[u32; SLOTS]>,
    /// One bit per slot that is not empty.
    occupied: [u64; SLOTS / WORD_BITS],
    /// The earliest tick that may hold a key.
    cursor: u64,
    /// The tick of the latest `now`; at least the cursor less one.
    present: u64,
}

impl TimerWheel {
    /// Keys must be below this.
    pub const KEYS_MAX: u32 = SLOT - 1;

    /// A wheel for the keys `0..keys_max`: 8 bytes of address space for each, resident once used.
    ///
    /// # Panics
    /// If `keys_max` is beyond [`Self::KEYS_MAX`].
    pub fn new(keys_max: u32, now: Duration) -> Self {
        assert!(keys_max <= Self::KEYS_MAX);
        let present = ticks_passed(now);
        Self {
            links: vec![[NONE; 2]; keys_max as usize],
            heads: Box::new([NONE; SLOTS]),
            occupied: [0; SLOTS / WORD_BITS],
            cursor: present,
            present,
        }
    }

    /// Bytes that a wheel for `keys_max` keys takes when all are used.
    pub const fn bytes(keys_max: u32) -> usize {
        size_of::<Self>() + size_of::<[u32; SLOTS]>() + keys_max as usize * size_of::<Links>()
    }

    /// Lets `key` expire at the first tick that is not before `at`, but in the coming tick at the
    /// earliest and [`HORIZON`] ahead at the latest. A deadline that it had is forgotten.
    ///
    /// # Panics
    /// If `key` is not below the `keys_max` of the wheel.
    pub fn schedule(&mut self, key: u32, at: Duration) {
        self.cancel(key);
        let farthest = self.cursor + SLOTS as u64 - 1;
        // After a jump of the clock by more than the wheel, the coming tick may be beyond the
        // farthest: the key then expires early, which the owner bears as it does the horizon.
        let tick = ticks_until(at).max(self.present + 1).min(farthest);
        let slot = slot(tick);
        let head = self.heads[slot];
        self.links[key as usize] = [SLOT | slot as u32, head];
        if head != NONE {
            self.links[place(head)][BEFORE] = key + 1;
        }
        self.heads[slot] = key + 1;
        self.occupied[slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
    }

    /// Takes `key` out, if it is in.
    ///
    /// # Panics
    /// If `key` is not below the `keys_max` of the wheel.
    pub fn cancel(&mut self, key: u32) {
        let [before, after] = std::mem::take(&mut self.links[key as usize]);
        if before == NONE {
            return;
        }
        if after != NONE {
            self.links[place(after)][BEFORE] = before;
        }
        if before & SLOT == 0 {
            self.links[place(before)][AFTER] = after;
            return;
        }
        let slot = (before & !SLOT) as usize;
        self.heads[slot] = after;
        if after == NONE {
            self.occupied[slot / WORD_BITS] &= !(1 << (slot % WORD_BITS));
        }
    }

    /// Whether `key` is in the wheel.
    ///
    /// # Panics
    /// If `key` is not below the `keys_max` of the wheel.
    pub fn is_scheduled(&self, key: u32) -> bool {
        self.links[key as usize][BEFORE] != NONE
    }

    /// Takes one expired key out, `None` if there is none at `now`. Constant work: the caller
    /// calls it as often as its budget allows, and goes on in its next turn.
    pub fn poll_expired(&mut self, now: Duration) -> Option<u32> {
        self.present = self.present.max(ticks_passed(now));
        self.skip_whole_turns();
        match self.earliest() {
            Some(tick) if tick <= self.present => {
                self.cursor = tick;
                let key = self.heads[slot(tick)] - 1;
                self.cancel(key);
                Some(key)
            }
            _ => {
                self.cursor = self.present + 1;
                None
            }
        }
    }

    /// When the next key expires, `None` if the wheel is empty. At or before `now` if the caller
    /// stopped polling at its budget.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.earliest().map(|tick| Duration::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// After a jump of the clock by several turns of the wheel every key is due. Leaves between one
    /// and two turns to catch up with: fewer and some would wait for a turn more.
    fn skip_whole_turns(&mut self) {
        let turns = self.present.saturating_sub(self.cursor) / SLOTS as u64;
        self.cursor += turns.saturating_sub(1) * SLOTS as u64;
    }

    /// The earliest tick that has a key: from the cursor's slot onwards, once round.
    fn earliest(&self) -> Option<u64> {
        let start = slot(self.cursor);
        let (first_word, first_bit) = (start / WORD_BITS, start % WORD_BITS);
        let words = self.occupied.len();
        // The first word is looked at twice: its bits from the start on, and at the end the rest.
        for round in 0..=words {
            let word = (first_word + round) % words;
            let bits = match round {
                0 => self.occupied[word] & (u64::MAX << first_bit),
                _ => self.occupied[word],
            };
            if bits != 0 {
                let slot = word * WORD_BITS + bits.trailing_zeros() as usize;
                return Some(self.cursor + ((slot + SLOTS - start) % SLOTS) as u64);
            }
        }
        None
    }
}

fn slot(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

/// The index of the key that a link names.
fn place(link: u32) -> usize {
    link as usize - 1
}

/// Whole ticks in `now`.
fn ticks_passed(now: Duration) -> u64 {
    nanos(now) / TICK_NANOS
}

/// Ticks until `at` has come.
fn ticks_until(at: Duration) -> u64 {
    nanos(at).div_ceil(TICK_NANOS)
}

/// Nanoseconds, at most 584 years: `Duration::MAX` means "never".
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
