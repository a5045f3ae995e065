//! `storm`: everybody comes back at once, as after a failure of the network.
//!
//! Setup: all clients are signed in. Action: all their connections are reset, and all connect and
//! sign in again, as many at a time as the accept queue holds; where the server gives tickets, by
//! ticket. A message of the report is one sign-in of the second time.

use super::{Stage, with_costs};
use crate::ledger::Faults;
use crate::peer::{Name, Setting};
use crate::report::Run;
use crate::verdict::{self, Loop};

/// Runs it against one peer.
///
/// # Errors
/// When a client is refused, the first time or the second.
pub(crate) fn run(name: &Name, setting: &Setting, cores: usize) -> anyhow::Result<Run> {
    let setting = Setting { tickets: true, ..setting.clone() };
    let all = 0..setting.clients;
    let mut stage = Stage::open(name, &setting, 0)?;
    stage.sign_in(all.clone())?;
    let begun = stage.begin()?;
    stage.send_away(all.clone())?;
    stage.sign_in(all)?;
    let spent = stage.spent(&begun)?;
    let shape = "a message is a reconnect with its sign-in, the end of the old connection included";
    let run = stage.run("storm", shape.to_owned());
    let mut run = with_costs(run, u64::from(setting.clients), &spent);
    run.void = verdict::void(&spent, cores, Loop::Closed, Faults::default());
    Ok(run)
}
