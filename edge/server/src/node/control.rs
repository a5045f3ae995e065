//! What REST asks of the workers, carried by letters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ringpost_conn::Letter;
use ringpost_conn::letter::Returned;
use ringpost_conn::question::{Answer, Question, Reply};
use ringpost_shard::event::WorkerId;
use ringpost_shard::{Event, Homes};
use ringpost_wire::{DeviceId, UserId};
use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use crate::control::{Control, Doors, Inspect};

/// Registrations and sign-outs that may be under way. REST answers `overloaded` above it.
const REQUESTS_MAX: usize = 4_096;

/// Registrations and sign-outs that wait for their record to be durable.
#[derive(Default)]
pub(super) struct Requests {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    by_ticket: HashMap<u64, oneshot::Sender<bool>>,
}

impl Requests {
    fn add(&self, sender: oneshot::Sender<bool>) -> Option<u64> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.by_ticket.len() >= REQUESTS_MAX {
            return None;
        }
        waiting.next += 1;
        let ticket = waiting.next;
        waiting.by_ticket.insert(ticket, sender);
        Some(ticket)
    }

    /// The home of the user has decided.
    pub(super) fn answer(&self, ticket: u64, done: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.by_ticket.remove(&ticket) {
            // REST may have given up waiting.
            let _ = sender.send(done);
        }
    }
}

/// The workers, as REST and the private port see them.
#[derive(Clone)]
pub(super) struct Workers {
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) homes: Homes,
    pub(super) requests: Arc<Requests>,
}

impl Workers {
    fn home(&self, user: UserId) -> &Mailbox {
        &self.mailboxes[usize::from(self.homes.home(user).0)]
    }
}

impl Control for Workers {
    fn revoke(&self, user: UserId, device: DeviceId, before_ms: u64) {
        self.home(user).post(Letter::Event(Event::Revoke { user, device, before_ms }));
    }

    fn remove_device(
        &self,
        user: UserId,
        device: DeviceId,
        before_ms: u64,
    ) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        if let Some(ticket) = self.requests.add(sender) {
            let event = Event::RemoveDevice { user, device, before_ms, ticket };
            self.home(user).post(Letter::Event(event));
        }
        receiver
    }

    fn create_user(&self, user: UserId) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        if let Some(ticket) = self.requests.add(sender) {
            self.home(user).post(Letter::Event(Event::CreateUser { user, ticket }));
        }
        receiver
    }
}

impl Doors for Workers {
    fn give_back(&self, to: WorkerId, returned: Returned) -> Result<(), Returned> {
        let mailbox = &self.mailboxes[usize::from(to.0)];
        match mailbox.try_post(Letter::Returned(Box::new(returned))) {
            Ok(sleeps) => {
                if sleeps {
                    mailbox.ring();
                }
                Ok(())
            }
            Err(Letter::Returned(returned)) => Err(*returned),
            Err(_) => unreachable!("the letter itself comes back"),
        }
    }
}

impl Inspect for Workers {
    fn workers(&self) -> u16 {
        self.mailboxes.len() as u16
    }

    fn home(&self, user: UserId) -> WorkerId {
        self.homes.home(user)
    }

    fn trust_clock(&self) {
        for mailbox in &self.mailboxes {
            mailbox.post(Letter::TrustClock);
        }
    }

    fn ask(&self, worker: WorkerId, question: Question) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply::new(move |answer| {
            // Who asked may have given up waiting.
            let _ = sender.send(answer);
        });
        let letter = Letter::Ask { question: Box::new(question), reply };
        // Without room, or without a worker, the way back is dropped with the letter.
        let _ = self.mailboxes[usize::from(worker.0)].offer(letter);
        receiver
    }
}
