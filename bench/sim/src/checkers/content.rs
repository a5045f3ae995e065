//! What is shown is, byte for byte, what was written.

use std::collections::BTreeMap;

use crate::checkers::Checker;
use crate::fact::{Canary, Fact};

/// The shadow: a hash of each content.
#[derive(Default)]
pub(crate) struct Content(BTreeMap<Canary, u64>);

impl Checker for Content {
    fn name(&self) -> &'static str {
        "content"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Asked { canary, content, .. } => {
                self.0.insert(*canary, *content);
            }
            Fact::Shown { who, canary: Some(canary), content, .. }
                if self.0.get(canary).is_some_and(|written| written != content) =>
            {
                return Err(format!("{who:?} was shown other bytes than were written: {canary}"));
            }
            _ => {}
        }
        Ok(())
    }
}
