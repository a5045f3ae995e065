//! Which records this thread is at: what whoever handles a panic asks, to say what brought the
//! process down. One mark for each thread, set by whoever folds, decodes or stores records; it costs
//! two writes to memory of the thread.

use std::cell::Cell;

use crate::record::Position;

thread_local! {
    static AT_HAND: Cell<Option<Span>> = const { Cell::new(None) };
}

/// Records one behind the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The last record before them.
    pub after: Position,
    /// The last of them.
    pub through: Position,
}

impl Span {
    /// One record.
    ///
    /// # Panics
    /// If it is none: positions count from 1.
    pub const fn of(position: Position) -> Self {
        Self { after: Position(position.0 - 1), through: position }
    }

    /// The record, if it is one.
    pub const fn single(self) -> Option<Position> {
        if self.after.0 + 1 == self.through.0 { Some(self.through) } else { None }
    }
}

/// Does `work` with these records at hand. What was at hand before is so again afterwards, and not
/// after a panic: its handler runs before.
pub fn with<T>(span: Span, work: impl FnOnce() -> T) -> T {
    let before = AT_HAND.replace(Some(span));
    let done = work();
    AT_HAND.set(before);
    done
}

/// What this thread is at.
pub fn current() -> Option<Span> {
    AT_HAND.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_records_are_at_hand_and_then_none() {
        let many = Span { after: Position(3), through: Position(9) };
        assert_eq!(many.single(), None);
        with(many, || {
            with(Span::of(Position(7)), || {
                assert_eq!(current().and_then(Span::single), Some(Position(7)));
            });
            assert_eq!(current(), Some(many));
        });
        assert_eq!(current(), None);
    }
}
