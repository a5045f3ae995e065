//! Faults that the simulator's own wrappers commit on purpose, to show that the checkers bite.

/// One planted fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Plant {
    /// The disk says that it has flushed, and has not.
    AckBeforeFlush,
    /// Recovery acts on what it has not flushed.
    UnflushedRecovery,
    /// A batch is written over the one before it.
    RewriteDurableBlock,
    /// Recovery takes a durable batch for a torn tail.
    CutTooMuch,
    /// The journal is trimmed by what the store has applied and not persisted.
    TrimEarly,
    /// The store does not remember what was accepted.
    ForgetIdempotency,
    /// Records are handed on before they are durable.
    DeliverBeforeCommit,
    /// A sleeping worker is not woken.
    LoseWake,
    /// Two records of one commit change places.
    ReorderSends,
    /// Ids start anew after a restart, although the wall clock went back.
    StampBack,
    /// A receipt names an older message than the one before.
    CursorBack,
    /// A user that is loaded has no cursors.
    ForgetCursors,
    /// Somebody else acks for the device.
    AckForDevice,
    /// A message is committed to another user.
    LeakAcrossUsers,
    /// The recipient's home is not handed a record.
    DropRecord,
    /// The store forgets what waits for a device.
    ForgetQueue,
    /// A mailbox takes more letters than it may.
    IgnoreLimit,
    /// A message is read from the store with one bit turned over.
    FlipBody,
    /// A failed flush is taken for a good one.
    SwallowError,
    /// `queue_empty` overtakes what comes ahead of it.
    HastyQueueEmpty,
    /// The network loses a push.
    LosePush,
    /// A letter of one worker to another is lost.
    LoseLetter,
    /// A cancel that has failed is tried again at once, until it does not fail.
    RetryAtOnce,
    /// Who has never been here is told `welcome` on its word, before anything is durable.
    ToldBeforeDurable,
    /// Who signs out is told so at once; the rest is its connection's, and goes with it.
    RestOwnedByConnection,
    /// A device that says much at once is closed for it.
    CloseForRate,
    /// A user that is loaded does not know who holds how much of its queues.
    ForgetShares,
    /// An ack of a device closes its gap.
    CloseGapByAck,
    /// Of several devices whose queues do not take a message only the first has a gap.
    GapOfFirstDevice,
    /// A store that was opened again is not given what it had lost.
    SkipReplay,
    /// A wall clock that has jumped is believed, because somebody vouches for it.
    ExpireByJump,
}

impl Plant {
    /// All of them, with the checker that must catch each.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::AckBeforeFlush, "durability"),
        (Self::UnflushedRecovery, "durability"),
        (Self::RewriteDurableBlock, "acknowledged"),
        (Self::CutTooMuch, "acknowledged"),
        (Self::TrimEarly, "acknowledged"),
        (Self::ForgetIdempotency, "idempotency"),
        (Self::DeliverBeforeCommit, "durability"),
        (Self::LoseWake, "liveness"),
        (Self::ReorderSends, "order"),
        (Self::StampBack, "order"),
        (Self::CursorBack, "receipts"),
        (Self::ForgetCursors, "receipts"),
        (Self::AckForDevice, "receipts"),
        (Self::LeakAcrossUsers, "privacy"),
        (Self::ForgetIdempotency, "duplicates"),
        (Self::DropRecord, "liveness"),
        (Self::ForgetQueue, "ahead"),
        (Self::IgnoreLimit, "limits"),
        (Self::FlipBody, "content"),
        (Self::SwallowError, "durability"),
        (Self::HastyQueueEmpty, "ahead"),
        (Self::LosePush, "numbering"),
        (Self::LoseLetter, "liveness"),
        (Self::RetryAtOnce, "turns"),
        (Self::ToldBeforeDurable, "devices"),
        (Self::RestOwnedByConnection, "devices"),
        (Self::CloseForRate, "pace"),
        (Self::ForgetShares, "limits"),
        (Self::CloseGapByAck, "gaps"),
        (Self::CloseGapByAck, "ahead"),
        (Self::GapOfFirstDevice, "ahead"),
        (Self::SkipReplay, "idempotency"),
        (Self::ExpireByJump, "expiry"),
    ];
}
