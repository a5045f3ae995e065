//! The moment of death: a process dies between any two of its effects.
//!
//! Whatever has an effect outside the process burns the fuse first. Once it has burnt down nothing
//! has an effect any more, however far the code above runs on.

use std::cell::Cell;
use std::rc::Rc;

/// Shared by all parts of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fuse(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    left: Cell<Option<u64>>,
    dead: Cell<bool>,
}

impl Fuse {
    /// The process dies before its effect number `effects` from now.
    pub(crate) fn light(&self, effects: u64) {
        self.0.left.set(Some(effects));
    }

    /// It will not die of this.
    pub(crate) fn put_out(&self) {
        self.0.left.set(None);
    }

    /// Asked before each effect: does it happen?
    pub(crate) fn burn(&self) -> bool {
        match self.0.left.get() {
            Some(0) => self.0.dead.set(true),
            left => self.0.left.set(left.map(|left| left - 1)),
        }
        !self.0.dead.get()
    }

    /// The process is dead.
    #[must_use]
    pub(crate) fn is_dead(&self) -> bool {
        self.0.dead.get()
    }
}
