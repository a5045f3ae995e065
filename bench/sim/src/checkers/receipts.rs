//! `delivered` names only what a device of the other side has acked, and in the end every device of
//! the sender has been told of the last message. A receipt below an earlier one is allowed (a
//! client ignores it, section 7 of PROTOCOL.md): the server forgets where a cursor stood.

use std::collections::{HashMap, HashSet};

use ringpost_wire::{ServerId, UserId};

use super::Checker;
use crate::observed::{DeviceKey, Observed};

pub(super) struct Receipts {
    fleet: Vec<DeviceKey>,
    acked: HashSet<(UserId, ServerId)>,
    /// The last message of one user to another that was answered.
    last: HashMap<(UserId, UserId), ServerId>,
    /// The highest that a device was told of a peer.
    told: HashMap<(DeviceKey, UserId), ServerId>,
}

impl Receipts {
    pub(super) fn new(fleet: &[DeviceKey]) -> Self {
        Self {
            fleet: fleet.to_vec(),
            acked: HashSet::new(),
            last: HashMap::new(),
            told: HashMap::new(),
        }
    }
}

impl Checker for Receipts {
    fn name(&self) -> &'static str {
        "receipts"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        match event {
            Observed::Acked { device, id } => {
                self.acked.insert((device.user, *id));
            }
            Observed::Sent { key, to, id } => {
                let last = self.last.entry((key.0.user, *to)).or_default();
                *last = (*last).max(*id);
            }
            Observed::Delivered { device, peer, id, .. } => {
                if !self.acked.contains(&(*peer, *id)) {
                    return Err(format!("{device} is told {id}, which {peer} has not acked"));
                }
                let told = self.told.entry((*device, *peer)).or_default();
                *told = (*told).max(*id);
            }
            _ => {}
        }
        Ok(())
    }

    fn owed(&self) -> Option<String> {
        let mut owed: Vec<String> = Vec::new();
        for (&(user, peer), last) in &self.last {
            for device in self.fleet.iter().filter(|device| device.user == user) {
                if self.told.get(&(*device, peer)).is_none_or(|told| told < last) {
                    owed.push(format!("{device} is never told that {peer} has {last}"));
                }
            }
        }
        // The maps have no order; a report has one.
        owed.into_iter().min()
    }
}
