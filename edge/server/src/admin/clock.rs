//! An operator's word on the wall clock: `POST /admin/clock/trust`.
//!
//! The node's own clock takes it at once, each worker in its next turn. It is written down with the
//! next look at the clock, so that a restart keeps it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{AdminParts, ask};
use crate::rest::Problem;

/// What is believed now.
#[derive(Serialize)]
struct Believed {
    /// The date that was in force, milliseconds since 1970.
    before_ms: u64,
    /// The date that is.
    now_ms: u64,
}

/// `POST /admin/clock/trust`. A browser that carries another site's request says so, and is refused:
/// on loopback there may be no token that would stop it.
pub(super) async fn trust(State(parts): State<AdminParts>, headers: HeaderMap) -> Response {
    if headers.contains_key(header::ORIGIN) {
        return Problem::BadRequest("An operator's word does not come from a web page.")
            .into_response();
    }
    let before_ms = parts.clock.now_ms();
    parts.clock.trust();
    let inspect = Arc::clone(&parts.inspect);
    // A worker that is stuck may have no room for the letter: nobody waits here until it has.
    drop(tokio::task::spawn_blocking(move || inspect.trust_clock()));
    let now_ms = parts.clock.now_ms();
    tracing::warn!(before_ms, now_ms, "an operator says that the wall clock is right");
    ask::json(&Believed { before_ms, now_ms })
}
