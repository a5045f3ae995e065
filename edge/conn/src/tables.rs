//! What all workers of a node share: tables of fixed size, of which a cell is changed without waiting
//! for anybody.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ringpost_wire::UserId;

use crate::addresses::{self, Addresses};
use crate::budgets::{Budgets, Cell};
use crate::config::ConnectionConfig;

/// The tables.
#[derive(Debug)]
pub struct Tables {
    /// Connections by address that have not signed in.
    pub strangers: Addresses,
    /// Connections of trusted proxies that have not named anybody.
    unnamed: AtomicU32,
    /// Workers that a drain of the node waits for: all, until each finds itself without sessions in it.
    awaited: AtomicU32,
    /// What may still be read of connections that have not signed in, by address.
    pub address_input: Budgets,
    /// What may still be read of signed-in connections, by user.
    pub user_input: Budgets,
}

impl Tables {
    /// Tables in which nobody counts. `seed` is nothing that a peer can guess.
    pub fn new(seed: u64, config: &ConnectionConfig) -> Self {
        Self {
            strangers: Addresses::new(seed),
            unnamed: AtomicU32::new(0),
            awaited: AtomicU32::new(0),
            address_input: Budgets::new(seed, config.address_input),
            user_input: Budgets::new(seed, config.user_input),
        }
    }

    /// Counts one more connection of a proxy that has named nobody, unless there are `most` already;
    /// answers whether it did.
    pub(crate) fn try_count_unnamed(&self, most: u32) -> bool {
        let one_more = |count| (count < most).then(|| count + 1);
        self.unnamed.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// One that was counted has named somebody, or is gone.
    pub(crate) fn uncount_unnamed(&self) {
        let before = self.unnamed.fetch_sub(1, Relaxed);
        assert!(before > 0, "only who was counted is uncounted");
    }

    /// One more worker has these tables.
    pub(crate) fn join(&self) {
        self.awaited.fetch_add(1, Relaxed);
    }

    /// A worker drains and has no sessions any more; it says so once.
    pub(crate) fn leave(&self) {
        let before = self.awaited.fetch_sub(1, Relaxed);
        assert!(before > 0, "only a worker that had joined leaves");
    }

    /// Whether all workers drain, and none of them has sessions any more.
    pub(crate) fn nobody_is_awaited(&self) -> bool {
        self.awaited.load(Relaxed) == 0
    }

    /// The budget of an address: all of an IPv4 address, the /64 of an IPv6 address.
    pub fn of_address(&self, address: IpAddr) -> Cell {
        match addresses::counted(address) {
            IpAddr::V4(v4) => self.address_input.cell(&v4.octets()),
            IpAddr::V6(v6) => self.address_input.cell(&v6.octets()),
        }
    }

    /// The budget of a user.
    pub fn of_user(&self, user: UserId) -> Cell {
        self.user_input.cell(&user.0)
    }
}
