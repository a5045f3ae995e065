//! The bounds that a command, a load or a message may run into, by name: each hit is counted, so
//! that an operator sees which limit refused and need not guess it from `overloaded`.

/// A bound of a shard. A closed set: each is the label of a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Sends in flight, or their content.
    InFlight,
    /// Sends in flight of one device.
    DeviceInFlight,
    /// Answers owed for one send that came several times.
    Answers,
    /// Content that waits for loads and look-ups.
    Waiting,
    /// What may wait in line for one user that is loaded.
    Line,
    /// Sends of one device that wait while an earlier one is looked up, or the device written down.
    LookUpLine,
    /// `read` receipts of one device on the way.
    Reads,
    /// Users asked of the store at once.
    Loads,
    /// Memory of users.
    Resident,
    /// Messages in one device's queue.
    QueueEntries,
    /// Their content.
    QueueBytes,
    /// What one sender holds of a device's queue.
    SenderShare,
    /// Sends of one user, or their content, in a time.
    UserRate,
    /// What of the journal the store has not persisted.
    JournalBudget,
    /// What the store has not applied.
    Unapplied,
    /// The disk, which is full or takes no writes although the limits would allow more.
    Disk,
}

impl Bound {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::InFlight,
        Self::DeviceInFlight,
        Self::Answers,
        Self::Waiting,
        Self::Line,
        Self::LookUpLine,
        Self::Reads,
        Self::Loads,
        Self::Resident,
        Self::QueueEntries,
        Self::QueueBytes,
        Self::SenderShare,
        Self::UserRate,
        Self::JournalBudget,
        Self::Unapplied,
        Self::Disk,
    ];

    /// The value of its label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::DeviceInFlight => "device_in_flight",
            Self::Answers => "answers",
            Self::Waiting => "waiting",
            Self::Line => "line",
            Self::LookUpLine => "look_up_line",
            Self::Reads => "reads",
            Self::Loads => "loads",
            Self::Resident => "resident",
            Self::QueueEntries => "queue_entries",
            Self::QueueBytes => "queue_bytes",
            Self::SenderShare => "sender_share",
            Self::UserRate => "user_rate",
            Self::JournalBudget => "journal_budget",
            Self::Unapplied => "unapplied",
            Self::Disk => "disk",
        }
    }
}

/// What a command that is refused with `overloaded` ran into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overload {
    /// A bound.
    At(Bound),
    /// The store could not answer.
    Store,
}

impl Overload {
    /// What the client is told of it, in the `detail`; `PROTOCOL.md` lists each. `None` of a bound
    /// that refuses nothing, or not as `overloaded`.
    pub const fn detail(self) -> Option<&'static str> {
        Some(match self {
            Self::At(Bound::InFlight) => "the sends of all users on their way",
            Self::At(Bound::DeviceInFlight) => "sends of this device without an answer",
            Self::At(Bound::Answers) => "repetitions of one send before its answer",
            Self::At(Bound::Waiting) => {
                "content that waits for a look-up, or for a user to be read"
            }
            Self::At(Bound::Line) => "commands that wait for one user to be read",
            Self::At(Bound::LookUpLine) => "sends of this device that wait behind a look-up",
            Self::At(Bound::Reads) => "read receipts of this device on their way",
            Self::At(Bound::Loads) => "users to be read at once",
            Self::At(Bound::Resident) => "memory of users",
            Self::At(Bound::JournalBudget) => "room for the journal",
            Self::At(Bound::Unapplied) => "what the store is behind the journal",
            Self::At(Bound::Disk) => "the disk takes no writes",
            Self::Store => "the store could not answer",
            Self::At(
                Bound::QueueEntries | Bound::QueueBytes | Bound::SenderShare | Bound::UserRate,
            ) => return None,
        })
    }
}

/// Why journal and store take on no more work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shortage {
    /// The journal holds as much as it may, all of it still to be persisted by the store.
    JournalBudget,
    /// The store is as far behind as it may be.
    Unapplied,
    /// The disk is full, or takes no writes.
    Disk,
}

impl Shortage {
    /// What a send that is refused for it ran into.
    pub const fn bound(self) -> Bound {
        match self {
            Self::JournalBudget => Bound::JournalBudget,
            Self::Unapplied => Bound::Unapplied,
            Self::Disk => Bound::Disk,
        }
    }
}

/// How often each bound was hit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Hits([u64; Bound::ALL.len()]);

impl Hits {
    pub(crate) fn add(&mut self, bound: Bound) {
        self.0[bound as usize] += 1;
    }

    /// How often this one was.
    pub fn count(&self, bound: Bound) -> u64 {
        self.0[bound as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_has_a_count_and_a_label_of_its_own() {
        for (number, bound) in Bound::ALL.into_iter().enumerate() {
            assert_eq!(bound as usize, number);
            let same = Bound::ALL.iter().filter(|other| other.label() == bound.label());
            assert_eq!(same.count(), 1, "{bound:?}");
        }
    }
}
