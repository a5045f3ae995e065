//! Stored pushes of a connection are numbered 1, 2, 3.

use std::collections::BTreeMap;

use crate::checkers::Checker;
use crate::fact::{Fact, Who};

/// The shadow: the last number on the present connection of each device.
#[derive(Default)]
pub(crate) struct Numbering(BTreeMap<Who, u64>);

impl Checker for Numbering {
    fn name(&self) -> &'static str {
        "numbering"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let (who, push) = match fact {
            Fact::SignedIn { who, .. } => {
                self.0.insert(*who, 0);
                return Ok(());
            }
            Fact::Shown { who, push, .. } | Fact::Told { who, push, .. } => (who, *push),
            _ => return Ok(()),
        };
        let Some(last) = self.0.get_mut(who) else { return Ok(()) };
        if push != *last + 1 {
            return Err(format!("push {push} behind {last} at {who:?}"));
        }
        *last = push;
        Ok(())
    }
}
