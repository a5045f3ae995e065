//! What an idle signed-in connection costs in user space.
//!
//! Setup: all users exist, the server has started again. Action: half of them sign in by the
//! binary protocol, then the other half; nobody says anything more. Measured: how much resident
//! memory the second half added. The first half pays for what is paid once (buffers that are
//! touched for the first time, the tables' first growth); making the users is left out, because
//! the store's buffers grow with it and not with connections. The kernel's part is not counted.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ringpost_wire::UserId;
use uuid::Uuid;

use super::{link, process};
use crate::server::Server;

/// Connections at the first reading.
pub(super) const FEW: usize = 5_000;
/// Connections at the second reading.
pub(super) const MANY: usize = 10_000;

/// Between two readings that tell whether memory has settled.
const SETTLE_POLL: Duration = Duration::from_millis(500);
/// Two readings that differ by less are the same, bytes.
const SETTLED_BYTES: u64 = 64 * 1024;
/// How long settling may take.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);

/// Bytes of resident memory for each connection between [`FEW`] and [`MANY`].
///
/// # Errors
/// If a sign-in fails, a connection is lost, or the memory does not settle.
pub(super) fn run(server: &mut Server) -> anyhow::Result<f64> {
    let users = (0..MANY).map(|_| UserId::from(Uuid::new_v4())).collect::<Vec<_>>();
    let tokens = server.tokens(&users, link::device())?;
    drop(link::sign_in(server.address(), &tokens).context("making the users")?);
    server.kill()?;
    server.start()?;
    let (first, second) = tokens.split_at(FEW);
    let few = link::sign_in(server.address(), first)?;
    let before = settled(server)?;
    let more = link::sign_in(server.address(), second)?;
    let after = settled(server)?;
    let connected = server.metric("ringpost_shard_sessions")?;
    ensure!(connected == MANY as u64, "{connected} of {MANY} are signed in");
    drop((few, more));
    Ok((after as f64 - before as f64) / (MANY - FEW) as f64)
}

/// The resident memory once it stays as it is.
fn settled(server: &Server) -> anyhow::Result<u64> {
    let process = server.process_id()?;
    let begun = Instant::now();
    let mut before = process::resident_bytes(process)?;
    loop {
        thread::sleep(SETTLE_POLL);
        let now = process::resident_bytes(process)?;
        if now.abs_diff(before) < SETTLED_BYTES {
            return Ok(now);
        }
        ensure!(begun.elapsed() < SETTLE_DEADLINE, "resident memory does not settle");
        before = now;
    }
}
