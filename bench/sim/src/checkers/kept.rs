//! What was acknowledged comes to every device of the recipient, and to the sender's others.

use std::collections::{BTreeSet, HashMap};

use ringpost_wire::UserId;

use super::Checker;
use crate::observed::{DeviceKey, Key, Observed};

pub(super) struct Kept {
    fleet: Vec<DeviceKey>,
    to: HashMap<Key, UserId>,
    /// Acknowledged, and not yet shown by this device.
    owed: BTreeSet<(Key, DeviceKey)>,
    shown: BTreeSet<(Key, DeviceKey)>,
}

impl Kept {
    pub(super) fn new(fleet: &[DeviceKey]) -> Self {
        Self {
            fleet: fleet.to_vec(),
            to: HashMap::new(),
            owed: BTreeSet::new(),
            shown: BTreeSet::new(),
        }
    }
}

impl Checker for Kept {
    fn name(&self) -> &'static str {
        "kept"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        match event {
            Observed::Made { key, to, .. } => {
                self.to.insert(*key, *to);
            }
            Observed::Sent { key, .. } => {
                let Some(to) = self.to.get(key) else { return Ok(()) };
                for device in self.fleet.iter().filter(|it| **it != key.0) {
                    let concerned = device.user == *to || device.user == key.0.user;
                    if concerned && !self.shown.contains(&(*key, *device)) {
                        self.owed.insert((*key, *device));
                    }
                }
            }
            Observed::Pushed { key, device, .. } => {
                self.shown.insert((*key, *device));
                self.owed.remove(&(*key, *device));
            }
            Observed::QueueEmpty { gap: true, device } => {
                return Err(format!("a gap for {device}, whose queue is far from its limits"));
            }
            _ => {}
        }
        Ok(())
    }

    fn owed(&self) -> Option<String> {
        let ((from, message), device) = self.owed.first()?;
        let more = self.owed.len() - 1;
        Some(format!("{message} of {from} never came to {device}, and {more} more"))
    }
}
