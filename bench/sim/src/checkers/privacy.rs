//! Nobody sees what is not theirs: content is recognised wherever it is shown, and stands under the
//! names of those who wrote it and whom it was written to.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::MessageId;

use crate::checkers::Checker;
use crate::fact::{Canary, Fact, Who};

/// The shadow: who wrote what to whom.
#[derive(Default)]
pub(crate) struct Privacy {
    written: BTreeMap<Canary, (Who, u8, MessageId)>,
    writers: BTreeSet<Who>,
}

impl Checker for Privacy {
    fn name(&self) -> &'static str {
        "privacy"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Asked { who, to, message, canary, .. } => {
                self.writers.insert(*who);
                self.written.insert(*canary, (*who, *to, *message));
            }
            Fact::Shown { who, from, to, message, canary: Some(canary), .. } => {
                let Some((writer, recipient, written)) = self.written.get(canary) else {
                    return Err(format!("{who:?} was shown {canary}, which nobody wrote"));
                };
                if who.user != writer.user && who.user != *recipient {
                    return Err(format!("{canary} of {writer:?} was shown to {who:?}"));
                }
                if (*from, *to, message) != (Some(*writer), Some(*recipient), written) {
                    return Err(format!(
                        "{canary} of {writer:?} was shown as of {from:?} to {to:?}"
                    ));
                }
            }
            Fact::Shown { who, from: Some(from), canary: None, .. }
                if self.writers.contains(from) =>
            {
                return Err(format!("{who:?} was shown what {from:?} never wrote"));
            }
            _ => {}
        }
        Ok(())
    }
}
