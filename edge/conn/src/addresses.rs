//! How many connections of each address have not signed in: one table for all workers.
//!
//! Which worker accepts a connection is the kernel's choice and says nothing about its address, so
//! a limit per address needs one count for the whole node. The table has a fixed number of cells
//! and the address chooses one by a keyed hash: nothing grows, nothing is swept, and no worker
//! waits, because a cell is changed by one instruction. It is touched at accept and at the end of
//! sign-in, never by a message.
//!
//! Invariants: no address ever has more than the limit. Addresses that fall on one cell share it,
//! which a peer can neither aim at nor notice: at the default of 1,000 for each address, a node that
//! is full with 100,000 strangers has 100 full cells of 262,144.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// Cells of the table: 1 MiB.
const CELLS: usize = 1 << 18;

/// Connections by address that have not signed in.
pub struct Addresses {
    cells: Box<[AtomicU32]>,
    secrets: RapidSecrets,
}

impl Addresses {
    /// A table in which nobody counts. `seed` is nothing that a peer can guess.
    pub fn new(seed: u64) -> Self {
        Self {
            cells: std::iter::repeat_with(AtomicU32::default).take(CELLS).collect(),
            secrets: RapidSecrets::seed(seed),
        }
    }

    /// Counts one more of this address, unless there are `most` already; answers whether it did.
    pub fn try_count(&self, address: IpAddr, most: u32) -> bool {
        let one_more = |count| (count < most).then(|| count + 1);
        self.cell(address).fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// One of this address that was counted has signed in or is gone.
    ///
    /// # Panics
    /// If none was counted.
    pub fn uncount(&self, address: IpAddr) {
        let before = self.cell(address).fetch_sub(1, Relaxed);
        assert!(before > 0, "only who was counted is uncounted");
    }

    fn cell(&self, address: IpAddr) -> &AtomicU32 {
        let hash = match counted(address) {
            IpAddr::V4(v4) => rapidhash_v3_seeded(&v4.octets(), &self.secrets),
            IpAddr::V6(v6) => rapidhash_v3_seeded(&v6.octets(), &self.secrets),
        };
        &self.cells[hash as usize % CELLS]
    }
}

/// Its cells are too many to be read.
impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses").finish_non_exhaustive()
    }
}

/// What of an address is counted: all of an IPv4 address, the /64 of an IPv6 address, which is
/// the least that one subscriber has.
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn all_of_an_ipv4_address_counts_and_the_64_of_an_ipv6_address() {
        let check = |one, other, alike| {
            assert_eq!(counted(address(one)) == counted(address(other)), alike, "{one} {other}");
        };
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("2001:db8::1", "2001:db8::ffff:2", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }

    #[test]
    fn an_address_has_its_limit_and_its_neighbours_do_not_notice() {
        let addresses = Addresses::new(1);
        let (full, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!((0..3).all(|_| addresses.try_count(full, 3)));
        assert!(!addresses.try_count(full, 3));
        assert!(addresses.try_count(other, 3));
        addresses.uncount(full);
        assert!(addresses.try_count(full, 3) && !addresses.try_count(full, 3));
    }

    #[test]
    #[should_panic(expected = "only who was counted")]
    fn who_was_not_counted_is_a_bug() {
        Addresses::new(1).uncount(address("192.0.2.1"));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the workers' threads are the test's")]
    fn workers_that_count_at_once_let_in_exactly_the_limit() {
        const EACH: u32 = 10_000;
        let addresses = Addresses::new(1);
        let crowd = address("2001:db8::1");
        let count = || (0..EACH).filter(|_| addresses.try_count(crowd, EACH)).count();
        let let_in: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(let_in, EACH as usize);
        (0..EACH).for_each(|_| addresses.uncount(crowd));
        assert!(addresses.try_count(crowd, 1));
    }

    /// Strangers at their limit shut out others only where these fall on their cells.
    #[test]
    fn a_thousand_full_addresses_refuse_hardly_anybody_else() {
        let addresses = Addresses::new(1);
        let nth = |net: u8, number: u32| {
            let [.., high, low] = number.to_be_bytes();
            IpAddr::from([net, 0, high, low])
        };
        for number in 0..1_000 {
            addresses.try_count(nth(10, number), 1);
        }
        let refused = (0..10_000).filter(|&it| !addresses.try_count(nth(11, it), 1)).count();
        // Some 38 fall on the thousand, and some 190 on one another.
        assert!(refused < 500, "{refused} of 10,000");
    }
}
