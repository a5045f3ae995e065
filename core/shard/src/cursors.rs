//! The cursors that a user moved lately, so that none moves back and none is written twice.
//!
//! A second device that acks behind the first, or a client that reports `read` again, would
//! otherwise cost a journal record and show the sender a receipt older than the last. Bounded and
//! not durable: what is forgotten is written again, and the store never moves a cursor down.

use std::collections::VecDeque;

use ringpost_wire::event::Status;
use ringpost_wire::{ServerId, UserId};

/// Cursors remembered per resident user.
const REMEMBERED: usize = 32;

/// The cursors moved last, oldest first.
#[derive(Default, Debug)]
pub(crate) struct Cursors(VecDeque<(UserId, Status, ServerId)>);

impl Cursors {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(UserId, Status, ServerId)>()
    }

    /// Whether `id` lies above the cursor of (`sender`, `status`) as far as is remembered; then
    /// it is the cursor.
    pub(crate) fn raise(&mut self, sender: UserId, status: Status, id: ServerId) -> bool {
        let found = self.0.iter().position(|&(peer, moved, _)| peer == sender && moved == status);
        match found {
            Some(at) if self.0[at].2 >= id => return false,
            Some(at) => {
                self.0.remove(at);
            }
            None if self.0.len() >= REMEMBERED => {
                self.0.pop_front();
            }
            None => {}
        }
        self.0.push_back((sender, status, id));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_moves_up_only_and_the_oldest_are_forgotten() {
        let mut cursors = Cursors::default();
        let (one, low, high) = (UserId([1; 16]), ServerId([1; 16]), ServerId([2; 16]));
        assert!(cursors.raise(one, Status::Delivered, high));
        assert!(!cursors.raise(one, Status::Delivered, high));
        assert!(!cursors.raise(one, Status::Delivered, low));
        assert!(cursors.raise(one, Status::Read, low), "each status has its own");
        for number in 2..=40 {
            cursors.raise(UserId([number; 16]), Status::Read, low);
        }
        assert_eq!(cursors.0.len(), REMEMBERED);
        assert!(cursors.raise(one, Status::Delivered, low), "forgotten");
    }
}
