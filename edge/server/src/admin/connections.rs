//! `GET /admin/connections`: all connections of all workers, page by page.
//!
//! A page is what stood when each of its parts was read; a connection that goes home while pages
//! are read may be in two of them or in none. The cursor is `WORKER.PLACE`.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use ringpost_conn::Caller;
use ringpost_conn::connection::Speech;
use ringpost_conn::question::{Answer, ConnectionFilter, ConnectionView, Question, Stage};
use ringpost_shard::event::WorkerId;
use ringpost_wire::{DeviceId, UserId};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::{AdminParts, ask};
use crate::rest::Problem;
use crate::rest::parameters::Parameters;

/// Connections in a page where the operator does not say.
const LIMIT_DEFAULT: usize = 100;

/// Most connections in a page.
const LIMIT_MAX: usize = 1_000;

/// How long a page may take: with a filter that few connections pass, a page may end before it is
/// full, and `next` goes on.
const PAGE_DEADLINE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Page {
    connections: Vec<Row>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The worker that did not answer, at which the page has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    unanswered: Option<u16>,
}

#[derive(Serialize)]
struct Row {
    worker: u16,
    connection: String,
    stage: &'static str,
    speech: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_from: Option<&'static str>,
    silent_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
    pending_bytes: usize,
}

/// `GET /admin/connections`.
pub(super) async fn connections(
    State(parts): State<AdminParts>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let form = "`limit` is a number from 1 to 1000.";
    let limit = parameters.parse("limit", form)?.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::BadParameter { name: "limit", form });
    }
    let filter = filter(&mut parameters)?;
    let start = match parameters.take("after")?.as_deref() {
        None => (0, 0),
        Some(text) => cursor(text).filter(|&(worker, _)| worker < parts.inspect.workers()).ok_or(
            Problem::BadParameter { name: "after", form: "`after` is the `next` of a page." },
        )?,
    };
    if !parameters.is_used_up() {
        // A filter that is mistyped would show too much.
        return Err(Problem::BadRequest(
            "The parameters are `limit`, `after`, `user`, `device`, `address`, `stage`, `speech` \
             and `silent_ms`.",
        ));
    }
    let page = page(&parts, start, limit, filter).await?;
    Ok(ask::json(&page))
}

async fn page(
    parts: &AdminParts,
    start: (u16, u32),
    limit: usize,
    filter: ConnectionFilter,
) -> Result<Page, Problem> {
    let deadline = Instant::now() + PAGE_DEADLINE;
    let (mut worker, mut from) = start;
    let mut page = Page { connections: Vec::new(), next: None, unanswered: None };
    while worker < parts.inspect.workers() {
        if page.connections.len() == limit || Instant::now() >= deadline {
            page.next = Some(format!("{worker}.{from}"));
            break;
        }
        let rows_max = limit - page.connections.len();
        let question = Question::Connections { from, rows_max, filter };
        let Some(Answer::Connections(answer)) = parts.ask(WorkerId(worker), question).await else {
            if page.connections.is_empty() {
                return Err(Problem::Overloaded);
            }
            page.next = Some(format!("{worker}.{from}"));
            page.unanswered = Some(worker);
            break;
        };
        page.connections.extend(answer.connections.iter().map(|view| row(worker, view)));
        (worker, from) = match answer.next {
            Some(next) => (worker, next),
            None => (worker + 1, 0),
        };
    }
    Ok(page)
}

fn filter(parameters: &mut Parameters) -> Result<ConnectionFilter, Problem> {
    let form = "`device` is a number from 1 to 127.";
    let device = match parameters.parse("device", form)? {
        None => None,
        Some(number) => {
            let device = DeviceId::new(number);
            Some(device.ok_or(Problem::BadParameter { name: "device", form })?)
        }
    };
    let stage = named(parameters.take("stage")?.as_deref(), &Stage::ALL, Stage::name).ok_or(
        Problem::BadParameter {
            name: "stage",
            form: "`stage` is handshake, sign_in, checking, moving, signed_in, handing_over or \
                   closing.",
        },
    )?;
    let speech = named(parameters.take("speech")?.as_deref(), &Speech::ALL, Speech::name).ok_or(
        Problem::BadParameter {
            name: "speech",
            form: "`speech` is undecided, binary, websocket_json or websocket_binary.",
        },
    )?;
    let silent_ms = parameters.parse("silent_ms", "`silent_ms` is a number of milliseconds.")?;
    Ok(ConnectionFilter {
        user: parameters.parse::<Uuid>("user", "`user` is a UUID.")?.map(UserId::from),
        device,
        address: parameters.parse::<IpAddr>("address", "`address` is an IP address.")?,
        stage,
        speech,
        silent_min: Duration::from_millis(silent_ms.unwrap_or(0)),
    })
}

/// What is named, `Some(None)` where nothing is, `None` where it is no such name.
fn named<T: Copy>(
    text: Option<&str>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => all.iter().find(|&&it| name(it) == text).map(|&it| Some(it)),
    }
}

fn cursor(text: &str) -> Option<(u16, u32)> {
    let (worker, place) = text.split_once('.')?;
    Some((worker.parse().ok()?, place.parse().ok()?))
}

/// The name of a connection, as all answers write it.
pub(super) fn name(connection: ringpost_shard::event::ConnectionKey) -> String {
    format!("{:x}", connection.0)
}

fn row(worker: u16, view: &ConnectionView) -> Row {
    Row {
        worker,
        connection: name(view.connection),
        stage: view.stage.name(),
        speech: view.speech.name(),
        user: view.user.map(UserId::uuid),
        device: view.device.map(DeviceId::number),
        address: view.caller.map(Caller::address),
        address_from: view.caller.map(|caller| caller.known_from().name()),
        silent_ms: millis(view.silent),
        expires_in_ms: view.expires_in.map(millis),
        pending_bytes: view.pending_bytes,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_two_numbers_and_nothing_else() {
        assert_eq!(cursor("0.0"), Some((0, 0)));
        assert_eq!(cursor("63.4294967295"), Some((63, u32::MAX)));
        for text in ["", ".", "1", "1.", ".1", "1.2.3", "-1.0", "0.4294967296", "a.b", "0. 1"] {
            assert_eq!(cursor(text), None, "{text}");
        }
    }
}
