//! Devices whose credentials were revoked. Where there are too many the oldest is forgotten, and all
//! credentials as old as that revocation are void with it: clients fetch new ones, which costs them a
//! call, and nothing that was revoked comes in.

use std::collections::VecDeque;

use hashbrown::HashTable;
use ringpost_wire::{DeviceId, UserId};

use crate::home::KeyedHash;

/// Until when credentials of a device are void, by issue time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Revocation {
    user: UserId,
    device: DeviceId,
    before_ms: u64,
}

/// Bounded; what was revoked first is forgotten first.
#[derive(Debug)]
pub(crate) struct Revocations {
    table: HashTable<Revocation>,
    order: VecDeque<(UserId, DeviceId)>,
    /// Every credential issued at or before this is void.
    floor_ms: u64,
    max: usize,
    hash: KeyedHash,
}

impl Revocations {
    pub(crate) fn new(max: u32, hash: KeyedHash) -> Self {
        Self {
            table: HashTable::new(),
            order: VecDeque::new(),
            floor_ms: 0,
            max: max as usize,
            hash,
        }
    }

    /// Whether a credential issued at `issued_at_ms` is void.
    pub(crate) fn voids(&self, user: UserId, device: DeviceId, issued_at_ms: u64) -> bool {
        let known = self.table.find(hash(&self.hash, user, device), |known| {
            (known.user, known.device) == (user, device)
        });
        issued_at_ms <= known.map_or(self.floor_ms, |known| known.before_ms.max(self.floor_ms))
    }

    /// Remembers a revocation; returns whether an older one of another device was forgotten.
    pub(crate) fn add(&mut self, user: UserId, device: DeviceId, before_ms: u64) -> bool {
        let key = hash(&self.hash, user, device);
        let same = |known: &Revocation| (known.user, known.device) == (user, device);
        if let Some(known) = self.table.find_mut(key, same) {
            known.before_ms = known.before_ms.max(before_ms);
            return false;
        }
        let full = self.order.len() >= self.max;
        if full {
            let (user, device) = self.order.pop_front().expect("a full line is not empty");
            let (forgotten, _) = self
                .table
                .find_entry(hash(&self.hash, user, device), |known| {
                    (known.user, known.device) == (user, device)
                })
                .expect("the line and the table hold the same devices")
                .remove();
            self.floor_ms = self.floor_ms.max(forgotten.before_ms);
        }
        let Self { table, order, hash: keyed, .. } = self;
        order.push_back((user, device));
        table.insert_unique(key, Revocation { user, device, before_ms }, |known| {
            hash(keyed, known.user, known.device)
        });
        full
    }
}

fn hash(keyed: &KeyedHash, user: UserId, device: DeviceId) -> u64 {
    let mut key = [0; 17];
    key[..16].copy_from_slice(&user.0);
    key[16] = device.number();
    keyed.of(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_up_to_the_revocation_are_void_and_later_ones_are_not() {
        let mut revocations = Revocations::new(2, KeyedHash::new(3));
        let (user, device) = (UserId([1; 16]), DeviceId::new(1).expect("1 to 127"));
        assert!(!revocations.add(user, device, 100));
        assert!(!revocations.add(user, device, 50), "a late one lowers nothing");
        assert!(revocations.voids(user, device, 100) && !revocations.voids(user, device, 101));
        assert!(!revocations.voids(user, DeviceId::new(2).expect("1 to 127"), 100));
        assert!(!revocations.add(UserId([2; 16]), device, 1));
        assert!(revocations.add(UserId([3; 16]), device, 1), "the oldest is forgotten");
        assert!(revocations.voids(user, device, 100), "and lets nothing in that it kept out");
        assert!(revocations.voids(UserId([9; 16]), device, 100), "nor anything as old");
        assert!(!revocations.voids(user, device, 101));
    }
}
