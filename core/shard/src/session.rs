//! Live sessions: what a signed-in connection costs here, and the two ways to find one.
//!
//! A session outlives the residence of its user: an idle one keeps these bytes and nothing else.
//! Pushes that are not acked belong to the resident device ([`crate::live`]).
//!
//! ```text
//!   by connection   its index is the place: no table
//!   by user         HashTable<u32> ──► place ──next_of_user──► place
//!   places          [ chunk of 1,024 | chunk | - | chunk ]    as connections of that index came
//! ```
//! Chunks, because a vector that doubles would hold up to twice what is used, and copy it all at a
//! moment of its own choice.
//! Invariants: one session per connection and per (user, device); sessions of one user form a
//! list, latest sign-in first.

use hashbrown::HashTable;
use ringpost_wire::{DeviceId, Event as WireEvent, UserId};
use smallvec::SmallVec;

use crate::effect::Effect;
use crate::event::ConnectionKey;
use crate::home::KeyedHash;
use crate::turn::Turn;

/// Bytes that an event takes in an outbox beside its content, at most: frame or JSON fields.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// A signed-in connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionKey,
    pub(crate) user: UserId,
    /// When the connection was accepted, nanoseconds (monotonic): the later of two stays.
    pub(crate) accepted_ns: u64,
    /// Number of the last stored push.
    pub(crate) last_push: u64,
    /// What the outbox still takes, as far as is known here.
    pub(crate) room_bytes: u32,
    next_of_user: u32,
    pub(crate) window: Window,
    pub(crate) device: DeviceId,
    /// The low bits of the asked intents; all that are defined today.
    pub(crate) intents: u8,
    /// The last `queue_empty`.
    pub(crate) told: Told,
    /// `Effect::WantWritable` was said and not answered yet.
    pub(crate) wants_writable: bool,
}

const _: () = assert!(size_of::<Option<Session>>() == 56, "an idle session costs what it says");

/// What the last `queue_empty` of a connection has said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// There was none yet.
    Nothing,
    /// Nothing is missing.
    Empty,
    /// The queue has a gap: the one that it is marked with, if it still is.
    Gap,
}

/// Places that are allocated together.
const CHUNK: usize = 1024;

type Chunk = Box<[Option<Session>]>;

/// What may be pushed and not yet acked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    pub(crate) pushes: u16,
    kib: u16,
}

impl Window {
    /// A window of at most `pushes` and `bytes`; bytes are granted in KiB, rounded up.
    pub(crate) fn new(pushes: u32, bytes: u32) -> Self {
        let kib = bytes.div_ceil(1024).min(u16::MAX.into());
        Self { pushes: pushes.min(u16::MAX.into()) as u16, kib: kib as u16 }
    }

    pub(crate) const fn bytes(self) -> u32 {
        self.kib as u32 * 1024
    }
}

/// Place of a session in the table, its connection's index; valid until the session is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SessionSlot(u32);

const NONE: u32 = u32::MAX;

/// All sessions of a shard.
#[derive(Debug)]
pub(crate) struct Sessions {
    places: Places,
    len: usize,
    /// The first session of each user that has one.
    by_user: HashTable<u32>,
    hash: KeyedHash,
}

/// The places of sessions, by index of their connections. As many chunks as the highest index
/// asks for, which the edge keeps low.
#[derive(Debug, Default)]
struct Places(Vec<Option<Chunk>>);

impl Places {
    fn find(&self, at: u32) -> Option<&Session> {
        self.0.get(at as usize / CHUNK)?.as_ref()?[at as usize % CHUNK].as_ref()
    }

    fn place(&mut self, at: u32) -> &mut Option<Session> {
        let chunk = at as usize / CHUNK;
        if chunk >= self.0.len() {
            self.0.resize_with(chunk + 1, || None);
        }
        let chunk = self.0[chunk].get_or_insert_with(|| vec![None; CHUNK].into_boxed_slice());
        &mut chunk[at as usize % CHUNK]
    }
}

impl std::ops::Index<u32> for Places {
    type Output = Session;
    fn index(&self, at: u32) -> &Session {
        self.find(at).expect("lists and tables hold live sessions")
    }
}

impl std::ops::Index<SessionSlot> for Sessions {
    type Output = Session;
    fn index(&self, slot: SessionSlot) -> &Session {
        &self.places[slot.0]
    }
}

impl std::ops::IndexMut<SessionSlot> for Sessions {
    fn index_mut(&mut self, slot: SessionSlot) -> &mut Session {
        self.places.place(slot.0).as_mut().expect("a slot is dropped with its session")
    }
}

impl Sessions {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self { places: Places::default(), len: 0, by_user: HashTable::new(), hash }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Heap bytes of the tables.
    pub(crate) fn bytes(&self) -> usize {
        let chunks = self.places.0.iter().flatten().count();
        self.places.0.capacity() * size_of::<Option<Chunk>>()
            + chunks * CHUNK * size_of::<Option<Session>>()
            + self.by_user.allocation_size()
    }

    pub(crate) fn find(&self, connection: ConnectionKey) -> Option<SessionSlot> {
        let at = connection.index();
        let session = self.places.find(at)?;
        (session.connection == connection).then_some(SessionSlot(at))
    }

    pub(crate) fn find_device(&self, user: UserId, device: DeviceId) -> Option<SessionSlot> {
        self.of_user(user).into_iter().find(|&slot| self[slot].device == device)
    }

    /// The sessions of `user`, latest sign-in first.
    pub(crate) fn of_user(&self, user: UserId) -> SmallVec<[SessionSlot; 4]> {
        let head =
            self.by_user.find(self.hash.of(&user.0), |&at| self.places[at].user == user).copied();
        std::iter::successors(head, |&at| {
            let next = self.places[at].next_of_user;
            (next != NONE).then_some(next)
        })
        .map(SessionSlot)
        .collect()
    }

    pub(crate) fn has_user(&self, user: UserId) -> bool {
        self.by_user.find(self.hash.of(&user.0), |&at| self.places[at].user == user).is_some()
    }

    /// Adds a session.
    ///
    /// # Panics
    /// If the connection or the device has one: the caller has displaced it before.
    pub(crate) fn insert(&mut self, opening: Opening) -> SessionSlot {
        assert!(self.find(opening.connection).is_none(), "a connection signs in once");
        assert!(
            self.find_device(opening.user, opening.device).is_none(),
            "the older session of a device is removed before the newer is added"
        );
        let (at, user) = (opening.connection.index(), opening.user);
        let place = self.places.place(at);
        assert!(place.is_none(), "an index is used again when its session is gone");
        *place = Some(opening.session());
        self.len += 1;
        let Self { places, by_user, hash, .. } = self;
        let user_hash = hash.of(&user.0);
        match by_user.find_mut(user_hash, |&at| places[at].user == user) {
            Some(head) => {
                let next = std::mem::replace(head, at);
                self[SessionSlot(at)].next_of_user = next;
            }
            None => {
                by_user.insert_unique(user_hash, at, |&at| hash.of(&places[at].user.0));
            }
        }
        SessionSlot(at)
    }

    pub(crate) fn remove(&mut self, slot: SessionSlot) -> Session {
        let session = self[slot];
        let Self { places, by_user, hash, .. } = self;
        let head = by_user
            .find_entry(hash.of(&session.user.0), |&at| places[at].user == session.user)
            .expect("every user of a session has a first one");
        if *head.get() == slot.0 {
            if session.next_of_user == NONE {
                head.remove();
            } else {
                *head.into_mut() = session.next_of_user;
            }
        } else {
            let mut at = *head.get();
            // Ends: the session is in the chain of its user, which has one for each device.
            while places[at].next_of_user != slot.0 {
                at = places[at].next_of_user;
            }
            self[SessionSlot(at)].next_of_user = session.next_of_user;
        }
        *self.places.place(slot.0) = None;
        self.len -= 1;
        session
    }

    /// Hands `event` to the session's connection and takes its room.
    pub(crate) fn deliver(
        &mut self,
        slot: SessionSlot,
        tag: u16,
        event: WireEvent,
        turn: &mut Turn<'_>,
    ) {
        let body_bytes = match &event {
            WireEvent::NewMessage(message) => message.body.len(),
            _ => 0,
        };
        let connection = self.take_room(slot, body_bytes);
        turn.effects.push(Effect::Deliver { connection, tag, event });
    }

    /// Takes the room of an event with such a body; answers the connection that it is for.
    pub(crate) fn take_room(&mut self, slot: SessionSlot, body_bytes: usize) -> ConnectionKey {
        let session = &mut self[slot];
        session.room_bytes = session.room_bytes.saturating_sub(outbox_bytes(body_bytes));
        session.connection
    }
}

/// What a session starts with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) connection: ConnectionKey,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) accepted_ns: u64,
    pub(crate) room_bytes: u32,
    pub(crate) window: Window,
    pub(crate) intents: u32,
}

impl Opening {
    fn session(self) -> Session {
        Session {
            connection: self.connection,
            user: self.user,
            accepted_ns: self.accepted_ns,
            last_push: 0,
            room_bytes: self.room_bytes,
            next_of_user: NONE,
            window: self.window,
            device: self.device,
            intents: (self.intents & 0xff) as u8,
            told: Told::Nothing,
            wants_writable: false,
        }
    }
}

/// What `event` takes in an outbox, at most: content as base64 in JSON is the longest form.
fn outbox_bytes(body_bytes: usize) -> u32 {
    u32::try_from(EVENT_OVERHEAD_BYTES + body_bytes.div_ceil(3) * 4).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(connection: u64, user: u8, device: u8) -> Opening {
        Opening {
            connection: ConnectionKey(connection),
            user: UserId([user; 16]),
            device: DeviceId::new(device).expect("1 to 127"),
            accepted_ns: 0,
            room_bytes: 1000,
            window: Window::new(64, 1),
            intents: 0,
        }
    }

    #[test]
    fn sessions_are_found_by_connection_and_listed_by_user_latest_first() {
        let mut sessions = Sessions::new(KeyedHash::new(1));
        let slots: Vec<_> = (1..=5).map(|n| sessions.insert(opening(n.into(), n % 2, n))).collect();
        assert_eq!(sessions.of_user(UserId([1; 16]))[..], [slots[4], slots[2], slots[0]]);
        // The middle, then the head, then the last of the list.
        for (gone, left) in [(2, vec![slots[4], slots[0]]), (4, vec![slots[0]]), (0, vec![])] {
            let session = sessions.remove(slots[gone]);
            assert_eq!(sessions.find(session.connection), None);
            assert_eq!(sessions.of_user(UserId([1; 16])).to_vec(), left);
        }
        assert!(!sessions.has_user(UserId([1; 16])));
        assert_eq!(sessions.len(), 2);
        let again = sessions.insert(opening(9, 1, 9));
        assert_eq!(sessions[again].connection, ConnectionKey(9));
        assert_eq!(sessions.places.0.len(), 1, "a chunk for all of them");
    }

    #[test]
    fn an_index_used_again_is_another_connection() {
        let mut sessions = Sessions::new(KeyedHash::new(1));
        let (first, second) = (7, 1 << 32 | 7);
        let slot = sessions.insert(opening(first, 1, 1));
        assert_eq!(sessions.find(ConnectionKey(second)), None);
        sessions.remove(slot);
        sessions.insert(opening(second, 2, 1));
        assert_eq!(sessions.find(ConnectionKey(first)), None);
        assert!(sessions.find(ConnectionKey(second)).is_some());
    }

    #[test]
    fn windows_are_granted_in_kib_rounded_up() {
        assert_eq!(Window::new(70_000, 1025).bytes(), 2048);
        assert_eq!(Window::new(70_000, 1025).pushes, u16::MAX);
        assert_eq!(Window::new(1, u32::MAX).bytes(), 65_535 * 1024);
    }
}
