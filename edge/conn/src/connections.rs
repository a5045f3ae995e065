//! The table of a worker's connections, indexed by slot.
//!
//! A slot's index is dense and reused; its generation tells one use from the next, so that a late
//! completion or letter for an earlier connection finds nothing.
//!
//! ```text
//!   places   [ chunk of 1,024 | chunk | - | chunk ]     a place: Free | Idle (12 bytes) | Awake ──► Connection
//! ```
//! Who looks for a connection at rest wakes it; it is then on the list of those to be looked at
//! at the end of the turn, and laid to rest again when nothing is under way for it.

use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::event::ConnectionKey;

use crate::connection::{Connection, key};
use crate::idle::Idle;

/// Places that are allocated together: a table that doubles would hold up to twice what is used.
const CHUNK: usize = 1024;

/// What stands at an index: a ping reads and writes it and nothing else that stays of a connection.
/// It lies in one cache line.
#[derive(Debug, Default)]
#[repr(align(16))]
enum Place {
    #[default]
    Free,
    Idle(Idle),
    Awake(Box<Connection>),
}

const _: () = assert!(size_of::<Place>() == 16, "a connection at rest costs what it says");
const _: () =
    assert!(align_of::<Place>() == size_of::<Place>(), "no place lies in two cache lines");

/// Of fixed size, so that a place in it is found without a look at its bounds.
type Chunk = [Place; CHUNK];

/// A connection that is looked at and not woken.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    /// At rest.
    Idle(Idle),
    /// With something under way.
    Awake(&'a Connection),
}

impl Seen<'_> {
    /// When the client last said anything (monotonic).
    pub(crate) fn heard_at(&self) -> Duration {
        match self {
            Self::Idle(idle) => idle.heard_at(),
            Self::Awake(connection) => connection.heard_at,
        }
    }

    /// When the credential ends (monotonic).
    pub(crate) fn expires_at(&self) -> Duration {
        match self {
            Self::Idle(idle) => idle.expires_at(),
            Self::Awake(connection) => connection.expires_at,
        }
    }
}

/// All connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    chunks: Vec<Option<Box<Chunk>>>,
    len: usize,
    awake: usize,
    /// Connections that may be at rest by the end of the turn; each as often as something happened
    /// to it in this turn.
    stirred: Vec<Slot>,
}

impl Connections {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many of them are not at rest.
    pub(crate) fn awake(&self) -> usize {
        self.awake
    }

    /// Indices for which the table has places.
    pub(crate) fn places(&self) -> usize {
        self.chunks.iter().flatten().count() * CHUNK
    }

    /// Heap bytes of the table, and of the connections that are not at rest.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Option<Box<Chunk>>>()
            + self.places() * size_of::<Place>()
            + self.awake * size_of::<Connection>()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a connection in.
    ///
    /// # Panics
    /// If its slot is taken: the ring reuses a slot only after it reported it closed.
    pub(crate) fn insert(&mut self, connection: Connection) {
        let (chunk, at) = position(connection.slot.index());
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, || None);
        }
        let chunk = self.chunks[chunk].get_or_insert_with(free_chunk);
        let free = matches!(chunk[at], Place::Free);
        assert!(free, "a slot is reused only after its connection was removed");
        chunk[at] = Place::Awake(Box::new(connection));
        self.len += 1;
        self.awake += 1;
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Box<Connection>> {
        self.find(slot)?;
        let place = std::mem::take(self.place(slot.index())?);
        self.len -= 1;
        self.awake -= 1;
        match place {
            Place::Awake(connection) => Some(connection),
            Place::Free | Place::Idle(_) => unreachable!("who is found is awake"),
        }
    }

    /// The connection of a slot, if it is still the same one; it is awake then. A message asks for
    /// its connections some dozens of times, so what most find is found in a few instructions.
    #[inline]
    pub(crate) fn find(&mut self, slot: Slot) -> Option<&mut Connection> {
        let (chunk, at) = position(slot.index());
        let place = &mut self.chunks.get_mut(chunk)?.as_deref_mut()?[at];
        if let Place::Idle(idle) = *place {
            if idle.generation() != slot.generation() {
                return None;
            }
            wake(place, idle, slot, &mut self.stirred);
            self.awake += 1;
        }
        match place {
            Place::Awake(connection) if connection.slot == slot => Some(connection),
            _ => None,
        }
    }

    /// The slot of the connection that the shard means, if it is still the same one.
    pub(crate) fn slot_of(&self, wanted: ConnectionKey) -> Option<Slot> {
        self.see(wanted.index()).map(|(slot, _)| slot).filter(|&slot| key(slot) == wanted)
    }

    /// The connection that the shard means; it is awake then.
    pub(crate) fn find_key(&mut self, wanted: ConnectionKey) -> Option<&mut Connection> {
        let slot = self.slot_of(wanted)?;
        self.find(slot)
    }

    /// The connection at an index of the table, without waking it.
    pub(crate) fn see(&self, index: u32) -> Option<(Slot, Seen<'_>)> {
        let (chunk, at) = position(index);
        match &self.chunks.get(chunk)?.as_deref()?[at] {
            Place::Free => None,
            Place::Idle(idle) => Some((Slot::new(index, idle.generation()), Seen::Idle(*idle))),
            Place::Awake(connection) => Some((connection.slot, Seen::Awake(connection))),
        }
    }

    /// Notes that a receive is under way for a connection that is at rest; answers whether it is.
    pub(crate) fn begin_receiving(&mut self, slot: Slot) -> bool {
        match self.place(slot.index()) {
            Some(Place::Idle(idle)) if idle.generation() == slot.generation() => {
                idle.begin_receiving();
                true
            }
            _ => false,
        }
    }

    /// Something happened to the connection: it is to be looked at by the end of the turn.
    pub(crate) fn stir(&mut self, slot: Slot) {
        self.stirred.push(slot);
    }

    /// Takes one of those to be looked at.
    pub(crate) fn pop_stirred(&mut self) -> Option<Slot> {
        self.stirred.pop()
    }

    /// Lays a connection to rest.
    ///
    /// # Panics
    /// If it is not at rest.
    pub(crate) fn lay_to_rest(&mut self, slot: Slot) {
        let place = self.place(slot.index()).expect("who is laid to rest is in the table");
        if let Place::Awake(connection) = place {
            *place = Place::Idle(Idle::of(connection));
            self.awake -= 1;
        }
    }

    /// Indices of the table, taken or not.
    pub(crate) fn extent(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Those that are not at rest, by rising index. Looks at the whole table.
    pub(crate) fn awake_ones(&self) -> impl Iterator<Item = &Connection> {
        let places = self.chunks.iter().flatten().flat_map(|chunk| chunk.iter());
        places.filter_map(|place| match place {
            Place::Awake(connection) => Some(&**connection),
            Place::Free | Place::Idle(_) => None,
        })
    }

    /// The slots of all connections, by rising index.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        (0..self.extent()).filter_map(|index| self.see(index)).map(|(slot, _)| slot).collect()
    }

    #[inline]
    fn place(&mut self, index: u32) -> Option<&mut Place> {
        let (chunk, at) = position(index);
        Some(&mut self.chunks.get_mut(chunk)?.as_deref_mut()?[at])
    }
}

/// Makes a connection whole again that was at rest. Kept apart: [`Connections::find`] is small
/// without it.
#[cold]
#[inline(never)]
fn wake(place: &mut Place, idle: Idle, slot: Slot, stirred: &mut Vec<Slot>) {
    *place = Place::Awake(Box::new(idle.wake(slot)));
    stirred.push(slot);
}

/// A chunk in which nobody is, made on the heap.
fn free_chunk() -> Box<Chunk> {
    let places: Box<[Place]> = std::iter::repeat_with(Place::default).take(CHUNK).collect();
    places.try_into().expect("as many places as a chunk has")
}

/// Chunk of an index, and the place in it.
fn position(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}
