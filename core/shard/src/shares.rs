//! How much of a device's queue each sender holds: so that nobody fills it alone.
//!
//! Counted with the queue's entries, so it is right again whenever a queue is built from its
//! image, and with the room that is reserved for messages on the way. An ordered map, because its
//! keys are other people's: no choice of ids makes it slow.
//! Invariant: a sender is here while something of it is in the queue or on the way to it.

use std::collections::BTreeMap;

use ringpost_wire::UserId;

/// A node of the map holds so many at least, unless it is the only one, and so many at most.
const NODE_LEN: (usize, usize) = (5, 11);

#[derive(Clone, Copy, Default, Debug)]
struct Share {
    entries: u32,
    bytes: u64,
}

/// The senders of a queue.
#[derive(Clone, Default, Debug)]
pub(crate) struct Shares(BTreeMap<UserId, Share>);

impl Shares {
    /// What a sender holds: entries, and the bytes of their content.
    pub(crate) fn of(&self, sender: UserId) -> (u32, u64) {
        let share = self.0.get(&sender).copied().unwrap_or_default();
        (share.entries, share.bytes)
    }

    pub(crate) fn take(&mut self, sender: UserId, bytes: u32) {
        let share = self.0.entry(sender).or_default();
        share.entries += 1;
        share.bytes += u64::from(bytes);
    }

    pub(crate) fn give_back(&mut self, sender: UserId, bytes: u32) {
        let share = self.0.get_mut(&sender).expect("given back no more than was taken");
        share.entries -= 1;
        share.bytes =
            share.bytes.checked_sub(bytes.into()).expect("given back no more than was taken");
        if share.entries == 0 {
            self.0.remove(&sender);
        }
    }

    /// Heap bytes, at most.
    pub(crate) fn heap_bytes(&self) -> usize {
        let (least, most) = NODE_LEN;
        let nodes = match self.0.len() {
            len if len <= most => usize::from(len > 0),
            len => len.div_ceil(least),
        };
        nodes * most * size_of::<(UserId, Share)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_counted_as_long_as_something_of_it_is_there() {
        let (one, other) = (UserId([1; 16]), UserId([2; 16]));
        let mut shares = Shares::default();
        for (sender, bytes) in [(one, 10), (other, 7), (one, 5)] {
            shares.take(sender, bytes);
        }
        assert_eq!((shares.of(one), shares.of(other)), ((2, 15), (1, 7)));
        shares.give_back(one, 10);
        shares.give_back(other, 7);
        assert_eq!((shares.of(one), shares.of(other)), ((1, 5), (0, 0)));
        shares.give_back(one, 5);
        assert_eq!(shares.heap_bytes(), 0, "nobody is remembered for nothing");
    }
}
