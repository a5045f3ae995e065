//! Why a node ends by itself: a part without which it does no more good.
//!
//! A journal that has failed cannot be trusted again in this process, nor can a store whose files are
//! damaged. A process that stays up with either looks alive and is of no use, so it tells its clients
//! to come back and ends, with an exit code that says so, for whoever supervises it to start it
//! again: recovery from the journal is what is tested most. What passes by itself (a full disk) ends
//! nothing.

use std::sync::{Mutex, PoisonError};

use crate::exit::{Failure, Kind};
use crate::signals::Failing;

/// Takes the first reason to end, and passes on that there is one.
#[derive(Debug, Default)]
pub(super) struct Ending {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reason: Option<(Kind, String)>,
    failing: Option<Failing>,
}

impl Ending {
    /// The node can do no more good. Only the first reason counts.
    pub(super) fn report(&self, kind: Kind, reason: impl Into<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reason.is_none() {
            state.reason = Some((kind, reason.into()));
            if let Some(failing) = &state.failing {
                failing.report();
            }
        }
    }

    /// Has this told when there is a reason, also one from before.
    pub(super) fn watch(&self, failing: Failing) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reason.is_some() {
            failing.report();
        }
        state.failing = Some(failing);
    }

    /// The first reason.
    pub(super) fn reason(&self) -> Option<Failure> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, reason) = state.reason.as_ref()?;
        Some(Failure::new(*kind, anyhow::anyhow!(reason.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_the_one_that_is_told() {
        let ending = Ending::default();
        assert!(ending.reason().is_none());
        ending.report(Kind::JournalFailed, "the journal has failed");
        ending.report(Kind::Storage, "so has the store");
        let failure = ending.reason().expect("there is one");
        assert_eq!(failure.kind, Kind::JournalFailed);
        assert_eq!(failure.to_string(), "the journal has failed");
    }
}
