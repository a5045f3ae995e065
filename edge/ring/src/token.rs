//! `user_data`: which operation a completion belongs to, in 64 bits and without a look-up.
//!
//! ```text
//!   63      56 55            32 31             0
//!   [ kind   ] [ generation   ] [ slot index    ]   operations of a slot
//!   [ kind   ] [ 0            ] [ key           ]   operations with a side table, listeners
//!   [ kind   ] [ token of the caller            ]   MovedIn, written by the sending ring
//! ```

use crate::rings::{MoveToken, Slot};

/// What an operation was. The discriminants are the top byte of `user_data`; 0 is never used, so
/// a zeroed entry cannot be mistaken for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Accept = 1,
    CancelAccept,
    PollReadable,
    Receive,
    CancelInput,
    Send,
    PollWritable,
    CancelOutput,
    ShutdownWrite,
    PeerName,
    PeerInstall,
    Install,
    Move,
    MovedIn,
    Close,
    Probe,
    Reclaim,
    Wake,
    Woken,
    Event,
    CancelAll,
    Socket,
    ConnectStep,
    ParkingEvent,
    Admit,
}

const KINDS: [Kind; 25] = [
    Kind::Accept,
    Kind::CancelAccept,
    Kind::PollReadable,
    Kind::Receive,
    Kind::CancelInput,
    Kind::Send,
    Kind::PollWritable,
    Kind::CancelOutput,
    Kind::ShutdownWrite,
    Kind::PeerName,
    Kind::PeerInstall,
    Kind::Install,
    Kind::Move,
    Kind::MovedIn,
    Kind::Close,
    Kind::Probe,
    Kind::Reclaim,
    Kind::Wake,
    Kind::Woken,
    Kind::Event,
    Kind::CancelAll,
    Kind::Socket,
    Kind::ConnectStep,
    Kind::ParkingEvent,
    Kind::Admit,
];

const KIND_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
const GENERATION_MASK: u64 = 0xff_ffff;

/// A packed `user_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) u64);

impl Token {
    pub(crate) fn of_slot(kind: Kind, slot: Slot) -> Self {
        let generation = u64::from(slot.generation());
        assert!(generation <= GENERATION_MASK, "a generation has at most 24 bits in a token");
        Self((kind as u64) << KIND_SHIFT | generation << GENERATION_SHIFT | u64::from(slot.index()))
    }

    pub(crate) fn of_key(kind: Kind, key: usize) -> Self {
        let key = u32::try_from(key).expect("a key is an index into a bounded table");
        Self((kind as u64) << KIND_SHIFT | u64::from(key))
    }

    pub(crate) fn bare(kind: Kind) -> Self {
        Self((kind as u64) << KIND_SHIFT)
    }

    pub(crate) fn moved_in(token: MoveToken) -> Self {
        Self((Kind::MovedIn as u64) << KIND_SHIFT | token.value())
    }

    /// # Panics
    ///
    /// If the kind is unknown: the kernel returns what it was given, and other rings reach ours
    /// only through this crate.
    pub(crate) fn kind(self) -> Kind {
        let byte = (self.0 >> KIND_SHIFT) as usize;
        *KINDS.get(byte.wrapping_sub(1)).expect("user_data carries a kind of this crate")
    }

    pub(crate) fn slot(self) -> Slot {
        Slot::new(self.index(), ((self.0 >> GENERATION_SHIFT) & GENERATION_MASK) as u32)
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn key(self) -> usize {
        self.index() as usize
    }

    pub(crate) fn move_token(self) -> MoveToken {
        MoveToken::new(self.0 & MoveToken::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_packing() {
        for (position, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, position + 1, "{kind:?} stands at its discriminant");
            assert_eq!(Token::bare(kind).kind(), kind);
        }
    }

    #[test]
    fn slot_and_key_survive_packing_at_their_limits() {
        for (index, generation) in [(0, 0), (1, 1), (u32::MAX, 0xf_ffff), (0xf_ffff, 7)] {
            let slot = Slot::new(index, generation);
            let token = Token::of_slot(Kind::Receive, slot);
            assert_eq!((token.kind(), token.slot()), (Kind::Receive, slot));
        }
        let token = Token::of_key(Kind::Send, 70_000);
        assert_eq!((token.kind(), token.key()), (Kind::Send, 70_000));
    }

    #[test]
    fn a_move_token_survives_packing_at_its_limit() {
        let token = MoveToken::new(MoveToken::MAX);
        assert_eq!(Token::moved_in(token).kind(), Kind::MovedIn);
        assert_eq!(Token::moved_in(token).move_token(), token);
    }
}
