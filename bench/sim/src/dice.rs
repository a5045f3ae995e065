//! The one source of chance. Each part of the world has its own, split off from the seed, so that
//! a change in one part leaves the choices of the others as they were.

use ringpost_ring::fake::Chance;

/// A stream of choices.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Chance);

impl Dice {
    /// Dice of a seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    /// The next 64 bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0.number()
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is something to choose from");
        self.roll() % bound
    }

    /// A place in a list of `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True once in so many times; never for 0.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Other dice, for another part of the world.
    pub(crate) fn split(&mut self) -> Self {
        Self::new(self.roll())
    }
}
