//! `delivered` and `read` are told only of what a device of the reader acked, or its user read.
//! Before the first restart of a server that lets nobody go they never go back. (After one, or after
//! the reader's state was let go, an older cursor may be told once more: PROTOCOL.md, section 7.)

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::ServerId;

use crate::checkers::Checker;
use crate::fact::{Fact, Step, Who};

/// The shadow: what was acked and read, and how far each device was told.
#[derive(Default)]
pub(crate) struct Receipts {
    acked: BTreeSet<(u8, ServerId)>,
    read: BTreeSet<(u8, ServerId)>,
    told: BTreeMap<(Who, u8, Step), ServerId>,
    /// The server has forgotten cursors.
    has_forgotten: bool,
    starts: u32,
}

impl Checker for Receipts {
    fn name(&self) -> &'static str {
        "receipts"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Acked { who, id } => drop(self.acked.insert((who.user, *id))),
            Fact::Read { who, id } => drop(self.read.insert((who.user, *id))),
            Fact::Started { forgets, .. } => {
                self.has_forgotten |= *forgets || self.starts > 0;
                self.starts += 1;
            }
            Fact::Told { who, peer: Some(peer), step, id, .. } => {
                let said = match step {
                    Step::Delivered => &self.acked,
                    Step::Read => &self.read,
                };
                if !said.contains(&(*peer, *id)) {
                    return Err(format!(
                        "{who:?} was told {step:?} of {id}; user {peer} never said so"
                    ));
                }
                let last = self.told.insert((*who, *peer, *step), *id);
                if last > Some(*id) && !self.has_forgotten {
                    return Err(format!("{who:?} was told {step:?} of {id} after {last:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
