//! Letters on their way to other workers: kept, in order, until the peer's mailbox has room.
//!
//! A worker never waits for a peer: what a full mailbox refuses stays here and is offered again in
//! the next turn. Nothing is dropped and nothing overtakes. Bounded by what may be in flight and on
//! the move: room for a letter is taken before its cause.

use std::collections::VecDeque;

use ringpost_shard::event::WorkerId;

use crate::letter::Letter;

/// One line for each peer.
#[derive(Debug, Default)]
pub struct Outgoing {
    lines: Vec<VecDeque<Letter>>,
}

impl Outgoing {
    /// Empty lines to so many workers.
    pub fn new(workers: usize) -> Self {
        Self { lines: std::iter::repeat_with(VecDeque::new).take(workers).collect() }
    }

    /// Puts a letter behind those that wait for the same peer.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn push(&mut self, to: WorkerId, letter: Letter) {
        self.lines[usize::from(to.0)].push_back(letter);
    }

    /// Whether no letter waits.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    /// Letters that wait, for all peers together.
    pub fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// Hands letters over as far as there is room. `try_post` answers whether the peer must be
    /// woken, or gives the letter back; `wake` is called at most once for each peer.
    pub fn deliver(
        &mut self,
        mut try_post: impl FnMut(WorkerId, Letter) -> Result<bool, Letter>,
        mut wake: impl FnMut(WorkerId),
    ) {
        for (number, line) in (0..).zip(&mut self.lines) {
            let peer = WorkerId(number);
            let mut must_wake = false;
            // Ends: each round posts a letter that waited, or is the last.
            while let Some(letter) = line.pop_front() {
                match try_post(peer, letter) {
                    Ok(asleep) => must_wake |= asleep,
                    Err(letter) => {
                        line.push_front(letter);
                        break;
                    }
                }
            }
            if must_wake {
                wake(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_keeps_the_letters_in_order_and_holds_up_no_other_peer() {
        let mut outgoing = Outgoing::new(2);
        let (full, other) = (WorkerId(0), WorkerId(1));
        (1..=3).for_each(|token| outgoing.push(full, Letter::MoveFailed { token }));
        outgoing.push(other, Letter::MoveFailed { token: 9 });
        let (mut posted, mut woken, mut room) = (Vec::new(), Vec::new(), 1);
        while !outgoing.is_empty() {
            outgoing.deliver(
                |to, letter| {
                    let Letter::MoveFailed { token } = letter else { unreachable!() };
                    if to == full && room == 0 {
                        return Err(letter);
                    }
                    room -= u64::from(to == full);
                    posted.push(token);
                    Ok(true)
                },
                |peer| woken.push(peer),
            );
            room = 2;
        }
        assert_eq!(posted, [1, 9, 2, 3]);
        assert_eq!(woken, [full, other, full], "once for each peer and delivery");
    }
}
