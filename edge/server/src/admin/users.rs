//! `GET /admin/users/{id}`: how a user stands, in the store and at its home worker.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use ringpost_conn::question::{Answer, Question};
use ringpost_shard::image::{DeviceImage, UserImage};
use ringpost_shard::inspect::{DeviceView, Residence, SessionView, UserView};
use ringpost_shard::record;
use ringpost_wire::{HistoryCursor, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::ask::{self, Turn};
use super::{AdminParts, connections};
use crate::rest::Problem;

#[derive(Serialize)]
struct User {
    user: Uuid,
    worker: u16,
    /// How much of it is in memory: `absent`, `loading`, `resident`, or `unknown` where the
    /// worker did not answer.
    in_memory: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
    /// The last record of the state of the store that is shown.
    applied: u64,
    /// The store has everything that was durable when the question came.
    store_caught_up: bool,
    devices: Vec<Stored>,
}

#[derive(Serialize)]
struct Live {
    bytes: u64,
    events_waiting: usize,
    messages_arriving: u32,
    sessions: Vec<Session>,
    devices: Vec<Device>,
}

#[derive(Serialize)]
struct Session {
    connection: String,
    device: u8,
    last_push: u64,
    window_pushes: u16,
    window_bytes: u32,
}

#[derive(Serialize)]
struct Device {
    device: u8,
    entries: usize,
    entries_bytes: u64,
    receipts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
    reserved: u32,
    unacked: u32,
    unacked_bytes: u64,
    in_flight: usize,
    waiting: usize,
    acks_waiting: usize,
    /// It is on its way out.
    leaving: bool,
    seen_ms: u64,
}

/// What was left out of a device's queue, as the device is told it.
#[derive(Serialize)]
struct Gap {
    number: u64,
    after: String,
}

/// A device and its queue, as the store has them.
#[derive(Serialize)]
struct Stored {
    device: u8,
    entries: usize,
    entries_bytes: u64,
    receipts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
    highest_message_id: Uuid,
    /// When it was last seen, to a day.
    seen_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_at_ms: Option<u64>,
}

/// `GET /admin/users/{id}`.
pub(super) async fn user(
    State(parts): State<AdminParts>,
    Extension(turn): Extension<Turn>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let user = UserId::from(ask::id(path)?);
    let (_, store_caught_up) = parts.caught_up().await;
    let stored = parts
        .read(&turn, move |store| {
            let image = store.user(user)?;
            Ok((image.as_ref().map(stored), store.applied()))
        })
        .await?;
    let (devices, applied) = stored;
    let worker = parts.inspect.home(user);
    let view = match parts.ask(worker, Question::User(user)).await {
        Some(Answer::User(view)) => Some(view),
        _ => None,
    };
    let is_held = view
        .as_ref()
        .is_some_and(|view| view.residence == Residence::Resident || !view.sessions.is_empty());
    if devices.is_none() && !is_held {
        // A store that is behind, or a worker that is silent, may know better.
        let is_sure = store_caught_up && view.is_some();
        return Err(if is_sure { Problem::UnknownUser } else { Problem::Behind });
    }
    Ok(ask::json(&User {
        user: user.uuid(),
        worker: worker.0,
        in_memory: view.as_ref().map_or("unknown", |view| residence(view.residence)),
        live: view
            .filter(|view| view.residence != Residence::Absent || !view.sessions.is_empty())
            .map(live),
        applied: applied.0,
        store_caught_up,
        devices: devices.unwrap_or_default(),
    }))
}

/// How much of a user is in memory, in a word.
pub(super) const fn residence(residence: Residence) -> &'static str {
    match residence {
        Residence::Absent => "absent",
        Residence::Loading => "loading",
        Residence::Resident => "resident",
    }
}

fn stored(image: &UserImage) -> Vec<Stored> {
    image.devices.iter().map(stored_device).collect()
}

fn stored_device(image: &DeviceImage) -> Stored {
    let oldest = image.entries.iter().map(|(_, entry)| entry).find(|entry| !entry.id.is_nil());
    Stored {
        device: image.device.number(),
        entries: image.entries.len(),
        entries_bytes: image.entries.iter().map(|(_, entry)| u64::from(entry.body_bytes)).sum(),
        receipts: image.receipts.len(),
        gap: image.gap.map(gap),
        highest_message_id: image.highest_accepted.uuid(),
        seen_ms: image.seen_ms,
        oldest_id: oldest.map(|entry| entry.id.uuid()),
        oldest_at_ms: oldest.map(|entry| entry.accepted_ms),
    }
}

fn live(view: UserView) -> Live {
    Live {
        bytes: view.bytes,
        events_waiting: view.waiting,
        messages_arriving: view.arriving,
        sessions: view.sessions.iter().map(session).collect(),
        devices: view.devices.iter().map(device).collect(),
    }
}

fn session(view: &SessionView) -> Session {
    Session {
        connection: connections::name(view.connection),
        device: view.device.number(),
        last_push: view.last_push,
        window_pushes: view.window_pushes,
        window_bytes: view.window_bytes,
    }
}

fn gap(gap: record::Gap) -> Gap {
    Gap { number: gap.number.0, after: HistoryCursor(gap.after.0).to_text() }
}

fn device(view: &DeviceView) -> Device {
    Device {
        device: view.device.number(),
        entries: view.entries,
        entries_bytes: view.bytes,
        receipts: view.receipts,
        gap: view.gap.map(gap),
        reserved: view.reserved,
        unacked: view.unacked,
        unacked_bytes: view.unacked_bytes,
        in_flight: view.in_flight,
        waiting: view.waiting,
        acks_waiting: view.acks_waiting,
        leaving: view.leaving,
        seen_ms: view.seen_ms,
    }
}
