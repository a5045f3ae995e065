//! The counters of a ring set. Plain integers: one thread writes, and copies them out to whoever
//! exports metrics.

use std::ops::AddAssign;

/// Number of bounds of [`Sizes`].
const BOUNDS: usize = 14;

/// Upper bounds of its buckets: none, then powers of two up to 4,096.
pub const SIZE_BOUNDS: [f64; BOUNDS] = {
    let mut bounds = [0.0; BOUNDS];
    let mut index = 1;
    while index < BOUNDS {
        bounds[index] = (1_u64 << (index - 1)) as f64;
        index += 1;
    }
    bounds
};

/// How many of something there were at a time: a histogram of one owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Per bucket, not added up; the last is beyond every bound.
    pub buckets: [u64; BOUNDS + 1],
    /// All of them.
    pub sum: u64,
}

impl Sizes {
    /// Counts so many that came at a time.
    pub(crate) fn observe(&mut self, size: u64) {
        // None is bucket 0, one is bucket 1, two is bucket 2, up to four bucket 3, ...
        let bucket = match size {
            0 => 0,
            _ => (u64::BITS - (size - 1).leading_zeros()) as usize + 1,
        };
        self.buckets[bucket.min(BOUNDS)] += 1;
        self.sum += size;
    }

    /// How often was counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl AddAssign for Sizes {
    fn add_assign(&mut self, other: Self) {
        for (bucket, count) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += count;
        }
        self.sum += other.sum;
    }
}

/// What a ring set has done since it was opened. Every counter only grows; the gauges do not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Those of them that were ready to wait for completions.
    pub waits: u64,
    /// Submission queue entries that the kernel took, by call that it did not put off.
    pub submissions: Sizes,
    /// Completion queue entries that were read.
    pub completions: u64,
    /// Those of them that a turn found which was ready to wait, by turn.
    pub completions_per_wait: Sizes,
    /// Enters that were made only because the submission queue was full.
    pub submission_queue_full: u64,
    /// Enters that the kernel refused for the moment (EAGAIN, EBUSY); retried on the next turn.
    pub enters_refused: u64,
    /// Turns that found the completion queue overflown. Nothing is lost, but it is slow.
    pub completion_queue_overflows: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections dropped because no slot was free.
    pub accepts_refused: u64,
    /// Multishot accepts armed again after the kernel had ended them.
    pub accept_re_arms: u64,
    /// Connections taken in from the process.
    pub admitted: u64,
    /// Connections of the process that got no slot.
    pub admits_failed: u64,
    /// Connections made to others.
    pub connected: u64,
    /// Connections to others that did not come about.
    pub connects_failed: u64,
    /// Receives that found the buffer ring empty (ENOBUFS).
    pub buffer_starvations: u64,
    /// Receives armed again after the kernel had ended them (starvation, overflow).
    pub receive_re_arms: u64,
    /// Bytes received and reported.
    pub received_bytes: u64,
    /// Bytes that arrived for a slot which was being closed, and were discarded.
    pub discarded_bytes: u64,
    /// Bytes that the kernel took from sends.
    pub sent_bytes: u64,
    /// Sends that the kernel took only in part.
    pub short_sends: u64,
    /// Sends refused because the socket buffer was full (EAGAIN).
    pub blocked_sends: u64,
    /// Operations that ended because they were cancelled.
    pub cancelled: u64,
    /// Cancels repeated because the operation could not be found at that moment.
    pub cancel_retries: u64,
    /// Completions of an earlier generation of their slot.
    pub stale_completions: u64,
    /// Slots closed.
    pub closed: u64,
    /// Slots that came from another ring set.
    pub moved_in: u64,
    /// Slots that went to another ring set.
    pub moved_out: u64,
    /// Moves that failed.
    pub moves_failed: u64,
    /// Slots found occupied without an announcement, and closed.
    pub reclaimed: u64,
    /// Peer addresses that had to be read from an installed descriptor.
    pub peer_address_fallbacks: u64,
    /// Wakes sent to other ring sets.
    pub wakes_sent: u64,
    /// Wakes that the kernel refused; the target is gone.
    pub wakes_failed: u64,
    /// Wakes received from other ring sets.
    pub wakes_received: u64,
    /// Wakes received through the eventfd.
    pub event_wakes: u64,
    /// Wakes by parking rings, through the eventfd that they share.
    pub parking_wakes: u64,
    /// Gauge: operations that the kernel holds now.
    pub in_flight: u64,
    /// Gauge: rings, the main one included.
    pub rings: u64,
    /// Gauge: slots in use on parking rings, moves on their way included.
    pub parked: u64,
}

impl RingStats {
    /// Adds what another ring of the set has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        macro_rules! add {
            ($($counter:ident)*) => {
                // Taken apart, so that a counter that is new is not forgotten.
                let &Self { $($counter),* } = other;
                $(self.$counter += $counter;)*
            };
        }
        add! {
            enters waits submissions completions completions_per_wait submission_queue_full enters_refused
            completion_queue_overflows accepted accepts_refused accept_re_arms admitted admits_failed connected
            connects_failed buffer_starvations receive_re_arms received_bytes
            discarded_bytes sent_bytes short_sends blocked_sends cancelled cancel_retries
            stale_completions closed moved_in moved_out moves_failed reclaimed
            peer_address_fallbacks wakes_sent wakes_failed wakes_received event_wakes
            parking_wakes in_flight rings parked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_falls_into_the_first_bucket_that_holds_it() {
        for size in [0, 1, 2, 3, 4, 5, 8, 9, 4_096] {
            let mut sizes = Sizes::default();
            sizes.observe(size);
            let bucket = sizes.buckets.iter().position(|&count| count == 1);
            let expected = SIZE_BOUNDS.iter().position(|bound| size as f64 <= *bound);
            assert_eq!((bucket, sizes.count(), sizes.sum), (expected, 1, size), "{size}");
        }
        let mut beyond = Sizes::default();
        beyond.observe(4_097);
        beyond.observe(u64::from(u32::MAX));
        beyond += beyond;
        assert_eq!((beyond.buckets[BOUNDS], beyond.count()), (4, 4));
    }
}
