//! The table of users that are loading or resident, its bytes, and who is let go.
//!
//! Eviction is a clock with a second chance over the slots: deterministic, and one event looks at
//! a bounded number of them. A user may be loaded, let go and loaded again many times while its
//! sessions stay.

use std::time::Duration;

use hashbrown::HashTable;
use ringpost_wire::UserId;

use crate::home::KeyedHash;
use crate::record::Position;
use crate::user::{Loading, Resident};

/// What a load counts before its answer is there, bytes.
pub(crate) const LOAD_BYTES: u64 = 4096;

/// Place of a user in the table; valid until the user is let go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UserSlot(u32);

/// Where a user stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Absent,
    Loading(UserSlot),
    Resident(UserSlot),
}

/// A user who is here, to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing<'a> {
    Loading(&'a Loading),
    Resident(&'a Resident),
}

#[derive(Debug)]
struct User {
    id: UserId,
    stage: Stage,
    /// Used since the hand of the clock came by.
    referenced: bool,
    counted_bytes: u64,
}

#[derive(Debug)]
enum Stage {
    Loading(Box<Loading>),
    Resident(Box<Resident>),
}

impl Stage {
    fn standing(&self) -> Standing<'_> {
        match self {
            Self::Loading(loading) => Standing::Loading(loading),
            Self::Resident(resident) => Standing::Resident(resident),
        }
    }
}

/// All users here.
#[derive(Debug)]
pub(crate) struct Users {
    slots: Vec<Option<User>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hash: KeyedHash,
    /// The hand of the clock.
    hand: usize,
    /// Bytes of all, as of the last [`settle`](Self::settle).
    pub(crate) bytes: u64,
    /// Loads that the store was asked for.
    pub(crate) loading: u32,
    /// Users touched since the last settling.
    touched: Vec<u32>,
}

impl Users {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hash,
            hand: 0,
            bytes: 0,
            loading: 0,
            touched: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn find(&self, id: UserId) -> Found {
        match self.index.find(self.hash.of(&id.0), |&at| user(&self.slots, at).id == id) {
            None => Found::Absent,
            Some(&at) => match user(&self.slots, at).stage {
                Stage::Loading(_) => Found::Loading(UserSlot(at)),
                Stage::Resident(_) => Found::Resident(UserSlot(at)),
            },
        }
    }

    pub(crate) fn id(&self, slot: UserSlot) -> UserId {
        user(&self.slots, slot.0).id
    }

    /// The slots in use by resident users, in order.
    pub(crate) fn residents(&self) -> impl Iterator<Item = (UserSlot, &Resident)> {
        self.slots.iter().enumerate().filter_map(|(at, user)| match user {
            Some(User { stage: Stage::Resident(resident), .. }) => {
                Some((UserSlot(at as u32), &**resident))
            }
            _ => None,
        })
    }

    /// The user as it is held, and its bytes; `None`: absent.
    pub(crate) fn standing(&self, id: UserId) -> Option<(Standing<'_>, u64)> {
        let at = self.index.find(self.hash.of(&id.0), |&at| user(&self.slots, at).id == id)?;
        let user = user(&self.slots, *at);
        Some((user.stage.standing(), user.counted_bytes))
    }

    /// Looks at `count` slots from `first`; `None` instead of them where the table has ended.
    pub(crate) fn standings(
        &self,
        first: u32,
        count: u32,
    ) -> Option<impl Iterator<Item = (UserId, Standing<'_>)>> {
        let first = first as usize;
        let slots = self.slots.get(first..)?.iter().take(count as usize).flatten();
        (first < self.slots.len()).then(|| slots.map(|user| (user.id, user.stage.standing())))
    }

    pub(crate) fn resident(&self, slot: UserSlot) -> &Resident {
        match &user(&self.slots, slot.0).stage {
            Stage::Resident(resident) => resident,
            Stage::Loading(_) => unreachable!("the slot was found to be resident"),
        }
    }

    /// The resident user, whose bytes will be counted anew and whose second chance is back.
    pub(crate) fn resident_mut(&mut self, slot: UserSlot) -> &mut Resident {
        if self.touched.last() != Some(&slot.0) {
            self.touched.push(slot.0);
        }
        let user = user_mut(&mut self.slots, slot.0);
        user.referenced = true;
        match &mut user.stage {
            Stage::Resident(resident) => resident,
            Stage::Loading(_) => unreachable!("the slot was found to be resident"),
        }
    }

    pub(crate) fn loading(&self, slot: UserSlot) -> &Loading {
        match &user(&self.slots, slot.0).stage {
            Stage::Loading(loading) => loading,
            Stage::Resident(_) => unreachable!("the slot was found to be loading"),
        }
    }

    pub(crate) fn loading_mut(&mut self, slot: UserSlot) -> &mut Loading {
        match &mut user_mut(&mut self.slots, slot.0).stage {
            Stage::Loading(loading) => loading,
            Stage::Resident(_) => unreachable!("the slot was found to be loading"),
        }
    }

    /// Adds a user that is loading, or waits for a place among the loads.
    pub(crate) fn insert_loading(&mut self, id: UserId, requested: bool) -> UserSlot {
        assert!(self.find(id) == Found::Absent, "a user is here once");
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let stage = Stage::Loading(Box::default());
        self.slots[at as usize] = Some(User { id, stage, referenced: true, counted_bytes: 0 });
        if requested {
            self.mark_requested(UserSlot(at));
        }
        let Self { slots, index, hash, .. } = self;
        index.insert_unique(hash.of(&id.0), at, |&at| hash.of(&user(slots, at).id.0));
        UserSlot(at)
    }

    /// The load of a waiting user was asked for. Only now it counts: those who wait are bounded by
    /// the sessions, and must not keep each other from being loaded.
    pub(crate) fn mark_requested(&mut self, slot: UserSlot) {
        self.loading_mut(slot).requested = true;
        self.loading += 1;
        self.bytes += LOAD_BYTES;
        user_mut(&mut self.slots, slot.0).counted_bytes = LOAD_BYTES;
    }

    /// The load is answered: the user is resident. Returns what waited for it.
    pub(crate) fn finish_loading(&mut self, slot: UserSlot, resident: Resident) -> Loading {
        let stage = Stage::Resident(Box::new(resident));
        let before = std::mem::replace(&mut user_mut(&mut self.slots, slot.0).stage, stage);
        self.touched.push(slot.0);
        match before {
            Stage::Loading(loading) => {
                self.loading -= u32::from(loading.requested);
                *loading
            }
            Stage::Resident(_) => unreachable!("the slot was found to be loading"),
        }
    }

    /// Removes a user that is loading; returns what waited for it.
    pub(crate) fn abandon_loading(&mut self, slot: UserSlot) -> Loading {
        match self.remove(slot).stage {
            Stage::Loading(loading) => {
                self.loading -= u32::from(loading.requested);
                *loading
            }
            Stage::Resident(_) => unreachable!("the slot was found to be loading"),
        }
    }

    /// Lets a resident user go.
    pub(crate) fn evict(&mut self, slot: UserSlot) {
        let user = self.remove(slot);
        assert!(matches!(user.stage, Stage::Resident(_)), "a load is not evicted");
    }

    fn remove(&mut self, slot: UserSlot) -> User {
        let user = self.slots[slot.0 as usize].take().expect("a slot is dropped with its user");
        self.index
            .find_entry(self.hash.of(&user.id.0), |&at| at == slot.0)
            .expect("every user is in the index")
            .remove();
        self.free.push(slot.0);
        self.bytes -= user.counted_bytes;
        user
    }

    /// Turns the clock until `bytes_max` holds, or `scan_max` slots were looked at. Returns how
    /// many were let go.
    pub(crate) fn evict_down_to(
        &mut self,
        bytes_max: u64,
        scan_max: u32,
        applied: Position,
        now: Duration,
    ) -> u64 {
        self.settle();
        let mut evicted = 0;
        // Twice around at most: once for the second chances, once for the taking.
        for _ in 0..(self.slots.len() * 2).min(scan_max as usize) {
            if self.bytes <= bytes_max {
                break;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(User { stage: Stage::Resident(resident), referenced, .. }) =
                &mut self.slots[self.hand]
            else {
                continue;
            };
            if std::mem::take(referenced) || !resident.is_evictable(applied, now) {
                continue;
            }
            self.evict(UserSlot(self.hand as u32));
            evicted += 1;
        }
        evicted
    }

    /// Counts the bytes of the users touched since the last time.
    pub(crate) fn settle(&mut self) {
        for at in self.touched.drain(..) {
            if let Some(User { stage: Stage::Resident(resident), counted_bytes, .. }) =
                &mut self.slots[at as usize]
            {
                let bytes = (resident.bytes() + size_of::<User>()) as u64;
                self.bytes = self.bytes - *counted_bytes + bytes;
                *counted_bytes = bytes;
            }
        }
    }
}

fn user(slots: &[Option<User>], at: u32) -> &User {
    slots[at as usize].as_ref().expect("the index holds users that are here")
}

fn user_mut(slots: &mut [Option<User>], at: u32) -> &mut User {
    slots[at as usize].as_mut().expect("the index holds users that are here")
}
