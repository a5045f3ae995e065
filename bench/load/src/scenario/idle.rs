//! `idle`: what a silent signed-in connection costs, in user space and in the kernel, and that
//! each of them is alive.
//!
//! Setup: where the server keeps users, all have signed in before and it has started again, so
//! that making users is not counted. Action: half of the clients sign in, then the other half;
//! nobody speaks; then each asks for a sign of life. Measured: what the second half added, so that
//! what is paid once is left out.
//!
//! Both ends are on this machine. A client's end costs the kernel the same whoever the server is;
//! it is taken to be half of what a connection between two ends of one kind costs: the floor's
//! server waits exactly as the generator's clients do.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::prctl;

use super::{PATIENCE, Stage, until_nothing_lingers};
use crate::fleet::What;
use crate::ledger::Faults;
use crate::measure::{resident_bytes, slab_bytes};
use crate::peer::{Name, Setting};
use crate::progress::Progress;
use crate::report::Run;
use crate::verdict;

/// Between two readings that tell whether memory has settled, what they may differ by, and how
/// long it may take.
const SETTLE_POLL: Duration = Duration::from_millis(500);
const SETTLED_BYTES: u64 = 64 * 1024;
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// Signs of life that are asked for at a time.
const PINGS_MAX: u32 = 1_000;

/// Caches of ringpost's users and store as small as may be: they are full before the first reading,
/// as they are in a server with many more connections, and what they hold is not a connection's.
const SMALL_CACHES: [&str; 2] = ["limits.resident_bytes_max=1MiB", "store.cache_bytes=1MiB"];

/// Growth for each connection, bytes.
struct Growth {
    user: f64,
    /// Both ends.
    kernel: f64,
    /// Others were at work meanwhile: the kernel's memory is everybody's.
    busy: Option<String>,
}

/// Runs it against one peer; `floor` runs before it, to tell the client's end.
///
/// # Errors
/// When a client is refused or lost, or memory does not settle.
pub(crate) fn run(name: &Name, setting: &Setting, cores: usize) -> anyhow::Result<Run> {
    if *name == Name::FLOOR {
        return on_floor(setting, cores);
    }
    with_floor(name, setting, cores).map(|(_, run)| run)
}

/// The run of the floor as well.
///
/// # Errors
/// As [`run`].
pub(crate) fn with_floor(
    name: &Name,
    setting: &Setting,
    cores: usize,
) -> anyhow::Result<(Run, Run)> {
    let floor = on_floor(setting, cores)?;
    let client_end = floor.kernel_bytes_per_connection.unwrap_or_default();
    let mut setting = Setting { tickets: true, ..setting.clone() };
    setting.set.extend(SMALL_CACHES.map(str::to_owned));
    let mut stage = Stage::open(name, &setting, 0)?;
    if stage.peer.keeps_users() {
        stage.sign_in(0..setting.clients)?;
        stage.send_away(0..setting.clients)?;
        stage.peer.restart()?;
    }
    let growth = grow(&mut stage, cores)?;
    let mut run = stage.run("idle", shape(&setting));
    run.notes.push(format!(
        "kernel: both ends {:.0} B, of which the client's {client_end:.0} B",
        growth.kernel
    ));
    Ok((floor, finish(stage, run, &growth, client_end)?))
}

fn on_floor(setting: &Setting, cores: usize) -> anyhow::Result<Run> {
    ensure!(setting.clients >= 2, "idle compares two halves of the connections");
    small_pages()?;
    let mut floor = Stage::open(&Name::FLOOR, setting, 0)?;
    let growth = grow(&mut floor, cores)?;
    let run = floor.run("idle", shape(setting));
    let half = growth.kernel / 2.0;
    finish(floor, run, &growth, half)
}

/// Servers that start from here on are given pages of 4 KiB: an allocator that asks for huge ones
/// grows by 2 MiB at a time, which is hundreds of bytes for each of some thousand connections.
fn small_pages() -> anyhow::Result<()> {
    prctl::set_thp_disable(true).context("cannot turn huge pages off for the servers")
}

fn shape(setting: &Setting) -> String {
    format!("growth from {} to {} connections", setting.clients / 2, setting.clients)
}

fn finish(mut stage: Stage, mut run: Run, growth: &Growth, client_end: f64) -> anyhow::Result<Run> {
    let lost = signs_of_life(&mut stage)?;
    run.messages = u64::from(stage.fleet.clients());
    run.user_bytes_per_connection = Some(growth.user);
    run.kernel_bytes_per_connection = Some(growth.kernel - client_end);
    let faults = Faults { lost, ..Faults::default() };
    let silent = (lost > 0).then(|| format!("{lost} connections gave no sign of life"));
    run.void = silent.or_else(|| growth.busy.clone());
    Ok(run.with_faults(faults))
}

fn grow(stage: &mut Stage, cores: usize) -> anyhow::Result<Growth> {
    let (half, all) = (stage.fleet.clients() / 2, stage.fleet.clients());
    until_nothing_lingers()?;
    stage.sign_in(0..half)?;
    let before = settled(stage)?;
    let begun = stage.begin()?;
    stage.sign_in(half..all)?;
    let after = settled(stage)?;
    let busy = verdict::busy(&stage.spent(&begun)?, cores);
    let each = |before: u64, after: u64| (after as f64 - before as f64) / f64::from(all - half);
    Ok(Growth { user: each(before.0, after.0), kernel: each(before.1, after.1), busy })
}

/// Resident memory and the kernel's, once they stay as they are.
fn settled(stage: &mut Stage) -> anyhow::Result<(u64, u64)> {
    let begun = Instant::now();
    let read = |stage: &Stage| -> anyhow::Result<(u64, u64)> {
        Ok((resident_bytes(stage.peer.process_id())?, slab_bytes()?))
    };
    let mut before = read(stage)?;
    loop {
        thread::sleep(SETTLE_POLL);
        let now = read(stage)?;
        let near = |one: u64, other: u64| one.abs_diff(other) < SETTLED_BYTES;
        // The kernel's memory never stands quite still; the server's must.
        let kernel = near(now.1, before.1) || begun.elapsed() > SETTLE_DEADLINE / 3;
        if near(now.0, before.0) && kernel {
            return Ok(now);
        }
        ensure!(begun.elapsed() < SETTLE_DEADLINE, "memory does not settle");
        before = now;
    }
}

/// Every client asks once; says how many had no answer.
fn signs_of_life(stage: &mut Stage) -> anyhow::Result<u64> {
    let all = stage.fleet.clients();
    let mut progress = Progress::new("signs of life", u64::from(all));
    let mut answered = 0;
    for first in (0..all).step_by(PINGS_MAX as usize) {
        let some = first..all.min(first + PINGS_MAX);
        let mut open = some.len();
        some.for_each(|client| stage.fleet.ping(client));
        let begun = Instant::now();
        let mut happened = Vec::new();
        while open > 0 && begun.elapsed() < PATIENCE {
            stage.fleet.turn(super::NAP, &mut happened);
            let pongs = happened.drain(..).filter(|event| event.what == What::Pong).count();
            open -= pongs.min(open);
            answered += pongs as u64;
        }
        progress.at(answered);
    }
    Ok(u64::from(all).saturating_sub(answered))
}
