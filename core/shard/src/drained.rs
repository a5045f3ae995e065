//! Lists that a burst makes long and that are empty most of the time: a user at rest holds no memory
//! for the busiest moment there was.

use std::collections::VecDeque;

/// A list keeps room for so many when it has drained: less than this is not worth asking for again.
const KEPT_CAPACITY: usize = 64;

/// Gives memory back once the list is empty.
pub(crate) trait Drained {
    fn give_back(&mut self);
}

impl<T> Drained for VecDeque<T> {
    fn give_back(&mut self) {
        if self.is_empty() && self.capacity() > KEPT_CAPACITY {
            *self = Self::new();
        }
    }
}

impl<T> Drained for Vec<T> {
    fn give_back(&mut self) {
        if self.is_empty() && self.capacity() > KEPT_CAPACITY {
            *self = Self::new();
        }
    }
}
