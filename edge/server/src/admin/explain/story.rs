//! One message as it is told: what the store knows of it, and what its two homes add.
//!
//! Pure. A home that holds its user knows more than the store (what was pushed, what is on the way
//! to the journal) and is believed; else the store is.

use std::time::Duration;

use ringpost_shard::inspect::{EntryView, MessageAtDevice, MessageView};
use ringpost_shard::record::QueueEntry;
use ringpost_store::Trace;
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, DeviceSet};
use serde::Serialize;
use uuid::Uuid;

use crate::admin::users::residence;

/// What a user's home has answered.
pub(super) struct Home {
    pub(super) worker: u16,
    pub(super) view: Option<MessageView>,
}

/// A message, from its acceptance to its last receipt.
#[derive(Serialize)]
pub(super) struct Story {
    id: Uuid,
    message_id: Uuid,
    /// The furthest that its sender may be told: `sent`, `delivered` or `read`.
    status: &'static str,
    received: Received,
    committed: Committed,
    sender: Side,
    recipient: Side,
}

#[derive(Serialize)]
struct Received {
    /// When the server stamped it.
    at_ms: u64,
    /// The sender's clock.
    client_timestamp_ms: u64,
    bytes: u64,
    plain: bool,
}

#[derive(Serialize)]
struct Committed {
    /// Its record's place in the journal.
    position: u64,
    /// The last record of the state of the store that was read.
    applied: u64,
}

/// One of its two users.
#[derive(Serialize)]
struct Side {
    user: Uuid,
    worker: u16,
    in_memory: &'static str,
    devices: Vec<AtDevice>,
}

/// Where it stands at one device.
#[derive(Serialize)]
struct AtDevice {
    device: u8,
    #[serde(skip_serializing_if = "is_false")]
    sent_it: bool,
    /// Absent where the worker did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<bool>,
    /// The message, or the copy of it, in the device's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Standing>,
    /// The receipts that tell the device of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    receipts: Vec<ReceiptRow>,
}

#[derive(Serialize, PartialEq, Debug)]
struct Standing {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<u64>,
    why: String,
}

#[derive(Serialize)]
struct ReceiptRow {
    status: &'static str,
    #[serde(flatten)]
    standing: Standing,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Story {
    /// The story of a message at `now_ms`, where entries wait for `queue_ttl`.
    pub(super) fn of(
        trace: &Trace,
        sender: &Home,
        recipient: &Home,
        (now_ms, queue_ttl): (u64, Duration),
    ) -> Self {
        let head = &trace.head;
        let at_ms = head.accepted_ms;
        let age = Duration::from_millis(now_ms.saturating_sub(at_ms));
        let teller = Teller { trace, is_young: age < queue_ttl };
        let status = match (trace.read, trace.delivered) {
            (true, _) => "read",
            (false, true) => "delivered",
            (false, false) => "sent",
        };
        let named = |home: &Home, user: Uuid, devices| Side {
            user,
            worker: home.worker,
            in_memory: home.view.as_ref().map_or("unknown", |view| residence(view.residence)),
            devices,
        };
        Self {
            id: head.id.uuid(),
            message_id: head.message_id.uuid(),
            status,
            received: Received {
                at_ms,
                client_timestamp_ms: head.client_timestamp_ms,
                bytes: trace.body_bytes,
                plain: head.plain,
            },
            committed: Committed { position: trace.position.0, applied: trace.applied.0 },
            sender: named(sender, head.from.uuid(), teller.senders(sender)),
            recipient: named(recipient, head.to.uuid(), teller.recipients(recipient)),
        }
    }
}

struct Teller<'a> {
    trace: &'a Trace,
    /// Its time to live in a queue is not over.
    is_young: bool,
}

impl Teller<'_> {
    fn recipients(&self, home: &Home) -> Vec<AtDevice> {
        let head = &self.trace.head;
        let devices = union([head.recipient_devices, head.recipient_gaps]);
        let row = |device| AtDevice {
            device: DeviceId::number(device),
            sent_it: false,
            connected: connected(home, device),
            message: self.standing(home, device, head.recipient_gaps, &self.trace.recipients),
            receipts: Vec::new(),
        };
        devices.iter().map(row).collect()
    }

    fn senders(&self, home: &Home) -> Vec<AtDevice> {
        let head = &self.trace.head;
        let own = DeviceSet::only(head.from_device);
        let devices = union([own, head.sender_devices, head.copy_devices, head.copy_gaps]);
        let row = |device| AtDevice {
            device: DeviceId::number(device),
            sent_it: device == head.from_device,
            connected: connected(home, device),
            message: self.standing(home, device, head.copy_gaps, &self.trace.copies),
            receipts: self.receipts(home, device),
        };
        devices.iter().map(row).collect()
    }

    /// The message in the queue of one device; `None` if it was not queued for it.
    fn standing(
        &self,
        home: &Home,
        device: DeviceId,
        gaps: DeviceSet,
        stored: &[(DeviceId, Option<QueueEntry>)],
    ) -> Option<Standing> {
        if gaps.contains(device) {
            let why = "the device's queue was full when it came, or had a gap: history has it";
            return Some(standing("gap", why));
        }
        let (_, entry) = stored.iter().find(|(known, _)| *known == device)?;
        let told = match at_device(home, device) {
            Some(view) => view.entry.map(|entry| live_entry(entry, view)),
            None => entry.map(|entry| match entry.acked {
                true => acked_early(),
                false => standing("queued", not_pushed(home, device)),
            }),
        };
        Some(told.unwrap_or_else(|| match self.is_young {
            true => standing("acked", "the device has it"),
            false => standing("left", "the device has it, or its time in the queue was over"),
        }))
    }

    fn receipts(&self, home: &Home, device: DeviceId) -> Vec<ReceiptRow> {
        if !self.trace.head.sender_devices.contains(device) {
            return Vec::new();
        }
        let reached = [(Status::Delivered, self.trace.delivered), (Status::Read, self.trace.read)];
        let mut rows = Vec::new();
        for (status, is_reached) in reached {
            let waits = match at_device(home, device) {
                Some(view) => {
                    let waits = view.receipts.iter().find(|(known, _)| *known == status);
                    waits.map(|&(_, push)| live_receipt(push, view))
                }
                None => self
                    .trace
                    .receipts
                    .iter()
                    .find(|(known, kind, _)| (*known, *kind) == (device, status))
                    .map(|_| standing("queued", not_pushed(home, device))),
            };
            let settled = is_reached
                .then(|| standing("settled", "the device has it, or history alone tells it"));
            rows.extend(waits.or(settled).map(|standing| ReceiptRow {
                status: if status == Status::Read { "read" } else { "delivered" },
                standing,
            }));
        }
        rows
    }
}

fn union<const N: usize>(sets: [DeviceSet; N]) -> DeviceSet {
    sets.iter().flat_map(|set| set.iter()).collect()
}

fn at_device(home: &Home, device: DeviceId) -> Option<&MessageAtDevice> {
    home.view.as_ref()?.devices.iter().find(|known| known.device == device)
}

fn connected(home: &Home, device: DeviceId) -> Option<bool> {
    home.view.as_ref().map(|view| view.connected.contains(&device))
}

fn standing(state: &'static str, why: impl Into<String>) -> Standing {
    Standing { state, push: None, why: why.into() }
}

fn acked_early() -> Standing {
    standing("acked_early", "the device has it; it leaves the queue with the older ones before it")
}

fn live_entry(entry: EntryView, view: &MessageAtDevice) -> Standing {
    match entry {
        EntryView { leaving: true, .. } => {
            standing("leaving", "the device has acked it, or it expired: that is being written")
        }
        EntryView { acked_early: true, .. } => acked_early(),
        EntryView { push: Some(push), .. } => pushed(push),
        EntryView { push: None, .. } => standing("queued", held_back(view)),
    }
}

fn live_receipt(push: Option<u64>, view: &MessageAtDevice) -> Standing {
    push.map_or_else(|| standing("queued", held_back(view)), pushed)
}

fn pushed(push: u64) -> Standing {
    Standing {
        state: "pushed",
        push: Some(push),
        why: format!("it went out as push {push}, which the device has not acked"),
    }
}

/// Why a resident user's device was not pushed what stands in its queue.
fn held_back(view: &MessageAtDevice) -> String {
    match view.window {
        None => "the device is not connected".to_owned(),
        Some((unacked, pushes)) => format!(
            "it waits behind {unacked} unacked pushes (the window takes {pushes}), \
             for the socket, or for the store"
        ),
    }
}

/// The same where the user is not resident.
fn not_pushed(home: &Home, device: DeviceId) -> &'static str {
    match connected(home, device) {
        None => "its worker did not answer",
        Some(false) => "the device is not connected",
        Some(true) => "the user is being loaded from the store",
    }
}
