//! `GET /v1/messages`: a conversation backwards (`before`), or all that is new (`after`).
//!
//! ```text
//! ?user_id=PEER[&before=ID][&limit=50]   newest first, the conversation of the bearer and PEER
//! ?after=CURSOR[&user_id=PEER][&limit=]  oldest first, all (or one) of the bearer's conversations
//! ```
//! Invariants: the first party of every read is the bearer, never a parameter, so nobody else's
//! conversation can be named; what was `sent` before the request is in the answer (see `fence`);
//! a page is read in steps and ends at [`super::PAGE_BYTES_MAX`], so a page of large messages
//! costs no more memory than a page of small ones. A conversation that does not exist, with a
//! user that does not exist, is an empty page: nothing tells who exists.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringpost_shard::Position;
use ringpost_shard::image::MessageRow;
use ringpost_store::{Store, StoreError};
use ringpost_wire::event::Status;
use ringpost_wire::{HistoryCursor, ServerId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::counters::Hit;
use super::fence::FENCE_DEADLINE;
use super::problem::Problem;
use super::request::Bearer;
use super::{PAGE_BYTES_MAX, RestState};

/// Messages in a page where the client does not say.
const LIMIT_DEFAULT: usize = 50;
/// Most messages in a page.
const LIMIT_MAX: usize = 200;
/// Rows read at one time: 16 of the largest are [`PAGE_BYTES_MAX`].
const STEP_ROWS: usize = 16;

const _: () = assert!(STEP_ROWS * ringpost_wire::limits::MESSAGE_BYTES_MAX <= PAGE_BYTES_MAX);

#[derive(Deserialize)]
pub(super) struct Parameters {
    user_id: Option<String>,
    before: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

/// What is asked, checked.
enum Asked {
    Before { peer: UserId, before: Option<ServerId> },
    After { peer: Option<UserId>, after: Position },
}

#[derive(Serialize)]
struct Answer {
    messages: Vec<Message>,
    has_more: bool,
    /// Where `after` goes on.
    next: String,
}

/// A message in the seed's shape.
#[derive(Serialize)]
struct Message {
    id: Uuid,
    message_id: Uuid,
    from: Uuid,
    from_device: u8,
    to: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    timestamp: u64,
    timestamp_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Uuid>,
    status: &'static str,
}

/// Rows of a page and where the next one starts.
struct Rows {
    rows: Vec<MessageRow>,
    has_more: bool,
    next: Position,
}

/// `GET /v1/messages`.
pub(super) async fn messages(
    State(state): State<Arc<RestState>>,
    Bearer(bearer): Bearer,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Problem> {
    let form = "A parameter is repeated or not text.";
    let Query(parameters) = parameters.map_err(|_| Problem::BadRequest(form))?;
    let taken = state.rates.users.take(bearer.user, state.start.elapsed());
    taken.map_err(|wait| state.limited(Hit::UserRate, wait))?;
    let (asked, limit) = check(&parameters)?;
    let page = state.pages.clone().acquire_owned().await.map_err(|_| Problem::Unavailable)?;
    let seen = state.fence.durable_position();
    let passed = tokio::time::timeout(FENCE_DEADLINE, state.fence.passed(seen)).await;
    if !matches!(passed, Ok(Ok(()))) {
        return Err(Problem::Behind);
    }
    let user = bearer.user;
    let body = state
        .blocking(move |state| {
            // Held on this thread, also when the client has gone.
            let _page = page;
            let rows = match asked {
                Asked::Before { peer, before } => {
                    read_before(&*state.store, user, peer, before, limit)
                }
                Asked::After { peer, after } => read_after(&*state.store, user, after, peer, limit),
            };
            let answer = rows.and_then(|rows| answer(&*state.store, rows)).map_err(unavailable)?;
            Ok(serde_json::to_vec(&answer).expect("an answer is plain JSON"))
        })
        .await?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

fn unavailable(error: StoreError) -> Problem {
    if !error.is_outage() {
        tracing::error!(%error, "history");
    }
    Problem::Unavailable
}

fn check(parameters: &Parameters) -> Result<(Asked, usize), Problem> {
    let id = |text: &String| Uuid::try_parse(text).ok();
    let limit = match &parameters.limit {
        None => LIMIT_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or(Problem::BadRequest("`limit` is a number from 1 to 200."))?,
    };
    let peer = match &parameters.user_id {
        None => None,
        Some(text) => {
            let peer = id(text).ok_or(Problem::BadRequest("`user_id` is a UUID."))?;
            Some(UserId::from(peer))
        }
    };
    let asked = match (&parameters.before, &parameters.after, peer) {
        (Some(_), Some(_), _) => {
            return Err(Problem::BadRequest("`before` and `after` do not go together."));
        }
        (None, Some(text), peer) => {
            let form = "`after` is a cursor from `next` or `queue_empty`, or empty.";
            let after = HistoryCursor::from_text(text).ok_or(Problem::BadRequest(form))?;
            Asked::After { peer, after: Position(after.0) }
        }
        (_, None, None) => return Err(Problem::BadRequest("`user_id` or `after` is needed.")),
        (before, None, Some(peer)) => {
            let before = match before {
                None => None,
                Some(text) => {
                    let form = "`before` is the `id` of a message.";
                    Some(ServerId::from(id(text).ok_or(Problem::BadRequest(form))?))
                }
            };
            Asked::Before { peer, before }
        }
    };
    Ok((asked, limit))
}

fn read_before(
    store: &dyn Store,
    user: UserId,
    peer: UserId,
    mut before: Option<ServerId>,
    limit: usize,
) -> Result<Rows, StoreError> {
    // Taken first: what comes later is behind the cursor, perhaps twice, never missed.
    let next = store.applied();
    let mut page = Rows { rows: Vec::new(), has_more: true, next };
    let mut bytes = 0;
    while page.has_more && page.rows.len() < limit {
        let step = store.history(user, peer, before, STEP_ROWS.min(limit - page.rows.len()))?;
        page.has_more = step.has_more;
        for row in step.rows {
            bytes += row.body.len();
            if bytes > PAGE_BYTES_MAX && !page.rows.is_empty() {
                page.has_more = true;
                return Ok(page);
            }
            before = Some(row.head.id);
            page.rows.push(row);
        }
    }
    Ok(page)
}

fn read_after(
    store: &dyn Store,
    user: UserId,
    after: Position,
    peer: Option<UserId>,
    limit: usize,
) -> Result<Rows, StoreError> {
    let mut page = Rows { rows: Vec::new(), has_more: true, next: after };
    let mut bytes = 0;
    while page.has_more && page.rows.len() < limit {
        let wanted = STEP_ROWS.min(limit - page.rows.len());
        let step = store.timeline(user, page.next, peer, wanted)?;
        // The store looked at as many rows as one call may and found none: enough for a request,
        // the client goes on from `next`.
        let is_barren = step.rows.is_empty();
        for row in step.rows {
            bytes += row.body.len();
            if bytes > PAGE_BYTES_MAX && !page.rows.is_empty() {
                page.has_more = true;
                return Ok(page);
            }
            page.next = row.position;
            page.rows.push(row);
        }
        page.next = step.next.max(page.next);
        page.has_more = step.has_more;
        if is_barren {
            break;
        }
    }
    Ok(page)
}

fn answer(store: &dyn Store, page: Rows) -> Result<Answer, StoreError> {
    let mut cursors = Cursors { store, known: HashMap::new() };
    let mut messages = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        let status = cursors.status(row.head.from, row.head.to, row.head.id)?;
        messages.push(message(row, status));
    }
    Ok(Answer { messages, has_more: page.has_more, next: HistoryCursor(page.next.0).to_text() })
}

fn message(row: MessageRow, status: &'static str) -> Message {
    let MessageRow { head, body, .. } = row;
    let (content, encrypted_content) = if head.plain {
        (Some(String::from_utf8_lossy(&body).into_owned()), None)
    } else {
        (None, Some(STANDARD.encode(&body)))
    };
    Message {
        id: head.id.uuid(),
        message_id: head.message_id.uuid(),
        from: head.from.uuid(),
        from_device: head.from_device.number(),
        to: head.to.uuid(),
        encrypted_content,
        content,
        timestamp: head.client_timestamp_ms / 1_000,
        timestamp_ms: head.client_timestamp_ms,
        reply_to: head.reply_to.map(Uuid::from_bytes),
        status,
    }
}

/// Delivered and read cursors of the directions in a page, each read once.
struct Cursors<'a> {
    store: &'a dyn Store,
    known: HashMap<(UserId, UserId), [Option<ServerId>; 2]>,
}

impl Cursors<'_> {
    fn status(
        &mut self,
        sender: UserId,
        reader: UserId,
        id: ServerId,
    ) -> Result<&'static str, StoreError> {
        let [delivered, read] = match self.known.get(&(sender, reader)) {
            Some(known) => *known,
            None => {
                let cursor = |status| self.store.cursor(reader, sender, status);
                let found = [cursor(Status::Delivered)?, cursor(Status::Read)?];
                self.known.insert((sender, reader), found);
                found
            }
        };
        let is_at = |cursor: Option<ServerId>| cursor.is_some_and(|cursor| id <= cursor);
        Ok(if is_at(read) {
            "read"
        } else if is_at(delivered) {
            "delivered"
        } else {
            "sent"
        })
    }
}
