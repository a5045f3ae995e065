//! The mailboxes of all workers: bounded, with the flag that says who sleeps.

use std::collections::VecDeque;
use std::sync::Arc;

use ringpost_conn::Letter;
use ringpost_ring::SleepFlag;
use ringpost_ring::fake::{FakeHandle, FakeWorld};

use crate::fact::Fact;
use crate::plant::Plant;
use crate::trace::Trace;

/// Of so many letters [`Plant::LoseLetter`] loses one.
const LOST_ONE_IN: u64 = 20;

/// One worker's mailbox.
pub(crate) struct Mailbox {
    letters: VecDeque<Letter>,
    sleep: Arc<SleepFlag>,
    handle: FakeHandle,
}

/// All of them, and how their owners are woken.
pub(crate) struct Mailboxes {
    boxes: Vec<Mailbox>,
    letters_max: usize,
    net: FakeWorld,
    plant: Option<Plant>,
    posted: u64,
}

impl Mailboxes {
    /// Empty ones.
    pub(crate) fn new(net: FakeWorld, letters_max: usize, plant: Option<Plant>) -> Self {
        Self { boxes: Vec::new(), letters_max, net, plant, posted: 0 }
    }

    /// Adds the next worker's and answers its flag.
    pub(crate) fn add(&mut self, handle: FakeHandle) -> Arc<SleepFlag> {
        let sleep = Arc::new(SleepFlag::new());
        let letters = VecDeque::new();
        self.boxes.push(Mailbox { letters, sleep: Arc::clone(&sleep), handle });
        sleep
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.boxes.len()
    }

    /// A letter of a worker: `Ok(true)` if the owner must be woken.
    pub(crate) fn try_post(&mut self, to: usize, letter: Letter) -> Result<bool, Letter> {
        let mailbox = &mut self.boxes[to];
        let is_full = mailbox.letters.len() >= self.letters_max;
        if is_full && self.plant != Some(Plant::IgnoreLimit) {
            return Err(letter);
        }
        mailbox.letters.push_back(letter);
        Ok(mailbox.sleep.should_wake())
    }

    /// Whether the next letter of a worker is lost, as [`Plant::LoseLetter`] has it.
    pub(crate) fn loses(&mut self) -> bool {
        self.posted += 1;
        self.plant == Some(Plant::LoseLetter) && self.posted.is_multiple_of(LOST_ONE_IN)
    }

    /// A letter of a thread without a ring.
    pub(crate) fn post(&mut self, to: usize, letter: Letter) -> Result<(), Letter> {
        if self.try_post(to, letter)? && self.plant != Some(Plant::LoseWake) {
            self.net.wake(self.boxes[to].handle);
        }
        Ok(())
    }

    /// The owner takes a letter.
    pub(crate) fn take(&mut self, of: usize) -> Option<Letter> {
        self.boxes[of].letters.pop_front()
    }

    /// Whether a letter waits.
    pub(crate) fn has_letters(&self, of: usize) -> bool {
        !self.boxes[of].letters.is_empty()
    }

    /// Tells the checkers what is held.
    pub(crate) fn tell(&self, trace: &Trace) {
        for mailbox in &self.boxes {
            let (held, max) = (mailbox.letters.len() as u64, self.letters_max as u64);
            trace.fact(Fact::Held { place: "mailbox", held, max });
        }
    }
}
