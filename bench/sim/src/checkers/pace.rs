//! Nobody who keeps to the rules is closed for how much is sent: over a rate it is read more slowly.

use crate::checkers::Checker;
use crate::fact::Fact;

/// Needs no shadow: a device of the fleet breaks no limit of behaviour, however much it says.
pub(crate) struct Pace;

impl Checker for Pace {
    fn name(&self) -> &'static str {
        "pace"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Closed { who, code: "policy" } => {
                Err(format!("{who:?} keeps to the rules and was closed for its behaviour"))
            }
            _ => Ok(()),
        }
    }
}
