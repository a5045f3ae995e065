//! A worker's mailbox: a bounded queue of letters, and how its owner is woken.
//!
//! Other threads push and then look at the sleep flag (see `ringpost_ring::SleepFlag`): a worker
//! that is awake costs them no system call. Threads without a ring may wait for room, which is
//! safe because a worker never waits for anybody; a worker never waits: it keeps what does not
//! fit and tries again in its next turn.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use ringpost_conn::Letter;
use ringpost_ring::{EventWaker, SleepFlag};

/// Letters that may wait for one worker. A letter is a batch: the mail of a peer's turn, or a
/// worker's share of one group commit. What may be in flight bounds them far below this.
pub(super) const LETTERS_MAX: usize = 65_536;

/// What other threads hold of a worker.
pub(super) struct Mailbox {
    letters: Sender<Letter>,
    sleep: Arc<SleepFlag>,
    waker: EventWaker,
}

/// What the worker holds of its mailbox.
pub(super) struct Inbox {
    pub(super) letters: Receiver<Letter>,
    pub(super) sleep: Arc<SleepFlag>,
}

impl Mailbox {
    /// A mailbox whose owner is woken by `waker`.
    pub(super) fn new(waker: EventWaker) -> (Self, Inbox) {
        let (sender, receiver) = bounded(LETTERS_MAX);
        let sleep = Arc::new(SleepFlag::new());
        let mailbox = Self { letters: sender, sleep: Arc::clone(&sleep), waker };
        (mailbox, Inbox { letters: receiver, sleep })
    }

    /// Delivers a letter from a thread that may wait for room. A worker that has ended reads no
    /// more: the letter is dropped.
    pub(super) fn post(&self, letter: Letter) {
        if self.letters.send(letter).is_ok() {
            self.wake();
        }
    }

    /// Delivers a letter if there is room. `Ok(true)`: the owner sleeps and the caller must wake
    /// it.
    pub(super) fn try_post(&self, letter: Letter) -> Result<bool, Letter> {
        match self.letters.try_send(letter) {
            Ok(()) => Ok(self.sleep.should_wake()),
            Err(TrySendError::Full(letter)) => Err(letter),
            Err(TrySendError::Disconnected(_)) => Ok(false),
        }
    }

    /// Delivers a letter from a thread that does not wait for room; answers whether there was some.
    pub(super) fn offer(&self, letter: Letter) -> bool {
        let is_taken = self.letters.try_send(letter).is_ok();
        if is_taken {
            self.wake();
        }
        is_taken
    }

    /// Wakes the owner, which sleeps as [`Mailbox::try_post`] said.
    pub(super) fn ring(&self) {
        self.waker.wake();
    }

    /// Wakes the owner if it sleeps.
    pub(super) fn wake(&self) {
        if self.sleep.should_wake() {
            self.waker.wake();
        }
    }
}
