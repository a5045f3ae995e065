//! What the store must have before a user may be read: the last record that touched the user while
//! it was not resident. A user who is resident knows that record itself.
//!
//! Without it each read would wait for the last record handed here, whomever that touched, and the
//! applier would be kicked for it: where most users are away, as among millions they are, it would
//! never gather. A table of fixed size, by the hash of the user: two who share a place wait for each
//! other's records, which costs a moment and nothing else.

use ringpost_wire::UserId;

use crate::home::KeyedHash;
use crate::record::Position;

/// Places. Many more than records that are handed and not yet applied, so that few share one.
const PLACES: usize = 1 << 14;

/// Bytes of the table.
pub(crate) const AWAY_BYTES: u64 = (PLACES * size_of::<Position>()) as u64;

/// The last record that touched each user who was away.
#[derive(Debug)]
pub(crate) struct Away {
    last: Box<[Position]>,
    hash: KeyedHash,
}

impl Away {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self { last: vec![Position(0); PLACES].into(), hash }
    }

    /// A record that touches the user was handed here, and the user is not resident.
    pub(crate) fn touch(&mut self, user: UserId, position: Position) {
        self.last[self.place(user)] = position;
    }

    /// A read of the user misses nothing once the store has this.
    pub(crate) fn last(&self, user: UserId) -> Position {
        self.last[self.place(user)]
    }

    fn place(&self, user: UserId) -> usize {
        self.hash.of(&user.0) as usize % PLACES
    }
}
