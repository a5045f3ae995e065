//! Nobody sees what is not theirs: each body begins with a canary of its direction, and comes only
//! to devices of its two users.

use super::Checker;
use crate::device::canary;
use crate::observed::Observed;

pub(super) struct Privacy;

impl Checker for Privacy {
    fn name(&self) -> &'static str {
        "privacy"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        let Observed::Pushed { device, key, to, body, .. } = event else { return Ok(()) };
        let (from, message) = key;
        if device.user != *to && device.user != from.user {
            return Err(format!("{message} from {from} to {to} came to {device}"));
        }
        if !body.0.starts_with(&canary(from.user, *to)) {
            return Err(format!("{message} from {from} came to {device} with strange bytes"));
        }
        Ok(())
    }
}
