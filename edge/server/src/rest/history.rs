//! `GET /v1/messages`: a conversation backwards (`before`), or all that is new (`after`).
//!
//! ```text
//! ?user_id=PEER[&before=ID][&limit=50]        newest first, the conversation of the bearer and PEER
//! ?after=CURSOR|ID[&user_id=PEER][&limit=50]  oldest first, all (or one) of the bearer's
//! ```
//! `next` of a page goes on in the page's own direction, in the parameter that asked for it; a page
//! backwards has `after` beside it, for what comes later than all of its messages.
//!
//! Invariants: the first party of every read is the bearer, never a parameter, so nobody else's
//! conversation can be named; what was `sent` before the request is in the answer (see `fence`);
//! a page is read in steps and ends at [`super::PAGE_BYTES_MAX`], so a page of large messages
//! costs no more memory than a page of small ones. A conversation that does not exist, with a
//! user that does not exist, is an empty page, and the id of another's message is as unknown as an
//! invented one: nothing tells who or what exists.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringpost_shard::Position;
use ringpost_shard::image::MessageRow;
use ringpost_store::{Store, StoreError};
use ringpost_wire::event::Status;
use ringpost_wire::{HistoryCursor, MessageId, ServerId, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::counters::Hit;
use super::fence::FENCE_DEADLINE;
use super::parameters::Parameters;
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

/// Devices of one user that may have named a message alike: all there can be.
const NAMESAKES_MAX: usize = 128;

/// What is asked, checked.
enum Asked {
    Before { peer: UserId, before: Option<Named> },
    After { peer: Option<UserId>, after: After },
}

/// The id of a message in a parameter: the server's, or the one that its sender gave it.
#[derive(Clone, Copy)]
struct Named {
    parameter: &'static str,
    id: Uuid,
}

/// Where a page of what is new begins.
enum After {
    Cursor(Position),
    Message(Named),
}

#[derive(Serialize)]
struct Answer {
    messages: Vec<Message>,
    has_more: bool,
    /// Where the parameter of the page goes on. A page backwards has none at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Of a page backwards: where `after` goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// A message, with the fields of `new_message`.
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

/// Rows of a page and where it goes on.
struct Rows {
    rows: Vec<MessageRow>,
    has_more: bool,
    next: Option<String>,
    after: Option<String>,
}

/// `GET /v1/messages`.
pub(super) async fn messages(
    State(state): State<Arc<RestState>>,
    Bearer(bearer): Bearer,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let taken = state.rates.users.take(bearer.user, state.start.elapsed());
    taken.map_err(|wait| state.limited(Hit::UserRate, wait))?;
    let (asked, limit) = check(&mut parameters)?;
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
            let rows = read(&*state.store, user, asked, limit)?;
            let answer = answer(&*state.store, rows).map_err(unavailable)?;
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

fn check(parameters: &mut Parameters) -> Result<(Asked, usize), Problem> {
    let form = "`limit` is a number from 1 to 200.";
    let limit = parameters.parse("limit", form)?.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::BadParameter { name: "limit", form });
    }
    let peer = parameters.parse::<Uuid>("user_id", "`user_id` is a UUID.")?.map(UserId::from);
    let form = "`before` is the `id` or `message_id` of a message of the conversation.";
    let before = parameters.parse("before", form)?;
    let before = before.map(|id| Named { parameter: "before", id });
    let asked = match (before, parameters.take("after")?, peer) {
        (Some(_), Some(_), _) => {
            let form = "`after` and `before` do not go together.";
            return Err(Problem::BadParameter { name: "after", form });
        }
        (None, Some(text), peer) => Asked::After { peer, after: after(&text)? },
        (_, None, None) => return Err(Problem::MissingParameter("user_id")),
        (before, None, Some(peer)) => Asked::Before { peer, before },
    };
    Ok((asked, limit))
}

fn after(text: &str) -> Result<After, Problem> {
    if let Some(cursor) = HistoryCursor::from_text(text) {
        return Ok(After::Cursor(Position(cursor.0)));
    }
    let form = "`after` is empty, a cursor of an answer, or the `id` or `message_id` of a message.";
    let id = text.parse().map_err(|_| Problem::BadParameter { name: "after", form })?;
    Ok(After::Message(Named { parameter: "after", id }))
}

fn read(store: &dyn Store, user: UserId, asked: Asked, limit: usize) -> Result<Rows, Problem> {
    let rows = match asked {
        Asked::Before { peer, before } => {
            let find = |named| find(store, user, Some(peer), named);
            let before = before.map(find).transpose()?.map(|row| row.head.id);
            read_before(store, user, peer, before, limit)
        }
        Asked::After { peer, after } => {
            let after = match after {
                After::Cursor(position) => position,
                After::Message(named) => find(store, user, peer, named)?.position,
            };
            read_after(store, user, after, peer, limit)
        }
    };
    rows.map_err(unavailable)
}

/// The message of this id, of the user's conversation with the peer, or of any where none is named.
fn find(
    store: &dyn Store,
    user: UserId,
    peer: Option<UserId>,
    Named { parameter: name, id }: Named,
) -> Result<MessageRow, Problem> {
    let is_ones_own = |row: &MessageRow| {
        let (from, to) = (row.head.from, row.head.to);
        let other = if from == user { to } else { from };
        (from == user || to == user) && peer.is_none_or(|peer| peer == other)
    };
    let mut ids = vec![ServerId::from(id)];
    let senders = match peer {
        Some(peer) if peer == user => vec![Some(user)],
        Some(peer) => vec![Some(user), Some(peer)],
        None => vec![None],
    };
    for sender in senders {
        let named = store.named(MessageId::from(id), sender, NAMESAKES_MAX);
        ids.extend(named.map_err(unavailable)?.ids);
    }
    let found = store.messages(&ids).map_err(unavailable)?;
    let mut found = found.into_iter().flatten().filter(is_ones_own);
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => {
            let form = "Several messages have this `message_id`: name the `id`.";
            Err(Problem::BadParameter { name, form })
        }
        (None, _) => {
            let form = "No message of this conversation has this `id` or `message_id`.";
            Err(Problem::BadParameter { name, form })
        }
    }
}

fn read_before(
    store: &dyn Store,
    user: UserId,
    peer: UserId,
    mut before: Option<ServerId>,
    limit: usize,
) -> Result<Rows, StoreError> {
    // Taken first: what comes later is behind the cursor, perhaps twice, never missed.
    let after = Some(cursor(store.applied()));
    let mut page = Rows { rows: Vec::new(), has_more: true, next: None, after };
    let mut bytes = 0;
    while page.has_more && page.rows.len() < limit {
        let step = store.history(user, peer, before, STEP_ROWS.min(limit - page.rows.len()))?;
        page.has_more = step.has_more;
        for row in step.rows {
            bytes += row.body.len();
            if bytes > PAGE_BYTES_MAX && !page.rows.is_empty() {
                page.has_more = true;
                page.next = before.map(|id| id.uuid().to_string());
                return Ok(page);
            }
            before = Some(row.head.id);
            page.rows.push(row);
        }
    }
    page.next = before.filter(|_| page.has_more).map(|id| id.uuid().to_string());
    Ok(page)
}

fn read_after(
    store: &dyn Store,
    user: UserId,
    after: Position,
    peer: Option<UserId>,
    limit: usize,
) -> Result<Rows, StoreError> {
    let mut page = Rows { rows: Vec::new(), has_more: true, next: None, after: None };
    let (mut next, mut bytes) = (after, 0);
    'page: while page.has_more && page.rows.len() < limit {
        let wanted = STEP_ROWS.min(limit - page.rows.len());
        let step = store.timeline(user, next, peer, wanted)?;
        // The store looked at as many rows as one call may and found none: enough for a request,
        // the client goes on from `next`.
        let is_barren = step.rows.is_empty();
        for row in step.rows {
            bytes += row.body.len();
            if bytes > PAGE_BYTES_MAX && !page.rows.is_empty() {
                page.has_more = true;
                break 'page;
            }
            next = row.position;
            page.rows.push(row);
        }
        next = step.next.max(next);
        page.has_more = step.has_more;
        if is_barren {
            break;
        }
    }
    page.next = Some(cursor(next));
    Ok(page)
}

fn cursor(position: Position) -> String {
    HistoryCursor(position.0).to_text()
}

fn answer(store: &dyn Store, page: Rows) -> Result<Answer, StoreError> {
    let mut cursors = Cursors { store, known: HashMap::new() };
    let mut messages = Vec::with_capacity(page.rows.len());
    let Rows { rows, has_more, next, after } = page;
    for row in rows {
        let status = cursors.status(row.head.from, row.head.to, row.head.id)?;
        messages.push(message(row, status));
    }
    Ok(Answer { messages, has_more, next, after })
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
