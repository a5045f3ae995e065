//! Planted faults: what the simulator's own wrappers do wrong on request, to show that the checkers
//! bite. The code under test is never changed: each fault is in a disk, a mailbox or a thread of
//! the simulator.

/// A fault, and with it the rule that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Planted {
    /// The journal's thread completes the fdatasync without doing it.
    AckBeforeFlush,
    /// The disk says that it has flushed what it keeps in its volatile cache.
    PretendedFlush,
    /// Records are handed to the workers before the journal has begun to write them.
    PushBeforeCommit,
    /// The journal is trimmed up to what is applied, persisted or not.
    TrimUnpersisted,
    /// Letters to a worker disappear now and then.
    LostLetter,
    /// Letters to a worker overtake one another.
    SwappedLetters,
    /// Durable records are handed over in the wrong order.
    ReversedDurable,
    /// A batch of durable records never comes to one worker.
    LostDurable,
    /// The store has forgotten which messages were accepted.
    ForgottenIdempotency,
    /// The store answers with the content of another conversation.
    StrangeBody,
    /// A bit of a message flips on its way from the store.
    FlippedBody,
    /// After a restart ids may begin where the wall clock stands.
    ForgottenStamps,
    /// The journal's thread reports success where the disk failed.
    SwallowedError,
}

impl Planted {
    /// Checkers of which one must notice.
    pub const fn caught_by(self) -> &'static [&'static str] {
        match self {
            Self::AckBeforeFlush | Self::PretendedFlush | Self::SwallowedError => {
                &["durable-first", "kept", "recovery"]
            }
            Self::PushBeforeCommit => &["durable-first", "duplicates", "kept"],
            Self::TrimUnpersisted => &["recovery", "kept"],
            Self::LostLetter | Self::LostDurable => &["liveness", "kept", "no-panic"],
            Self::SwappedLetters => &["order", "liveness", "no-panic"],
            Self::ReversedDurable => &["order", "no-panic"],
            Self::ForgottenIdempotency => &["idempotency", "duplicates"],
            Self::StrangeBody => &["privacy"],
            Self::FlippedBody => &["content"],
            Self::ForgottenStamps => &["order", "recovery", "kept", "idempotency", "no-panic"],
        }
    }
}
