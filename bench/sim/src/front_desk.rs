//! The simulator's REST: devices sign out. Revocations are durable at once, as accounts are, and shown
//! to the homes at each start; the removal is the home's, and is told when it is durable.

use std::collections::{BTreeMap, VecDeque};

use ringpost_conn::Letter;
use ringpost_shard::{Event, Homes};
use ringpost_wire::{DeviceId, UserId};

use crate::fact::Who;
use crate::mailboxes::Mailboxes;
use crate::plant::Plant;
use crate::tokens::user_id;

/// Until when the credentials of each device are void, wall clock ms: outlives the process.
pub(crate) type Revoked = BTreeMap<Who, u64>;

/// What one life of the server is asked.
#[derive(Default)]
pub(crate) struct FrontDesk {
    /// Not posted yet, for want of room.
    letters: VecDeque<(usize, Letter)>,
    asked: BTreeMap<u64, Who>,
    next: u64,
    answers: Vec<(Who, bool)>,
}

impl FrontDesk {
    /// A device signs out; its credentials are void from here on.
    pub(crate) fn sign_out(
        &mut self,
        who: Who,
        before_ms: u64,
        (homes, plant): (&Homes, Option<Plant>),
    ) {
        self.next += 1;
        let ticket = self.next;
        let (user, device) = (user_id(who.user), device_id(who));
        let event = if plant == Some(Plant::RestOwnedByConnection) {
            self.answers.push((who, true));
            Event::Revoke { user, device, before_ms }
        } else {
            self.asked.insert(ticket, who);
            Event::RemoveDevice { user, device, before_ms, ticket }
        };
        self.letters.push_back((homes.home(user).0.into(), Letter::Event(event)));
    }

    /// The home has decided.
    pub(crate) fn answer(&mut self, ticket: u64, done: bool) {
        let who = self.asked.remove(&ticket).expect("what is asked is answered once");
        self.answers.push((who, done));
    }

    /// What devices are told now.
    pub(crate) fn take_answers(&mut self) -> Vec<(Who, bool)> {
        std::mem::take(&mut self.answers)
    }

    /// Posts what there is room for.
    pub(crate) fn step(&mut self, mailboxes: &mut Mailboxes) {
        while let Some((home, letter)) = self.letters.pop_front() {
            if let Err(letter) = mailboxes.post(home, letter) {
                return self.letters.push_front((home, letter));
            }
        }
    }
}

/// What a home must know that was revoked before.
pub(crate) fn revocations(
    revoked: &Revoked,
    is_home: impl Fn(UserId) -> bool,
) -> Vec<Event<'static>> {
    let own = revoked.iter().filter(|(who, _)| is_home(user_id(who.user)));
    let event = |(&who, &before_ms): (&Who, &u64)| {
        let (user, device) = (user_id(who.user), device_id(who));
        Event::Revoke { user, device, before_ms }
    };
    own.map(event).collect()
}

fn device_id(who: Who) -> DeviceId {
    DeviceId::new(who.device).expect("devices are numbered from 1")
}
