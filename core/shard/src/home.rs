//! Which worker owns a user, and the keyed hash of every table here.
//!
//! Nothing on disk depends on either: the seed is drawn anew for each run of the node.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use ringpost_wire::UserId;

use crate::event::WorkerId;

/// Where users are at home: `hash(user) mod workers`, keyed so that nobody can aim at a worker.
#[derive(Clone, Debug)]
pub struct Homes {
    keyed: KeyedHash,
    workers: u16,
}

impl Homes {
    /// Homes among `workers` workers of one run.
    ///
    /// # Panics
    /// If there is no worker.
    pub fn new(hash_seed: u64, workers: u16) -> Self {
        assert!(workers > 0, "a node has at least one worker");
        Self { keyed: KeyedHash::new(hash_seed), workers }
    }

    /// The worker that owns all state of `user`.
    pub fn home(&self, user: UserId) -> WorkerId {
        // The upper half: the tables of that worker use the lower bits of the same hash.
        let hash = self.keyed.of(&user.0) >> 32;
        WorkerId((hash % u64::from(self.workers)) as u16)
    }
}

/// A keyed hash of short keys that clients choose.
#[derive(Clone, Debug)]
pub(crate) struct KeyedHash(RapidSecrets);

impl KeyedHash {
    pub(crate) fn new(seed: u64) -> Self {
        Self(RapidSecrets::seed(seed))
    }

    pub(crate) fn of(&self, key: &[u8]) -> u64 {
        rapidhash_v3_seeded(key, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_spread_over_the_workers_and_stay_where_they_are() {
        let homes = Homes::new(7, 3);
        let mut users = [0u32; 3];
        for number in 0..3000u128 {
            let user = UserId(number.to_be_bytes());
            assert_eq!(homes.home(user), homes.home(user));
            users[usize::from(homes.home(user).0)] += 1;
        }
        assert!(users.iter().all(|&count| (850..=1150).contains(&count)), "{users:?}");
    }

    #[test]
    fn another_seed_is_another_distribution() {
        let (one, other) = (Homes::new(1, 64), Homes::new(2, 64));
        let same = (0..1000u128)
            .map(|number| UserId(number.to_be_bytes()))
            .filter(|&user| one.home(user) == other.home(user))
            .count();
        assert!(same < 50, "{same} of 1000 users have the same home under both seeds");
    }
}
