//! A device that remembers ids shows each message once; on one connection nothing comes twice.

use std::collections::{HashMap, HashSet};

use ringpost_wire::ServerId;

use super::Checker;
use crate::observed::{DeviceKey, Key, Observed};

#[derive(Default)]
pub(super) struct Duplicates {
    shown: HashMap<(DeviceKey, Key), ServerId>,
    on_connection: HashMap<DeviceKey, HashSet<ServerId>>,
}

impl Checker for Duplicates {
    fn name(&self) -> &'static str {
        "duplicates"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        match event {
            Observed::Welcomed { device } => {
                self.on_connection.remove(device);
            }
            Observed::Pushed { device, key, id, .. } => {
                if !self.on_connection.entry(*device).or_default().insert(*id) {
                    return Err(format!("{id} came twice on one connection of {device}"));
                }
                let before = *self.shown.entry((*device, *key)).or_insert(*id);
                if before != *id {
                    return Err(format!("{} is shown by {device} as {before} and {id}", key.1));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
