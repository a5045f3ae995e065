//! What was `sent` waits for its device as long as it may, whatever the wall clock shows.

use crate::checkers::Checker;
use crate::fact::Fact;

/// Needs no shadow: a run lasts minutes, and where this is told, what waits may wait for longer. Only
/// the wall clock goes further, and nobody ever has a reason to believe it.
pub(crate) struct Expiry;

impl Checker for Expiry {
    fn name(&self) -> &'static str {
        "expiry"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Expired { entries: 1.. } => {
                Err("an entry has expired, and no time has passed".to_owned())
            }
            _ => Ok(()),
        }
    }
}
