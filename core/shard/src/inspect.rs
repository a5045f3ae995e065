//! What a shard answers an operator who asks: how a user stands, where a message is, what is on
//! its way. Looks and changes nothing, not even whose turn it is to be let go.
//!
//! Invariant: one question is bounded work. A user has few devices and is found by its id; what
//! cannot be found by a key, a send that no record names yet, is searched in steps of
//! [`SEARCHED_USERS_MAX`] users, so that messages pass between two of them.

use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use crate::event::ConnectionKey;
use crate::idempotency::Held;
use crate::live::What;
use crate::loading::Waiting;
use crate::record::{Gap, Position};
use crate::session::SessionSlot;
use crate::shard::Shard;
use crate::user::{Device, Loading, Resident};
use crate::users::Standing;

/// Users looked at in one step of a search: tens of microseconds, less than a burst of messages.
pub const SEARCHED_USERS_MAX: u32 = 512;

/// Sends that one step of a search lists.
pub const UNDER_WAY_MAX: usize = 16;

/// How much of a user is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Residence {
    /// Nothing: the store has it.
    Absent,
    /// The store is asked, or will be.
    Loading,
    /// Everything but the contents of its queues.
    Resident,
}

/// How a user stands at its home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserView {
    /// How much of it is in memory.
    pub residence: Residence,
    /// Memory that it counts, bytes.
    pub bytes: u64,
    /// Events that wait for it to be loaded.
    pub waiting: usize,
    /// Messages to it that are not durable yet.
    pub arriving: u32,
    /// Its connections, latest sign-in first.
    pub sessions: Vec<SessionView>,
    /// Its devices, if it is resident.
    pub devices: Vec<DeviceView>,
}

/// A signed-in connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionView {
    /// The edge's name for it.
    pub connection: ConnectionKey,
    /// Which device.
    pub device: DeviceId,
    /// Number of the last stored push.
    pub last_push: u64,
    /// Granted window: unacked pushes.
    pub window_pushes: u16,
    /// Granted window, bytes.
    pub window_bytes: u32,
}

/// A device of a resident user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceView {
    /// Which device.
    pub device: DeviceId,
    /// A durable record says that it exists.
    pub durable: bool,
    /// It is on its way out: nothing more is queued for it.
    pub leaving: bool,
    /// When it was seen last, to a day; wall clock, milliseconds since 1970.
    pub seen_ms: u64,
    /// Messages in its queue.
    pub entries: usize,
    /// Their content, bytes.
    pub bytes: u64,
    /// Receipts in its queue.
    pub receipts: usize,
    /// Something was left out of its queue.
    pub gap: Option<Gap>,
    /// Room held in its queue for messages on the way.
    pub reserved: u32,
    /// Pushed and not acked.
    pub unacked: u32,
    /// The same, bytes.
    pub unacked_bytes: u64,
    /// Its sends that are not durable yet.
    pub in_flight: usize,
    /// Its sends that wait for a look-up.
    pub waiting: usize,
    /// Its acks that wait for the record before them.
    pub acks_waiting: usize,
}

/// A message that is looked for in the queues of one of its two users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageAsk {
    /// The record that accepted it.
    pub position: Position,
    /// The server's id.
    pub id: ServerId,
    /// Whose queues.
    pub user: UserId,
    /// The other side of the conversation.
    pub peer: UserId,
}

/// Where a message stands at one of its users.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageView {
    /// How much of the user is in memory.
    pub residence: Residence,
    /// Devices with a connection.
    pub connected: Vec<DeviceId>,
    /// Its devices, if it is resident.
    pub devices: Vec<MessageAtDevice>,
}

/// Where a message stands at one device of a resident user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageAtDevice {
    /// Which device.
    pub device: DeviceId,
    /// Its entry in the queue, if it still stands there.
    pub entry: Option<EntryView>,
    /// Receipts that tell of it and are not acked: their status, and the push that took each.
    pub receipts: Vec<(Status, Option<u64>)>,
    /// Pushes of the connection that are not acked, and how many its window takes.
    pub window: Option<(u32, u16)>,
}

/// An entry of a queue and what is on the way for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryView {
    /// The push that took it and waits for its ack.
    pub push: Option<u64>,
    /// It was acked before older ones of the same sender, and leaves with them.
    pub acked_early: bool,
    /// Its removal is on the way to the journal.
    pub leaving: bool,
}

/// A send that no durable record names yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnderWay {
    /// The sender.
    pub from: UserId,
    /// The sender's device.
    pub from_device: DeviceId,
    /// The recipient.
    pub to: UserId,
    /// Its content, bytes.
    pub body_bytes: u32,
    /// What it waits for.
    pub waits_for: WaitsFor,
}

/// What a send waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitsFor {
    /// The sender is being loaded.
    Sender,
    /// The store is asked whether the id was used before, for it or for a send before it.
    LookUp,
    /// It was accepted into flight: the recipient's home decides, then the journal writes.
    Journal,
    /// The recipient is being loaded.
    Recipient,
}

/// One step of a search.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchStep {
    /// What was found, at most [`UNDER_WAY_MAX`].
    pub found: Vec<UnderWay>,
    /// Where the next step goes on; `None`: the search has ended.
    pub next: Option<u32>,
}

impl Shard {
    /// How a user who is at home here stands.
    pub fn inspect_user(&self, user: UserId) -> UserView {
        let standing = self.users.standing(user);
        let sessions = self.sessions.of_user(user);
        let mut view = UserView {
            residence: residence(standing.map(|(standing, _)| standing)),
            bytes: standing.map_or(0, |(_, bytes)| bytes),
            waiting: 0,
            arriving: 0,
            sessions: sessions.into_iter().map(|slot| self.session_view(slot)).collect(),
            devices: Vec::new(),
        };
        match standing {
            Some((Standing::Resident(resident), _)) => {
                view.arriving = resident.arriving;
                let view_of = |device: &Device| {
                    let leaving = resident.is_removing(device.id);
                    DeviceView { leaving, ..device_view(device) }
                };
                view.devices = resident.devices.iter().map(view_of).collect();
            }
            Some((Standing::Loading(loading), _)) => view.waiting = loading.line.len(),
            None => {}
        }
        view
    }

    /// Where a message stands at one of its users who is at home here.
    pub fn inspect_message(&self, ask: MessageAsk) -> MessageView {
        let standing = self.users.standing(ask.user).map(|(standing, _)| standing);
        let connected = self.sessions.of_user(ask.user);
        let devices = match standing {
            Some(Standing::Resident(resident)) => {
                resident.devices.iter().map(|device| self.at_device(device, ask)).collect()
            }
            Some(Standing::Loading(_)) | None => Vec::new(),
        };
        MessageView {
            residence: residence(standing),
            connected: connected.into_iter().map(|slot| self.sessions[slot].device).collect(),
            devices,
        }
    }

    /// One step of the search for sends under `message_id` that are not durable yet, from the
    /// `from`th place among the users; it begins at 0.
    pub fn search_under_way(&self, message_id: MessageId, from: u32) -> SearchStep {
        if self.in_flight.count == 0 && self.waiting.count == 0 {
            return SearchStep::default();
        }
        let Some(users) = self.users.standings(from, SEARCHED_USERS_MAX) else {
            return SearchStep::default();
        };
        let mut found = Vec::new();
        let mut note = |under_way: UnderWay| {
            if found.len() < UNDER_WAY_MAX {
                found.push(under_way);
            }
        };
        for (user, standing) in users {
            match standing {
                Standing::Loading(loading) => search_line(loading, message_id, &mut note),
                Standing::Resident(resident) => {
                    search_resident(user, resident, message_id, &mut note);
                }
            }
        }
        SearchStep { found, next: Some(from + SEARCHED_USERS_MAX) }
    }

    fn session_view(&self, slot: SessionSlot) -> SessionView {
        let session = &self.sessions[slot];
        SessionView {
            connection: session.connection,
            device: session.device,
            last_push: session.last_push,
            window_pushes: session.window.pushes,
            window_bytes: session.window.bytes(),
        }
    }

    fn at_device(&self, device: &Device, ask: MessageAsk) -> MessageAtDevice {
        let number = |is_meant: &dyn Fn(&What) -> bool| {
            let live = device.live.as_ref()?;
            live.number_of(is_meant)
        };
        let entry = device.queue.find(ask.position).map(|queued| EntryView {
            push: number(
                &|what| matches!(what, What::Entry { position, .. } if *position == ask.position),
            ),
            acked_early: queued.flagged(),
            leaving: queued.leaving,
        });
        let tells = device.queue.receipts();
        let tells = tells.filter(|it| it.peer == ask.peer && it.receipt.id >= ask.id);
        let receipts = tells.map(|it| {
            let position = Position(it.receipt.position);
            let push = number(
                &|what| matches!(what, What::Receipt { position: at, .. } if *at == position),
            );
            (it.status, push)
        });
        let window = device
            .live
            .as_deref()
            .map(|live| (live.outstanding().0, self.sessions[live.session].window.pushes));
        MessageAtDevice { device: device.id, entry, receipts: receipts.collect(), window }
    }
}

fn residence(standing: Option<Standing<'_>>) -> Residence {
    match standing {
        None => Residence::Absent,
        Some(Standing::Loading(_)) => Residence::Loading,
        Some(Standing::Resident(_)) => Residence::Resident,
    }
}

fn device_view(device: &Device) -> DeviceView {
    let (entries, bytes) = device.queue.fill();
    let outstanding = device.live.as_ref().map(|live| live.outstanding());
    let (unacked, unacked_bytes) = outstanding.unwrap_or_default();
    let outgoing = device.outgoing.as_ref();
    DeviceView {
        device: device.id,
        durable: device.durable,
        leaving: false,
        seen_ms: device.seen_ms,
        entries,
        bytes,
        receipts: device.queue.receipts().len(),
        gap: device.queue.gap,
        reserved: device.queue.reserved(),
        unacked,
        unacked_bytes,
        in_flight: outgoing.map_or(0, |outgoing| outgoing.sending.len()),
        waiting: outgoing.map_or(0, |outgoing| outgoing.line.len()),
        acks_waiting: device.acks.waiting(),
    }
}

/// Sends of and to a user who is being loaded.
fn search_line(loading: &Loading, message_id: MessageId, note: &mut dyn FnMut(UnderWay)) {
    for waiting in &loading.line {
        match waiting {
            Waiting::Send(held) if held.request.message_id == message_id => {
                note(held_under_way(held, WaitsFor::Sender));
            }
            Waiting::Arrival(request) if request.message_id == message_id => note(UnderWay {
                from: request.from,
                from_device: request.from_device,
                to: request.to,
                body_bytes: request.body.len() as u32,
                waits_for: WaitsFor::Recipient,
            }),
            Waiting::Send(_)
            | Waiting::Arrival(_)
            | Waiting::Read { .. }
            | Waiting::SignIn(_)
            | Waiting::SignOut { .. }
            | Waiting::GapClosed { .. }
            | Waiting::Create { .. } => {}
        }
    }
}

/// Sends of a resident user.
fn search_resident(
    from: UserId,
    resident: &Resident,
    message_id: MessageId,
    note: &mut dyn FnMut(UnderWay),
) {
    for device in &resident.devices {
        let Some(outgoing) = device.outgoing.as_ref() else { continue };
        for sending in outgoing.sending.iter().filter(|it| it.message_id == message_id) {
            note(UnderWay {
                from,
                from_device: device.id,
                to: sending.to,
                body_bytes: sending.body_bytes,
                waits_for: WaitsFor::Journal,
            });
        }
        let held = outgoing.line.iter().filter(|it| it.request.message_id == message_id);
        held.for_each(|held| note(held_under_way(held, WaitsFor::LookUp)));
    }
}

fn held_under_way(held: &Held, waits_for: WaitsFor) -> UnderWay {
    let request = &held.request;
    UnderWay {
        from: request.from,
        from_device: request.from_device,
        to: request.to,
        body_bytes: request.body.len() as u32,
        waits_for,
    }
}
