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

impl Share {
    /// Takes out one entry; whether it was the last.
    fn give_back(&mut self, bytes: u32) -> bool {
        self.entries -= 1;
        self.bytes =
            self.bytes.checked_sub(bytes.into()).expect("given back no more than was taken");
        self.entries == 0
    }
}

/// The senders of a queue. Most hold the messages of one: it needs no map, and so no allocation
/// for a message that comes and goes.
#[derive(Clone, Default, Debug)]
pub(crate) struct Shares {
    lone: Option<(UserId, Share)>,
    others: BTreeMap<UserId, Share>,
}

impl Shares {
    /// What a sender holds: entries, and the bytes of their content.
    pub(crate) fn of(&self, sender: UserId) -> (u32, u64) {
        let lone = self.lone.as_ref().filter(|(known, _)| *known == sender);
        let share = lone.map(|(_, share)| share).or_else(|| self.others.get(&sender));
        share.map_or((0, 0), |share| (share.entries, share.bytes))
    }

    pub(crate) fn take(&mut self, sender: UserId, bytes: u32) {
        if self.lone.is_none() && self.others.is_empty() {
            self.lone = Some((sender, Share::default()));
        }
        let share = match &mut self.lone {
            Some((lone, share)) if *lone == sender => share,
            _ => self.others.entry(sender).or_default(),
        };
        share.entries += 1;
        share.bytes += u64::from(bytes);
    }

    pub(crate) fn give_back(&mut self, sender: UserId, bytes: u32) {
        if let Some((_, share)) = self.lone.as_mut().filter(|(lone, _)| *lone == sender) {
            if share.give_back(bytes) {
                self.lone = None;
            }
            return;
        }
        let share = self.others.get_mut(&sender).expect("given back no more than was taken");
        if share.give_back(bytes) {
            self.others.remove(&sender);
        }
    }

    /// Heap bytes, at most.
    pub(crate) fn heap_bytes(&self) -> usize {
        let (least, most) = NODE_LEN;
        let nodes = match self.others.len() {
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
        assert_eq!((shares.of(one), shares.of(other)), ((1, 5), (1, 7)));
        // The first to come goes first, and comes again behind the other.
        shares.give_back(one, 5);
        shares.take(one, 3);
        shares.take(other, 1);
        assert_eq!((shares.of(one), shares.of(other)), ((1, 3), (2, 8)));
        for (sender, bytes) in [(other, 7), (one, 3), (other, 1)] {
            shares.give_back(sender, bytes);
        }
        assert_eq!((shares.of(one), shares.of(other)), ((0, 0), (0, 0)));
        assert_eq!(shares.heap_bytes(), 0, "nobody is remembered for nothing");
    }
}
