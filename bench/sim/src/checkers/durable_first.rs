//! Nobody hears of a message, neither its sender by `sent` nor its recipient, before the disk
//! really has it.

use std::collections::HashSet;

use ringpost_wire::ServerId;

use super::Checker;
use crate::observed::Observed;

#[derive(Default)]
pub(super) struct DurableFirst(HashSet<ServerId>);

impl Checker for DurableFirst {
    fn name(&self) -> &'static str {
        "durable-first"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        match event {
            Observed::OnDisk { id } => {
                self.0.insert(*id);
            }
            Observed::Sent { id, key, .. } if !self.0.contains(id) => {
                return Err(format!("`sent` for {} as {id}, which is not on the disk", key.1));
            }
            Observed::Pushed { id, key, .. } if !self.0.contains(id) => {
                return Err(format!("{} pushed as {id}, which is not on the disk", key.1));
            }
            _ => {}
        }
        Ok(())
    }
}
