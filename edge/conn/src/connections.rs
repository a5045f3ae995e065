//! The table of a worker's connections, indexed by slot.
//!
//! A slot's index is dense and reused; its generation tells one use from the next, so that a late
//! completion or letter for an earlier connection finds nothing.

use std::net::IpAddr;

use ringpost_ring::Slot;
use ringpost_shard::event::ConnectionKey;

use crate::connection::{Connection, key};

use hashbrown::HashMap;

/// All connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_index: Vec<Option<Box<Connection>>>,
    len: usize,
    /// Connections by address that have not signed in; no entry stands at zero, so the map is
    /// bounded by the connections.
    unauthenticated: HashMap<IpAddr, u32>,
}

impl Connections {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Addresses with connections that have not signed in.
    pub(crate) fn addresses(&self) -> usize {
        self.unauthenticated.len()
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
        let index = connection.slot.index() as usize;
        if index >= self.by_index.len() {
            self.by_index.resize_with(index + 1, || None);
        }
        let place = &mut self.by_index[index];
        assert!(place.is_none(), "a slot is reused only after its connection was removed");
        *place = Some(Box::new(connection));
        self.len += 1;
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Box<Connection>> {
        self.find(slot)?;
        self.len -= 1;
        self.by_index[slot.index() as usize].take()
    }

    /// The connection of a slot, if it is still the same one.
    pub(crate) fn find(&mut self, slot: Slot) -> Option<&mut Connection> {
        let place = self.by_index.get_mut(slot.index() as usize)?;
        place.as_deref_mut().filter(|connection| connection.slot == slot)
    }

    /// The connection that the shard means.
    pub(crate) fn find_key(&mut self, wanted: ConnectionKey) -> Option<&mut Connection> {
        let place = self.by_index.get_mut(wanted.0 as u32 as usize)?;
        place.as_deref_mut().filter(|connection| key(connection.slot) == wanted)
    }

    /// The connection at an index of the table.
    pub(crate) fn at(&mut self, index: u32) -> Option<&mut Connection> {
        self.by_index.get_mut(index as usize)?.as_deref_mut()
    }

    /// The slots of all connections, by rising index.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.by_index.iter().flatten().map(|connection| connection.slot).collect()
    }

    /// Counts one more of this address that has not signed in; answers how many there are.
    pub(crate) fn count_unauthenticated(&mut self, address: IpAddr) -> u32 {
        let count = self.unauthenticated.entry(address).or_insert(0);
        *count += 1;
        *count
    }

    /// One of this address has signed in or is gone.
    pub(crate) fn uncount_unauthenticated(&mut self, address: IpAddr) {
        if let Some(count) = self.unauthenticated.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.unauthenticated.remove(&address);
            }
        }
    }
}
