//! Stored pushes of a connection are numbered 1, 2, 3.

use std::collections::HashMap;

use super::Checker;
use crate::observed::{DeviceKey, Observed};

#[derive(Default)]
pub(super) struct Numbering(HashMap<DeviceKey, u64>);

impl Checker for Numbering {
    fn name(&self) -> &'static str {
        "numbering"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        let (device, push) = match event {
            Observed::Welcomed { device } => {
                self.0.insert(*device, 0);
                return Ok(());
            }
            Observed::Pushed { device, push, .. } | Observed::Delivered { device, push, .. } => {
                (*device, *push)
            }
            _ => return Ok(()),
        };
        let last = self.0.insert(device, push).unwrap_or(0);
        if push != last + 1 {
            return Err(format!("push {push} behind {last} at {device}"));
        }
        Ok(())
    }
}
