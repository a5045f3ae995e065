//! What every question of an operator needs: its turn, the fence, the store, answers of workers.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ringpost_conn::question::{Answer, Question};
use ringpost_shard::Position;
use ringpost_shard::event::WorkerId;
use ringpost_store::{Store, StoreError};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::AdminParts;
use crate::rest::{FENCE_DEADLINE, Problem};

/// Questions under way at one time; the next waits its turn. Bounds the blocking threads that
/// operators can hold, and the letters that they can have on the way.
pub(super) const QUESTIONS_MAX: usize = 4;

/// How long a question may take, its turn included; then 503.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);

/// How long one worker may take to answer. A turn is far shorter; a worker that takes longer is
/// in trouble, and the answer says so.
const WORKER_DEADLINE: Duration = Duration::from_millis(500);

/// The turns of questions.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// A question's turn. Held by what works on it, also when nobody waits for the answer any more.
#[derive(Clone)]
pub(super) struct Turn(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(QUESTIONS_MAX)))
    }
}

/// Around every question: its turn and its deadline.
pub(super) async fn in_turn(
    State(Turns(turns)): State<Turns>,
    mut request: Request,
    next: Next,
) -> Response {
    let answered = tokio::time::timeout(QUESTION_DEADLINE, async {
        let Ok(permit) = turns.acquire_owned().await else {
            return Problem::Unavailable.into_response();
        };
        request.extensions_mut().insert(Turn(Arc::new(permit)));
        next.run(request).await
    });
    answered.await.unwrap_or_else(|_| Problem::Overloaded.into_response())
}

/// An answer as JSON.
pub(super) fn json(answer: &impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

/// An id in a path.
pub(super) fn id(path: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id = path.ok().and_then(|Path(text)| Uuid::try_parse(&text).ok());
    id.ok_or(Problem::BadParameter { name: "id", form: "The `id` in the path is a UUID." })
}

impl AdminParts {
    /// Waits until the store has everything that is durable now; answers how far that is, and
    /// whether it has.
    pub(super) async fn caught_up(&self) -> (Position, bool) {
        let durable = self.fence.durable_position();
        let passed = tokio::time::timeout(FENCE_DEADLINE, self.fence.passed(durable)).await;
        (durable, matches!(passed, Ok(Ok(()))))
    }

    /// Reads the store on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        turn: &Turn,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let (store, turn) = (Arc::clone(&self.store), turn.clone());
        let read = tokio::task::spawn_blocking(move || {
            let answer = read(&*store);
            drop(turn);
            answer
        });
        // A panic ends the process; otherwise only a runtime that shuts down cancels.
        let answer = read.await.map_err(|_| Problem::Unavailable)?;
        answer.map_err(|error| {
            tracing::error!(%error, "a question of an operator");
            Problem::Unavailable
        })
    }

    /// Asks one worker; `None` if it does not answer in time.
    pub(super) async fn ask(&self, worker: WorkerId, question: Question) -> Option<Answer> {
        let answer = self.inspect.ask(worker, question);
        tokio::time::timeout(WORKER_DEADLINE, answer).await.ok()?.ok()
    }

    /// All workers.
    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..self.inspect.workers()).map(WorkerId)
    }
}
