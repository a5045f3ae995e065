//! How far a user has the messages of each sender, and has read them.
//!
//! A cursor never moves back and none is written twice: a second device that acks behind the
//! first, or a client that reports `read` again, costs no record and shows the sender nothing.
//! What this needs is here: the cursors of every sender of whom a queue of the user holds a
//! message, because only what is queued can be acked. They come with the user's image; a message
//! that joins a queue later lies above all cursors of its direction. A `read` of what no queue holds
//! brings its sender's cursor with it from the store.
//!
//! ```text
//!   raise ──> raised > durable (a record is on the way) ──fold──> raised = durable
//!                                       forgotten once no queue holds anything of the sender <──┘
//! ```
//! Invariants: one per (sender, status); `durable <= raised`; one that is on the way stays.

use std::collections::BTreeMap;

use ringpost_wire::event::Status;
use ringpost_wire::{ServerId, UserId};

/// Cursors that are kept without being needed, so that few events look for those to forget.
const SPARE_MAX: usize = 32;

/// A node of the map holds so many at least, unless it is the only one, and so many at most.
const NODE_LEN: (usize, usize) = (5, 11);

/// Whose messages, and which of their two cursors.
type Direction = (UserId, Status);

#[derive(Clone, Copy, Default, Debug)]
struct Cursor {
    /// By durable records; nil: as far as is known here, nothing.
    durable: ServerId,
    /// With the record that is on the way.
    raised: ServerId,
}

/// The cursors of a resident user.
#[derive(Default, Debug)]
pub(crate) struct Cursors {
    known: BTreeMap<Direction, Cursor>,
    /// How many were needed when it was last looked.
    needed: usize,
    /// How often some were forgotten.
    forgettings: u32,
}

impl Cursors {
    /// The cursors of an image.
    pub(crate) fn from_image(image: &[(UserId, Status, ServerId)]) -> Self {
        let cursor = |&(sender, status, id)| ((sender, status), Cursor { durable: id, raised: id });
        Self { known: image.iter().map(cursor).collect(), needed: image.len(), forgettings: 0 }
    }

    /// Heap bytes, at most.
    pub(crate) fn heap_bytes(&self) -> usize {
        let (least, most) = NODE_LEN;
        let nodes = match self.known.len() {
            len if len <= most => usize::from(len > 0),
            len => len.div_ceil(least),
        };
        nodes * most * size_of::<(Direction, Cursor)>()
    }

    /// Whether `id` lies above the cursor; then a record that moves it there is on the way.
    pub(crate) fn raise(&mut self, sender: UserId, status: Status, id: ServerId) -> bool {
        let cursor = self.known.entry((sender, status)).or_default();
        let rises = cursor.raised < id;
        cursor.raised = cursor.raised.max(id);
        rises
    }

    /// A durable record moves the cursor.
    pub(crate) fn fold(&mut self, sender: UserId, status: Status, id: ServerId) {
        let cursor = self.known.entry((sender, status)).or_default();
        cursor.durable = cursor.durable.max(id);
        cursor.raised = cursor.raised.max(id);
    }

    /// How often some were forgotten: what the store was asked before that is asked again.
    pub(crate) const fn forgettings(&self) -> u32 {
        self.forgettings
    }

    /// Whether so many are here that [`forget`](Self::forget) is worth a look at the queues.
    pub(crate) fn are_many(&self) -> bool {
        self.known.len() > 2 * self.needed + SPARE_MAX
    }

    /// Forgets those at rest of senders who are not needed.
    pub(crate) fn forget(&mut self, is_needed: impl Fn(UserId) -> bool) {
        self.known.retain(|&(sender, _), it| it.raised > it.durable || is_needed(sender));
        self.needed = self.known.len();
        self.forgettings = self.forgettings.wrapping_add(1);
    }

    /// Those that durable records moved, as far as they are known here.
    pub(crate) fn to_image(&self) -> Vec<(UserId, Status, ServerId)> {
        let durable = self.known.iter().filter(|(_, it)| !it.durable.is_nil());
        durable.map(|(&(sender, status), it)| (sender, status, it.durable)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: UserId = UserId([1; 16]);
    const LOW: ServerId = ServerId([1; 16]);
    const HIGH: ServerId = ServerId([2; 16]);

    #[test]
    fn a_cursor_moves_up_only_and_each_status_has_its_own() {
        let mut cursors = Cursors::from_image(&[(ONE, Status::Delivered, HIGH)]);
        assert!(!cursors.raise(ONE, Status::Delivered, HIGH));
        assert!(!cursors.raise(ONE, Status::Delivered, LOW));
        assert!(cursors.raise(ONE, Status::Read, LOW));
        assert!(!cursors.raise(ONE, Status::Read, LOW), "a record is on the way");
        assert!(cursors.raise(ONE, Status::Read, HIGH));
        cursors.fold(ONE, Status::Read, LOW);
        assert!(!cursors.raise(ONE, Status::Read, HIGH), "so is the other");
        let image = cursors.to_image();
        assert_eq!(image, [(ONE, Status::Delivered, HIGH), (ONE, Status::Read, LOW)]);
    }

    #[test]
    fn what_is_at_rest_and_not_needed_is_forgotten_and_nothing_else() {
        let mut cursors = Cursors::default();
        let senders: Vec<_> = (1..=60).map(|number| UserId([number; 16])).collect();
        for &sender in &senders {
            cursors.raise(sender, Status::Delivered, LOW);
        }
        for &sender in &senders[1..] {
            cursors.fold(sender, Status::Delivered, LOW);
        }
        assert!(cursors.are_many());
        cursors.forget(|sender| sender == senders[1]);
        assert!(!cursors.are_many());
        assert_eq!(cursors.known.len(), 2);
        assert!(!cursors.raise(senders[0], Status::Delivered, LOW), "on the way");
        assert!(!cursors.raise(senders[1], Status::Delivered, LOW), "needed");
        assert!(cursors.raise(senders[2], Status::Delivered, LOW), "forgotten");
    }
}
