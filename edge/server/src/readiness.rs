//! Whether this node should get traffic, and why not.
//!
//! Parts report by a name from the code; a load balancer reads the verdict, a person the reasons.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What `/readyz` tells.
#[derive(Debug, Default)]
pub struct Readiness {
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    reasons: BTreeMap<&'static str, String>,
    facts: BTreeMap<&'static str, String>,
}

impl Readiness {
    /// Not ready until `starting` is cleared.
    pub fn starting() -> Self {
        let readiness = Self::default();
        readiness.refuse("starting", "recovery is not complete");
        readiness
    }

    /// Not ready for this reason, until it is cleared.
    pub fn refuse(&self, reason: &'static str, detail: impl Into<String>) {
        self.state().reasons.insert(reason, detail.into());
    }

    /// The reason is no more.
    pub fn clear(&self, reason: &'static str) {
        self.state().reasons.remove(reason);
    }

    /// Something worth knowing that is no reason, such as which driver runs and why.
    pub fn note(&self, fact: &'static str, detail: impl Into<String>) {
        self.state().facts.insert(fact, detail.into());
    }

    /// Whether nothing speaks against traffic.
    pub fn is_ready(&self) -> bool {
        self.state().reasons.is_empty()
    }

    /// The verdict, reasons and facts as JSON.
    pub fn json(&self) -> serde_json::Value {
        let state = self.state().clone();
        serde_json::json!({
            "ready": state.reasons.is_empty(),
            "reasons": state.reasons,
            "facts": state.facts,
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_is_enough_and_all_are_told() {
        let readiness = Readiness::starting();
        assert!(!readiness.is_ready());
        readiness.clear("starting");
        readiness.note("driver", "io_uring: self-test passed");
        assert!(readiness.is_ready());
        readiness.refuse("draining", "SIGTERM");
        readiness.refuse("journal", "failed fdatasync");
        readiness.clear("draining");
        let json = readiness.json();
        assert_eq!(json["ready"], false);
        assert_eq!(json["reasons"], serde_json::json!({"journal": "failed fdatasync"}));
        assert_eq!(json["facts"]["driver"], "io_uring: self-test passed");
    }
}
