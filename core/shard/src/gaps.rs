//! What is not in a device's queue: told behind the last push, and closed when the device says so.
//!
//! ```text
//!  no room, too old ──record──> the queue is marked ──pushed to its end──> queue_empty { gap }
//!        ^                           │                                          │
//!        │  a higher number, told    │ signs in anew                            v
//!        └──────── again ────────────┴──── told again            gap_closed ──record──> no mark
//! ```
//! An ack never touches the mark. What was told on a connection is remembered in its session as one
//! of three words, so that an idle one costs no more: who is let go has nothing to be told, and no
//! record changes the mark of a user who is away, because whatever widens or closes a gap keeps its
//! user resident until it is durable. So the mark that is loaded is the one that was told.

use bytes::Bytes;
use ringpost_wire::{DeviceId, ErrorCode, Event as WireEvent, HistoryCursor, MessageId, event};

use crate::bound::Overload;
use crate::idempotency::Asker;
use crate::loading::Waiting;
use crate::record::{Gap, GapClosedHead, Head, Position};
use crate::refusal::Refusal;
use crate::session::{SessionSlot, Told};
use crate::shard::Shard;
use crate::turn::Turn;
use crate::users::{Found, UserSlot};

impl Shard {
    /// The queue is pushed to its end: that is said once per connection, and again whenever the
    /// gap has grown; but not before what the connection found on the way has come, nor before
    /// what leaves unseen has widened the gap, or the closing that is on the way has removed it.
    pub(crate) fn caught_up(&mut self, at: UserSlot, id: DeviceId, turn: &mut Turn<'_>) {
        let device = self.users.resident_mut(at).device(id);
        let Some(live) = device.live.as_mut() else { return };
        let (session, mark) = (live.session, device.queue.gap);
        let is_closing = mark.is_some_and(|gap| device.closing >= Some(gap.number));
        if live.ahead > 0 || device.acks.misses() || is_closing || !live.owes(mark) {
            return;
        }
        if !self.has_room(session) {
            return self.want_writable(session, turn);
        }
        let live = self.users.resident_mut(at).device(id).live.as_mut();
        live.expect("looked at above").told = Some(mark.map_or(Position(0), |gap| gap.number));
        self.sessions[session].told = if mark.is_some() { Told::Gap } else { Told::Empty };
        self.counters.gaps_told += u64::from(mark.is_some());
        let gap = mark.map(|Gap { number, after }| event::Gap {
            number: number.0,
            after: HistoryCursor(after.0).to_text(),
        });
        self.sessions.deliver(session, 0, WireEvent::QueueEmpty { gap }, turn);
    }

    /// What was told on a session's earlier residence of its user.
    pub(crate) fn told(&self, slot: SessionSlot, mark: Option<Gap>) -> Option<Position> {
        match self.sessions[slot].told {
            Told::Nothing => None,
            Told::Empty => Some(Position(0)),
            // Without a mark the gap was closed since, and so was every one up to here.
            Told::Gap => Some(mark.map_or(self.handed, |gap| gap.number)),
        }
    }

    /// A device says that it has read what a gap left out.
    pub(crate) fn gap_closed(
        &mut self,
        asker: Asker,
        slot: SessionSlot,
        number: u64,
        turn: &mut Turn<'_>,
    ) {
        let user = self.sessions[slot].user;
        if self.sessions[slot].told != Told::Gap {
            return self.refuse_unknown_gap(asker, turn);
        }
        if self.users.find(user) == Found::Absent {
            self.load_for_session(user, turn);
        }
        let waits = match self.users.find(user) {
            Found::Resident(at) => return self.close_gap(at, slot, asker, number, turn),
            Found::Loading(at) => self.wait_for_load(at, Waiting::GapClosed { asker, number }),
            Found::Absent => unreachable!("a load was just begun"),
        };
        if let Err(bound) = waits {
            self.refuse(asker, MessageId::default(), self.overloaded(Overload::At(bound)), turn);
        }
    }

    /// A `gap_closed` whose user is resident.
    pub(crate) fn close_gap(
        &mut self,
        at: UserSlot,
        slot: SessionSlot,
        asker: Asker,
        number: u64,
        turn: &mut Turn<'_>,
    ) {
        let id = self.sessions[slot].device;
        let resident = self.users.resident_mut(at);
        let user = resident.id;
        let Some(device) = resident.find_device(id) else { return };
        let told = device.live.as_ref().and_then(|live| live.told).unwrap_or_default();
        let number = Position(number);
        if number == Position(0) || number > told {
            return self.refuse_unknown_gap(asker, turn);
        }
        let is_old = device.queue.gap.is_none_or(|gap| gap.number > number);
        if is_old || device.closing >= Some(number) {
            return;
        }
        if self.journal_failed {
            return self.refuse(asker, MessageId::default(), self.unavailable(), turn);
        }
        self.users.resident_mut(at).device(id).closing = Some(number);
        let head = GapClosedHead { user, device: id, number: number.0 };
        self.commit(Head::GapClosed(head), Bytes::new(), turn);
    }

    /// A `GapClosed` of this shard is durable and folded.
    pub(crate) fn gap_closed_durable(&mut self, head: &GapClosedHead) {
        self.counters.gaps_closed += 1;
        if let Found::Resident(at) = self.users.find(head.user)
            && let Some(device) = self.users.resident_mut(at).find_device(head.device)
        {
            // One of a higher number may be on its way behind this.
            device.closing = device.closing.filter(|closing| closing.0 > head.number);
        }
    }

    fn refuse_unknown_gap(&mut self, asker: Asker, turn: &mut Turn<'_>) {
        let refusal = Refusal::now(ErrorCode::UnknownGap);
        self.refuse(asker, MessageId::default(), refusal, turn);
    }
}
