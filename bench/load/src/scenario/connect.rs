//! `connect`: what it costs to take connections, bare or signed in.
//!
//! All clients connect, a bounded number at a time; a message of the report is one connection.
//! Clients of `--raw` say nothing: what is left is accept.

use std::rc::Rc;

use bytes::BytesMut;

use super::{Stage, with_costs};
use crate::dialect::{Dialect, Parsed};
use crate::fleet::{Fleet, What};
use crate::ledger::Faults;
use crate::peer::{Name, Setting};
use crate::report::Run;
use crate::verdict::{self, Loop};

/// A client that only connects.
struct Mute;

impl Dialect for Mute {
    fn greet(&self, _user: u32, _stage: u8, _out: &mut BytesMut) {}

    fn parse<'a>(
        &self,
        _user: u32,
        _stage: u8,
        input: &'a [u8],
        _out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        let all = input.len();
        Ok((all > 0).then_some((all, crate::dialect::Inbound::Nothing)))
    }

    fn message(&self, _from: u32, _to: u32, _content: &[u8], _out: &mut BytesMut) {}

    fn ping(&self, _out: &mut BytesMut) {}
}

/// Runs it against one peer.
///
/// # Errors
/// When a client is refused.
pub(crate) fn run(name: &Name, setting: &Setting, raw: bool, cores: usize) -> anyhow::Result<Run> {
    let mut stage = Stage::open(name, setting, 0)?;
    if raw {
        let server = stage.peer.address();
        stage.fleet = Fleet::open(setting.clients, Rc::new(Mute), server, 0)?;
    }
    let wanted = if raw { What::Connected } else { What::Ready };
    let begun = stage.begin()?;
    stage.bring(0..setting.clients, &wanted)?;
    let spent = stage.spent(&begun)?;
    let (scenario, shape) = if raw {
        ("connect --raw", "a message is an accepted connection")
    } else {
        ("connect", "a message is a sign-in")
    };
    let mut run =
        with_costs(stage.run(scenario, shape.to_owned()), u64::from(setting.clients), &spent);
    run.void = verdict::void(&spent, cores, Loop::Closed, Faults::default());
    Ok(run)
}
