//! What a connection was pushed and has not acked: numbers on one side, places in the queue on
//! the other.
//!
//! Exists while the user is resident and the device connected. Numbers run on in the session, so
//! that a user who was let go and loaded again goes on counting.
//! Invariant: `pushed` holds what is unacked and nothing else, by rising number and position. So it is
//! no longer than the window, and whatever is looked for in it is found in as many steps.

use std::collections::VecDeque;
use std::time::Duration;

use ringpost_wire::event::Status;
use ringpost_wire::{MessageId, ServerId, UserId};
use smallvec::SmallVec;

use crate::drained::Drained;
use crate::record::{Gap, Position};
use crate::session::{SessionSlot, Window};

/// A stored push that waits for its ack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    /// Its number on this connection.
    number: u64,
    pub(crate) what: What,
    /// When it was pushed (monotonic).
    pub(crate) at: Duration,
    bytes: u32,
}

/// What was pushed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum What {
    /// An entry of the queue.
    Entry { position: Position, id: ServerId, message_id: MessageId },
    /// A receipt of the queue.
    Receipt { peer: UserId, status: Status, position: Position },
}

impl What {
    const fn position(&self) -> Position {
        match self {
            Self::Entry { position, .. } | Self::Receipt { position, .. } => *position,
        }
    }
}

/// A device's live delivery.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) session: SessionSlot,
    /// Everything in the queue up to here was pushed on this connection, or needs no push.
    pub(crate) cursor: Position,
    /// Messages that were on the way to the journal when the connection came and are not durable
    /// yet. Another worker may have said `sent` of them, so they come ahead of `queue_empty`.
    pub(crate) ahead: u32,
    /// The number of the last gap that `queue_empty` told, 0 for none; `None`: it was not said yet.
    pub(crate) told: Option<Position>,
    pushed: VecDeque<Pushed>,
    unacked_bytes: u64,
    /// The messages acked last: a `read` after `delivered` may name one by the sender's id alone.
    acked: VecDeque<(MessageId, ServerId)>,
}

/// What a sender's id means on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Naming {
    Nothing,
    Unacked(Position, ServerId),
    Acked(ServerId),
    Several,
}

impl Live {
    /// A connection that comes while `ahead` messages to its user are on the way; with what it was
    /// told while its user was resident before.
    pub(crate) const fn new(session: SessionSlot, ahead: u32, told: Option<Position>) -> Self {
        Self {
            session,
            cursor: Position(0),
            ahead,
            told,
            pushed: VecDeque::new(),
            unacked_bytes: 0,
            acked: VecDeque::new(),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.pushed.capacity() * size_of::<Pushed>()
            + self.acked.capacity() * size_of::<(MessageId, ServerId)>()
    }

    /// Whether `queue_empty` is to be said at the end of a queue with this mark.
    pub(crate) fn owes(&self, mark: Option<Gap>) -> bool {
        self.told.is_none_or(|told| mark.is_some_and(|gap| gap.number > told))
    }

    /// Whether a push of `bytes` fits the window; with nothing unacked one always does.
    pub(crate) fn fits(&self, window: Window, bytes: u32) -> bool {
        self.pushed.is_empty()
            || self.pushed.len() < usize::from(window.pushes)
                && self.unacked_bytes + u64::from(bytes) <= u64::from(window.bytes())
    }

    /// Bytes that the window still takes.
    pub(crate) fn window_left(&self, window: Window) -> u64 {
        u64::from(window.bytes()).saturating_sub(self.unacked_bytes)
    }

    /// Pushes that the window still takes.
    pub(crate) fn pushes_left(&self, window: Window) -> u32 {
        u32::from(window.pushes).saturating_sub(self.pushed.len() as u32)
    }

    /// Pushes that wait for their acks, and their bytes.
    pub(crate) fn outstanding(&self) -> (u32, u64) {
        (self.pushed.len() as u32, self.unacked_bytes)
    }

    /// The number of the unacked push that `is_meant`.
    pub(crate) fn number_of(&self, is_meant: impl Fn(&What) -> bool) -> Option<u64> {
        self.pushed.iter().find(|pushed| is_meant(&pushed.what)).map(|pushed| pushed.number)
    }

    pub(crate) fn has_unacked(&self) -> bool {
        !self.pushed.is_empty()
    }

    /// Records a push with the session's next number.
    pub(crate) fn push(&mut self, number: u64, what: What, bytes: u32, at: Duration) {
        self.cursor = what.position();
        self.pushed.push_back(Pushed { number, what, at, bytes });
        self.unacked_bytes += u64::from(bytes);
    }

    /// Takes the pushes up to number `push`. Of the messages among them the last `named_max` can
    /// still be named.
    pub(crate) fn take_through(&mut self, push: u64, named_max: u32) -> SmallVec<[Pushed; 4]> {
        let count = self.pushed.partition_point(|pushed| pushed.number <= push);
        let taken: SmallVec<[Pushed; 4]> = self.pushed.drain(..count).collect();
        self.pushed.give_back();
        for pushed in &taken {
            self.leave_window(pushed, named_max);
        }
        taken
    }

    /// The entry at `position` is acked by a receipt of its own: it leaves the window. Answers when
    /// it was pushed, if it was.
    pub(crate) fn finish(&mut self, position: Position, named_max: u32) -> Option<Duration> {
        let at = self.pushed.binary_search_by_key(&position, |it| it.what.position()).ok()?;
        let pushed = self.pushed.remove(at).expect("the place was just found");
        self.pushed.give_back();
        self.leave_window(&pushed, named_max);
        Some(pushed.at)
    }

    fn leave_window(&mut self, pushed: &Pushed, named_max: u32) {
        self.unacked_bytes -= u64::from(pushed.bytes);
        if let What::Entry { id, message_id, .. } = pushed.what
            && !id.is_nil()
        {
            if self.acked.len() >= named_max as usize {
                self.acked.pop_front();
            }
            self.acked.push_back((message_id, id));
        }
    }

    /// The position of the message with the server's `id`, if it was pushed and is not acked.
    pub(crate) fn unacked(&self, id: ServerId) -> Option<Position> {
        self.messages().find(|&(_, pushed, _)| pushed == id).map(|(position, _, _)| position)
    }

    /// Whether the message with the server's `id` is among those acked last.
    pub(crate) fn was_acked(&self, id: ServerId) -> bool {
        self.acked.iter().any(|&(_, acked)| acked == id)
    }

    /// What the sender's `message_id` means here: unacked messages first, else those acked last.
    pub(crate) fn named(&self, message_id: MessageId) -> Naming {
        let mut unacked = self.messages().filter(|&(_, _, pushed)| pushed == message_id);
        let mut acked = self.acked.iter().filter(|(acked, _)| *acked == message_id);
        match (unacked.next(), unacked.next(), acked.next(), acked.next()) {
            (None, _, None, _) => Naming::Nothing,
            (Some((position, id, _)), None, None, _) => Naming::Unacked(position, id),
            (None, _, Some(&(_, id)), None) => Naming::Acked(id),
            _ => Naming::Several,
        }
    }

    fn messages(&self) -> impl Iterator<Item = (Position, ServerId, MessageId)> {
        self.pushed.iter().filter_map(|pushed| match pushed.what {
            What::Entry { position, id, message_id } if !id.is_nil() => {
                Some((position, id, message_id))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::KeyedHash;
    use crate::session::{Opening, Sessions};

    fn live() -> Live {
        let opening = Opening {
            connection: crate::event::ConnectionKey(1),
            user: UserId([1; 16]),
            device: ringpost_wire::DeviceId::new(1).expect("1 to 127"),
            accepted_ns: 0,
            room_bytes: 0,
            window: Window::new(3, 2048),
            intents: 0,
        };
        Live::new(Sessions::new(KeyedHash::new(0)).insert(opening), 0, None)
    }

    fn message(position: u64, id: u8, message_id: u8) -> What {
        What::Entry {
            position: Position(position),
            id: ServerId([id; 16]),
            message_id: MessageId([message_id; 16]),
        }
    }

    #[test]
    fn the_window_bounds_pushes_and_bytes_but_one_always_goes() {
        let window = Window::new(3, 2048);
        let mut live = live();
        assert!(live.fits(window, 100_000));
        live.push(1, message(1, 1, 1), 100_000, Duration::ZERO);
        assert!(!live.fits(window, 0));
        assert_eq!(live.take_through(1, 2).len(), 1);
        for position in 2..=4 {
            assert!(live.fits(window, 600));
            live.push(position, message(position, 2, 2), 600, Duration::ZERO);
        }
        assert!(!live.fits(window, 0), "three pushes");
        assert_eq!(live.take_through(2, 2).len(), 1);
        assert!(!live.fits(window, 1000), "two kibibytes");
        assert!(live.fits(window, 800));
    }

    #[test]
    fn numbers_stay_in_step_when_receipts_ack_single_messages() {
        let mut live = live();
        for position in 1..=5 {
            live.push(position, message(position, position as u8, 7), 10, Duration::ZERO);
        }
        assert_eq!(live.named(MessageId([7; 16])), Naming::Several);
        let number =
            |live: &Live, position| live.number_of(|what| what.position() == Position(position));
        assert_eq!((1..=6).map(|at| number(&live, at)).sum::<Option<u64>>(), None);
        assert_eq!(
            (1..=5).map(|at| number(&live, at)).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5].map(Some)
        );
        live.finish(Position(3), 2);
        live.finish(Position(1), 2);
        assert_eq!(
            (1..=4).map(|at| number(&live, at)).collect::<Vec<_>>(),
            [None, Some(2), None, Some(4)]
        );
        assert_eq!(live.unacked(ServerId([3; 16])), None);
        assert_eq!(live.take_through(4, 2).len(), 2, "push 1 went by itself, 3 is done");
        assert!(live.was_acked(ServerId([4; 16])) && !live.was_acked(ServerId([3; 16])));
        live.finish(Position(5), 2);
        assert!(!live.has_unacked());
        assert_eq!(live.outstanding(), (0, 0));
        assert!(live.take_through(5, 2).is_empty(), "a repeated ack does nothing");
    }

    #[test]
    fn a_message_acked_lately_can_be_named_by_the_senders_id() {
        let mut live = live();
        live.push(1, message(1, 1, 1), 10, Duration::ZERO);
        live.push(2, message(2, 2, 2), 10, Duration::ZERO);
        assert_eq!(live.named(MessageId([1; 16])), Naming::Unacked(Position(1), ServerId([1; 16])));
        live.take_through(2, 1);
        assert_eq!(live.named(MessageId([1; 16])), Naming::Nothing, "one is remembered");
        assert_eq!(live.named(MessageId([2; 16])), Naming::Acked(ServerId([2; 16])));
    }
}
