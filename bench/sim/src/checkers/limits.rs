//! Everything that is held stays within its limit.

use crate::checkers::Checker;
use crate::fact::Fact;

/// Needs no shadow: each fact names its limit.
pub(crate) struct Limits;

impl Checker for Limits {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Held { place, held, max } if held > max => {
                Err(format!("{place} holds {held}, at most {max} are allowed"))
            }
            _ => Ok(()),
        }
    }
}
