//! Users who were lately found not to exist, so that a sender who guesses costs no store reads.
//!
//! Bounded in number and time. A user who is created leaves at once.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;
use ringpost_wire::UserId;

use crate::home::KeyedHash;

/// Users who do not exist, as of lately.
#[derive(Debug)]
pub(crate) struct UnknownUsers {
    until: HashTable<(UserId, Duration)>,
    /// In order of expiry; may name users who have left the table.
    order: VecDeque<(UserId, Duration)>,
    max: usize,
    keep: Duration,
    hash: KeyedHash,
}

impl UnknownUsers {
    pub(crate) fn new(max: u32, keep: Duration, hash: KeyedHash) -> Self {
        Self { until: HashTable::new(), order: VecDeque::new(), max: max as usize, keep, hash }
    }

    pub(crate) fn contains(&self, user: UserId, now: Duration) -> bool {
        self.until
            .find(self.hash.of(&user.0), |&(known, _)| known == user)
            .is_some_and(|&(_, until)| now < until)
    }

    pub(crate) fn remember(&mut self, user: UserId, now: Duration) {
        self.forget(user);
        // Ends: each round forgets one, and there is room or nobody is left.
        while self.order.len() >= self.max
            || self.order.front().is_some_and(|&(_, until)| until <= now)
        {
            let (oldest, until) = self.order.pop_front().expect("the line is not empty");
            let hash = self.hash.of(&oldest.0);
            if let Ok(entry) = self.until.find_entry(hash, |&known| known == (oldest, until)) {
                entry.remove();
            }
        }
        let until = now + self.keep;
        self.order.push_back((user, until));
        let Self { until: table, hash, .. } = self;
        table.insert_unique(hash.of(&user.0), (user, until), |(known, _)| hash.of(&known.0));
    }

    pub(crate) fn forget(&mut self, user: UserId) {
        let hash = self.hash.of(&user.0);
        if let Ok(entry) = self.until.find_entry(hash, |&(known, _)| known == user) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_are_forgotten_with_time_with_number_and_when_they_are_created() {
        let mut unknown = UnknownUsers::new(2, Duration::from_secs(10), KeyedHash::new(1));
        let users: Vec<_> = (1..=3).map(|number| UserId([number; 16])).collect();
        let at = Duration::from_secs;
        unknown.remember(users[0], at(0));
        unknown.remember(users[1], at(1));
        assert!(unknown.contains(users[0], at(9)) && !unknown.contains(users[0], at(10)));
        unknown.remember(users[2], at(2));
        assert!(!unknown.contains(users[0], at(2)), "two at most");
        unknown.forget(users[1]);
        assert!(!unknown.contains(users[1], at(2)));
        unknown.remember(users[1], at(5));
        assert!(unknown.contains(users[1], at(14)));
        assert!(unknown.order.len() <= 2 && unknown.until.len() <= 2);
    }
}
