//! A turn of a worker is bounded, whatever its ring answers.

use crate::checkers::Checker;
use crate::fact::Fact;

/// What one connection may ask of the ring, or be told by it, in one turn: its address, input, a
/// send, polls, a stop, a move and its end, each once or, for bytes received, a few times.
const PER_SLOT_MAX: u64 = 16;

/// What is of no connection: wakes, and accepts that were refused.
const BESIDE_MAX: u64 = 1_024;

/// Needs no shadow: each turn is judged alone.
pub(crate) struct Turns;

impl Checker for Turns {
    fn name(&self) -> &'static str {
        "turns"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let &Fact::Turned { enters, operations, completions, slots } = fact else { return Ok(()) };
        let max = slots * PER_SLOT_MAX + BESIDE_MAX;
        if enters > 1 {
            return Err(format!("a turn entered its ring {enters} times"));
        }
        if operations > max || completions > max {
            return Err(format!(
                "a turn had {operations} operations and {completions} completions, at most {max}"
            ));
        }
        Ok(())
    }
}
