//! What arrives is what was sent, bit for bit.

use std::collections::HashMap;

use ringpost_wire::UserId;

use super::Checker;
use crate::observed::{Body, Key, Observed};

#[derive(Default)]
pub(super) struct Content(HashMap<Key, (UserId, Body)>);

impl Checker for Content {
    fn name(&self) -> &'static str {
        "content"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        match event {
            Observed::Made { key, to, body } => {
                self.0.insert(*key, (*to, body.clone()));
            }
            Observed::Pushed { key, to, body, device, .. } => {
                let Some((recipient, sent)) = self.0.get(key) else {
                    return Err(format!("{} of {} was never made", key.1, key.0));
                };
                if recipient != to || sent != body {
                    return Err(format!("{} of {} came to {device} changed", key.1, key.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
