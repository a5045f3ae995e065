//! Chance by seed: what of a run can be repeated is drawn from here, and from nothing else.
//!
//! The harm, sizes, recipients and habits of a run follow from its seed. What the kernel makes
//! of the threads does not, so a replay is alike, not the same. Source: splitmix64, Steele, Lea
//! and Flood, "Fast splittable pseudorandom number generators", 2014.

use std::ops::Range;

/// A stream of numbers that follows from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream with number `stream` of a run with this seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed);
        Self(mixed.number() ^ Self(stream).number())
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number of `range`, which must not be empty.
    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start)
    }

    /// True once in `n`, on average.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.number().is_multiple_of(n)
    }

    /// Bytes that repeat nothing.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.number().to_le_bytes());
        words.flatten().take(length).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn a_seed_repeats_itself_and_its_streams_differ() {
        let draw = |seed, stream| Chance::new(seed, stream).bytes(64);
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn numbers_keep_to_their_range() {
        let mut chance = Chance::new(7, 0);
        assert!((0..1000).all(|_| (100..600).contains(&chance.within(100..600))));
    }
}
