//! Questions of the workers to the store: each waits until its position has been applied.

use std::time::Duration;

use ringpost_shard::event::WorkerId;
use ringpost_shard::image::{MessageRow, StoreUnavailable};
use ringpost_shard::record::EntryKind;
use ringpost_shard::{Effect, Event, Position};
use ringpost_store::{Store, StoreError};
use ringpost_wire::MessageId;

use crate::content;
use crate::dice::Dice;
use crate::fact::Fact;
use crate::plant::Plant;
use crate::trace::Trace;

/// Questions at once.
const READS_MAX: usize = 64;

/// A question waits this long at most.
const WAIT_MAX: Duration = Duration::from_secs(1);

struct Read {
    worker: WorkerId,
    question: Effect,
    due: Duration,
    deadline: Duration,
}

/// The line of questions.
pub(crate) struct Reads {
    line: Vec<Read>,
    error_in: u64,
    plant: Option<Plant>,
    dice: Dice,
}

impl Reads {
    /// Nothing asked yet; a read fails once in `error_in`.
    pub(crate) fn new(error_in: u64, plant: Option<Plant>, dice: Dice) -> Self {
        Self { line: Vec::new(), error_in, plant, dice }
    }

    /// From here on nothing fails.
    pub(crate) fn heal(&mut self) {
        self.error_in = 0;
    }

    /// What must be applied before the question is answered.
    pub(crate) fn after(&self, question: &Effect) -> Position {
        match question {
            Effect::Load { after, .. }
            | Effect::LookUpAccepted { after, .. }
            | Effect::ReadMessages { after, .. }
            | Effect::FindReceived { after, .. } => *after,
            other => unreachable!("not a question to the store: {other:?}"),
        }
    }

    /// Takes a question, or answers it at once because there is no room.
    pub(crate) fn push(
        &mut self,
        worker: WorkerId,
        question: Effect,
        due: Duration,
    ) -> Option<Event<'static>> {
        if self.line.len() >= READS_MAX {
            return Some(unavailable(question));
        }
        let deadline = due + WAIT_MAX;
        self.line.push(Read { worker, question, due, deadline });
        None
    }

    /// Answers what is due.
    pub(crate) fn answers(
        &mut self,
        store: &impl Store,
        now: Duration,
    ) -> Vec<(WorkerId, Event<'static>)> {
        let (mut answers, applied) = (Vec::new(), store.applied());
        let (due, waiting) = std::mem::take(&mut self.line)
            .into_iter()
            .partition(|read| read.deadline <= now || read.due <= now);
        self.line = waiting;
        let due: Vec<Read> = due;
        for read in due {
            let is_ripe = self.after(&read.question) <= applied;
            if !is_ripe && read.deadline > now {
                self.line.push(read);
            } else if !is_ripe || self.dice.one_in(self.error_in) {
                answers.push((read.worker, unavailable(read.question)));
            } else {
                answers.push((read.worker, self.answer(store, read.question)));
            }
        }
        answers
    }

    /// Tells the checkers what is held.
    pub(crate) fn tell(&self, trace: &Trace) {
        let (held, max) = (self.line.len() as u64, READS_MAX as u64);
        trace.fact(Fact::Held { place: "reads", held, max });
    }

    fn answer(&self, store: &impl Store, question: Effect) -> Event<'static> {
        match question {
            Effect::Load { user, .. } => {
                let mut image = store.user(user);
                if self.plant == Some(Plant::ForgetCursors) {
                    image.iter_mut().flatten().for_each(|image| image.cursors.clear());
                }
                for device in image.iter_mut().flatten().flat_map(|image| &mut image.devices) {
                    if self.plant == Some(Plant::ForgetIdempotency) {
                        device.highest_accepted = MessageId::default();
                    }
                    if self.plant == Some(Plant::ForgetQueue) {
                        device.entries.clear();
                    }
                    if self.plant == Some(Plant::ForgetShares) {
                        // What a user's other devices sent is nobody's share.
                        let kinds = device.entries.iter_mut().map(|(_, entry)| &mut entry.kind);
                        kinds.for_each(|kind| *kind = EntryKind::Copy);
                    }
                }
                Event::Loaded { user, answer: whole(image) }
            }
            Effect::LookUpAccepted { user, device, message_id, .. } => {
                let found = store.accepted(user, device, message_id);
                let forgets = self.plant == Some(Plant::ForgetIdempotency);
                let answer = whole(found).map(|found| found.filter(|_| !forgets));
                Event::AcceptedFound { user, device, message_id, answer }
            }
            Effect::ReadMessages { user, device, ids, .. } => {
                let mut rows = store.messages(&ids);
                if self.plant == Some(Plant::FlipBody) {
                    rows.iter_mut().flatten().flatten().for_each(flip);
                }
                let rows = rows.map(|rows| ids.into_iter().zip(rows).collect());
                Event::MessagesRead { user, device, answer: whole(rows) }
            }
            Effect::FindReceived { user, device, id, .. } => {
                let answer = whole(store.received(id)).map(|found| found.map(Box::new));
                Event::ReceivedFound { user, device, answer }
            }
            other => unreachable!("not a question to the store: {other:?}"),
        }
    }
}

/// Turns over a bit of the padding, where no marker stands.
fn flip(row: &mut MessageRow) {
    let mut bytes = row.body.to_vec();
    if bytes.len() > content::BYTES_MIN {
        bytes[content::BYTES_MIN] ^= 1;
    }
    row.body = bytes.into();
}

/// # Panics
/// If the store is damaged: nothing damages it here.
fn whole<T>(answer: Result<T, StoreError>) -> Result<T, StoreUnavailable> {
    match answer {
        Err(StoreError::CatchingUp) => Err(StoreUnavailable),
        answer => Ok(answer.expect("the store's rows are whole")),
    }
}

fn unavailable(question: Effect) -> Event<'static> {
    let answer = StoreUnavailable;
    match question {
        Effect::Load { user, .. } => Event::Loaded { user, answer: Err(answer) },
        Effect::LookUpAccepted { user, device, message_id, .. } => {
            Event::AcceptedFound { user, device, message_id, answer: Err(answer) }
        }
        Effect::ReadMessages { user, device, .. } => {
            Event::MessagesRead { user, device, answer: Err(answer) }
        }
        Effect::FindReceived { user, device, .. } => {
            Event::ReceivedFound { user, device, answer: Err(answer) }
        }
        other => unreachable!("not a question to the store: {other:?}"),
    }
}
