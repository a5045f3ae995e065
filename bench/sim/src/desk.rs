//! The neighbours of one worker in one turn, and the faults planted between them.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringpost_conn::driver::{CommitRefused, Committed, Neighbours};
use ringpost_conn::letter::CredentialRefused;
use ringpost_conn::output::Entrant;
use ringpost_conn::{Caller, Letter};
use ringpost_shard::event::{ConnectionKey, WorkerId};
use ringpost_shard::record::{AckHead, GapClosedHead, MessageHead};
use ringpost_shard::{Effect, Event, Head, Homes, Record, Shortage};
use ringpost_wire::{DeviceSet, UserId};

use crate::front_desk::FrontDesk;
use crate::fuse::Fuse;
use crate::mailboxes::Mailboxes;
use crate::plant::Plant;
use crate::storage::Storage;
use crate::tokens;

/// Tokens that may wait to be checked.
pub(crate) const CHECKS_MAX: usize = 64;

/// A token to be checked for a worker.
pub(crate) type Check = (WorkerId, ConnectionKey, String);

/// Everything that a worker reaches.
pub(crate) struct Desk<'a> {
    /// Which worker sits here.
    pub(crate) worker: usize,
    /// The time of the turn.
    pub(crate) now: Duration,
    /// All mailboxes.
    pub(crate) mailboxes: &'a mut Mailboxes,
    /// The storage tier.
    pub(crate) storage: &'a mut Storage,
    /// Tokens that wait to be checked.
    pub(crate) checks: &'a mut VecDeque<Check>,
    /// Who signs out.
    pub(crate) front_desk: &'a mut FrontDesk,
    /// The process's fuse.
    pub(crate) fuse: &'a Fuse,
    /// Where users are at home.
    pub(crate) homes: &'a Homes,
    /// The planted fault.
    pub(crate) plant: Option<Plant>,
}

impl Neighbours for Desk<'_> {
    fn shortage(&self) -> Option<Shortage> {
        self.storage.shortage()
    }

    fn next_letter(&mut self) -> Option<Letter> {
        self.mailboxes.take(self.worker)
    }

    fn has_letters(&self) -> bool {
        self.mailboxes.has_letters(self.worker)
    }

    fn try_post(&mut self, to: WorkerId, letter: Letter) -> Result<bool, Letter> {
        if !self.fuse.burn() || self.mailboxes.loses() {
            return Ok(false);
        }
        self.mailboxes.try_post(to.0.into(), letter)
    }

    fn try_commit(&mut self, records: Vec<Committed>) -> Result<(), CommitRefused> {
        if !self.fuse.burn() {
            return Ok(());
        }
        let records = self.spoil(records);
        self.storage.try_commit(records, self.mailboxes)
    }

    fn read(&mut self, from: WorkerId, question: Effect) -> Option<Event<'static>> {
        if !self.fuse.burn() {
            return None;
        }
        self.storage.read(from, question, self.now)
    }

    fn try_verify(
        &mut self,
        from: WorkerId,
        connection: ConnectionKey,
        token: String,
    ) -> Result<(), CredentialRefused> {
        if self.checks.len() >= CHECKS_MAX {
            return Err(CredentialRefused::Busy);
        }
        self.checks.push_back((from, connection, token));
        Ok(())
    }

    fn request_done(&mut self, ticket: u64, done: bool) {
        self.front_desk.answer(ticket, done);
    }

    fn signed_in(&mut self, _entrant: Entrant) {}

    fn foreign_origin(&mut self, origin: Vec<u8>) {
        unreachable!("nobody comes from a web page here, and none is {origin:?}");
    }

    fn hand_over(
        &mut self,
        _from: WorkerId,
        _fd: OwnedFd,
        _read: Vec<u8>,
        _caller: Option<Caller>,
    ) {
        unreachable!("nobody speaks plain HTTP here");
    }

    fn refuse(&mut self, _fd: OwnedFd) {
        unreachable!("nothing is given back where nothing was handed over");
    }
}

impl Desk<'_> {
    /// Commits the planted faults that lie between a worker and the journal.
    fn spoil(&self, mut records: Vec<Committed>) -> Vec<Committed> {
        match self.plant {
            Some(Plant::ReorderSends) => {
                let is_message = |it: &Committed| matches!(it.0.head, Head::Message(_));
                for at in 1..records.len() {
                    if is_message(&records[at - 1]) && is_message(&records[at]) {
                        records.swap(at - 1, at);
                    }
                }
            }
            Some(Plant::LeakAcrossUsers) => {
                for (record, touch) in &mut records {
                    if let Head::Message(head) = &record.head {
                        let (head, body) = (leaked(head), record.body.clone());
                        *touch |= 1 << self.homes.home(head.to).0;
                        *record = Arc::new(Record { head: Head::Message(head), body });
                    }
                }
            }
            Some(Plant::DropRecord) => {
                for (record, touch) in &mut records {
                    if let Head::Message(head) = &record.head {
                        let (to, from) = (self.homes.home(head.to), self.homes.home(head.from));
                        if to != from {
                            *touch &= !(1 << to.0);
                        }
                    }
                }
            }
            Some(Plant::CloseGapByAck) => {
                for at in (0..records.len()).rev() {
                    if let Head::Ack(AckHead { user, device, .. }) = records[at].0.head {
                        let head = GapClosedHead { user, device, number: u64::MAX };
                        let (head, body) = (Head::GapClosed(head), Bytes::new());
                        let closed = (Arc::new(Record { head, body }), records[at].1);
                        records.insert(at + 1, closed);
                    }
                }
            }
            Some(Plant::GapOfFirstDevice) => {
                for (record, _) in &mut records {
                    if let Head::Message(head) = &record.head {
                        let first = |set: DeviceSet| set.iter().take(1).collect();
                        let head = Head::Message(MessageHead {
                            recipient_gaps: first(head.recipient_gaps),
                            copy_gaps: first(head.copy_gaps),
                            ..head.clone()
                        });
                        *record = Arc::new(Record { head, body: record.body.clone() });
                    }
                }
            }
            _ => {}
        }
        records
    }
}

/// The message as if it had been written to another user.
fn leaked(head: &MessageHead) -> MessageHead {
    let number = tokens::number_of(head.to).unwrap_or(0);
    MessageHead { to: other_than(number), ..head.clone() }
}

fn other_than(number: u8) -> UserId {
    tokens::user_id((number + 1) % 2)
}
