//! `GET /admin/explain/{id}`: where a message is, and why there.
//!
//! ```text
//!  id ──> as a server's id, and as a client's ──> store ──> found: its two homes say what is live
//!                                                   └─────> not found: every worker searches what
//!                                                           is under way, step by step
//! ```
//! The store is asked behind the fence, so that what is durable is found there; what is not
//! durable is known by the client's id alone. A message that becomes durable between the two is
//! looked for once more.

mod story;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use ringpost_conn::question::{Answer, Question};
use ringpost_shard::Position;
use ringpost_shard::event::WorkerId;
use ringpost_shard::inspect::{MessageAsk, MessageView, UnderWay, WaitsFor};
use ringpost_store::{Store, StoreError, Trace};
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::story::{Home, Story};
use super::AdminParts;
use super::ask::{self, Turn};
use crate::rest::Problem;

/// Messages in one answer: ids of clients are unique per device alone, so several may share one.
const MATCHES_MAX: usize = 16;

/// Looks into the store: one, and one more if something became durable meanwhile.
const LOOKS_MAX: usize = 2;

/// Steps of one worker's search, enough for 16 million resident users; the question's deadline
/// comes first.
const STEPS_MAX: usize = 1 << 15;

#[derive(Serialize)]
struct Explained {
    asked: Uuid,
    /// The last durable record when the question came.
    durable: u64,
    /// The store had it all when it was read.
    store_caught_up: bool,
    messages: Vec<Story>,
    /// More messages have this id than are listed.
    has_more: bool,
    under_way: Vec<UnderWayRow>,
    /// Workers that did not answer: what they know is missing above.
    unanswered: Vec<u16>,
}

/// A send that is not durable yet.
#[derive(Serialize)]
struct UnderWayRow {
    worker: u16,
    message_id: Uuid,
    from: Uuid,
    from_device: u8,
    to: Uuid,
    bytes: u32,
    waits_for: &'static str,
    why: &'static str,
}

/// `GET /admin/explain/{id}`.
pub(in crate::admin) async fn explain(
    State(parts): State<AdminParts>,
    Extension(turn): Extension<Turn>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = ask::id(path)?;
    for _ in 0..LOOKS_MAX {
        let (durable, store_caught_up) = parts.caught_up().await;
        let mut answer = Explained {
            asked: id,
            durable: durable.0,
            store_caught_up,
            messages: Vec::new(),
            has_more: false,
            under_way: Vec::new(),
            unanswered: Vec::new(),
        };
        let (traces, has_more) = parts.read(&turn, move |store| traces(store, id)).await?;
        answer.has_more = has_more;
        for trace in traces {
            let story = tell(&parts, trace, &mut answer.unanswered).await;
            answer.messages.push(story);
        }
        if answer.messages.is_empty() {
            search(&parts, MessageId::from(id), &mut answer).await;
        }
        if !answer.messages.is_empty() || !answer.under_way.is_empty() {
            return Ok(ask::json(&answer));
        }
        if !store_caught_up || !answer.unanswered.is_empty() {
            return Err(Problem::Behind);
        }
        if parts.fence.durable_position() == durable {
            break;
        }
    }
    Err(Problem::UnknownMessage)
}

/// The messages with this id, as a server's or as a client's.
fn traces(store: &dyn Store, id: Uuid) -> Result<(Vec<Trace>, bool), StoreError> {
    let mut traces: Vec<Trace> = store.trace(ServerId::from(id))?.into_iter().collect();
    let named = store.named(MessageId::from(id), None, MATCHES_MAX)?;
    for id in named.ids {
        if traces.iter().all(|known| known.head.id != id) {
            traces.extend(store.trace(id)?);
        }
    }
    Ok((traces, named.has_more))
}

/// The story of one message, with what its two homes say.
async fn tell(parts: &AdminParts, trace: Trace, unanswered: &mut Vec<u16>) -> Story {
    let head = &trace.head;
    let (sender, recipient) = tokio::join!(
        home(parts, head.from, head.to, (head.id, trace.position)),
        home(parts, head.to, head.from, (head.id, trace.position)),
    );
    for home in [&sender, &recipient] {
        if home.view.is_none() && !unanswered.contains(&home.worker) {
            unanswered.push(home.worker);
        }
    }
    Story::of(&trace, &sender, &recipient, (parts.clock.now_ms(), parts.queue_ttl))
}

async fn home(
    parts: &AdminParts,
    user: UserId,
    peer: UserId,
    (id, position): (ServerId, Position),
) -> Home {
    let worker = parts.inspect.home(user);
    let ask = MessageAsk { position, id, user, peer };
    let view: Option<MessageView> = match parts.ask(worker, Question::Message(ask)).await {
        Some(Answer::Message(view)) => Some(view),
        _ => None,
    };
    Home { worker: worker.0, view }
}

/// Asks every worker for what is under way; all at the same time, each step by step.
async fn search(parts: &AdminParts, message_id: MessageId, answer: &mut Explained) {
    let mut searches = JoinSet::new();
    for worker in parts.workers() {
        let parts = parts.clone();
        searches.spawn(async move { (worker, search_worker(&parts, worker, message_id).await) });
    }
    while let Some(searched) = searches.join_next().await {
        // A panic ends the process; otherwise only a runtime that shuts down cancels.
        let Ok((worker, (found, has_ended))) = searched else { continue };
        answer.under_way.extend(found.iter().map(|it| under_way(worker, message_id, it)));
        if !has_ended {
            answer.unanswered.push(worker.0);
        }
    }
    answer.under_way.sort_by_key(|row| (row.from, row.from_device, row.worker));
    answer.has_more = answer.under_way.len() > MATCHES_MAX;
    answer.under_way.truncate(MATCHES_MAX);
    answer.unanswered.sort_unstable();
}

/// What one worker has under way, and whether it was asked to the end.
async fn search_worker(
    parts: &AdminParts,
    worker: WorkerId,
    message_id: MessageId,
) -> (Vec<UnderWay>, bool) {
    let (mut found, mut from) = (Vec::new(), 0);
    for _ in 0..STEPS_MAX {
        let question = Question::UnderWay { message_id, from };
        let Some(Answer::UnderWay(step)) = parts.ask(worker, question).await else {
            return (found, false);
        };
        found.extend(step.found);
        match step.next {
            Some(next) if found.len() <= MATCHES_MAX => from = next,
            Some(_) | None => return (found, true),
        }
    }
    (found, false)
}

fn under_way(worker: WorkerId, message_id: MessageId, it: &UnderWay) -> UnderWayRow {
    let (waits_for, why) = match it.waits_for {
        WaitsFor::Sender => ("sender", "the sender's state is being loaded from the store"),
        WaitsFor::LookUp => ("look_up", "whether its id was used before is being found out"),
        WaitsFor::Journal => {
            ("journal", "it was accepted into flight; the recipient's home or the journal has it")
        }
        WaitsFor::Recipient => {
            ("recipient", "the recipient's state is being loaded from the store")
        }
    };
    UnderWayRow {
        worker: worker.0,
        message_id: message_id.uuid(),
        from: it.from.uuid(),
        from_device: DeviceId::number(it.from_device),
        to: it.to.uuid(),
        bytes: it.body_bytes,
        waits_for,
        why,
    }
}
