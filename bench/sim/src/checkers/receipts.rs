//! `delivered` and `read` are told only of what a device of the reader acked, or its user read. They
//! never go back, whatever the server has forgotten or lost meanwhile; one that was told on a
//! connection is not told again there.

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
    /// Told on the device's present connection.
    told_here: BTreeSet<(Who, u8, Step)>,
}

impl Checker for Receipts {
    fn name(&self) -> &'static str {
        "receipts"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Acked { who, id } => drop(self.acked.insert((who.user, *id))),
            Fact::Read { who, id } => drop(self.read.insert((who.user, *id))),
            Fact::Left { who } => self.told_here.retain(|(told, ..)| told != who),
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
                let direction = (*who, *peer, *step);
                let last = self.told.insert(direction, *id);
                let is_again = !self.told_here.insert(direction) && last == Some(*id);
                if last > Some(*id) || is_again {
                    return Err(format!("{who:?} was told {step:?} of {id} after {last:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
