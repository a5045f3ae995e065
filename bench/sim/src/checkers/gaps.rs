//! A gap that a device was told is told again at each sign-in until the device has said that it is
//! closed, with a number that never falls; a device that closes what it was told is not refused.

use std::collections::BTreeMap;

use crate::checkers::Checker;
use crate::fact::{Fact, Who};

/// The shadow: for each device the highest number that it was told, and the highest that it closed.
#[derive(Default)]
pub(crate) struct Gaps {
    told: BTreeMap<Who, u64>,
    closed: BTreeMap<Who, u64>,
}

impl Checker for Gaps {
    fn name(&self) -> &'static str {
        "gaps"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::QueueEmpty { who, gap } => {
                let told = self.told.get(who).copied();
                // What the device has closed may be on its way, or be lost with it.
                if *gap < told && told > self.closed.get(who).copied() {
                    return Err(format!(
                        "{who:?} has not closed its gap {told:?}, and is told {gap:?}"
                    ));
                }
                self.told.extend(gap.filter(|gap| Some(*gap) > told).map(|gap| (*who, gap)));
            }
            // Its gap may go with the device.
            Fact::SigningOut { who } => drop(self.told.remove(who)),
            Fact::GapClosed { who, gap } => {
                let closed = self.closed.entry(*who).or_default();
                *closed = (*closed).max(*gap);
            }
            Fact::Refused { who, code: "unknown_gap", .. } => {
                return Err(format!("{who:?} closed what it was told, and was refused"));
            }
            _ => {}
        }
        Ok(())
    }
}
