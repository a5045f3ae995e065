//! Messages of one device in one conversation arrive in the order in which they were accepted, and
//! are accepted in the order in which they were sent where nothing was in their way.

use std::collections::{HashMap, HashSet};

use ringpost_wire::{ServerId, UserId};

use super::Checker;
use crate::observed::{DeviceKey, Key, Observed};

/// A direction: one device to one user.
type Stream = (DeviceKey, UserId);

#[derive(Default)]
pub(super) struct Order {
    to: HashMap<Key, UserId>,
    troubled: HashSet<Key>,
    /// The last smooth message of a stream by its client's id, which rises, and its server id.
    accepted: HashMap<Stream, Vec<(Key, ServerId)>>,
    seen: HashSet<(DeviceKey, ServerId)>,
    newest: HashMap<(DeviceKey, Stream), ServerId>,
}

impl Checker for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn see(&mut self, event: &Observed) -> Result<(), String> {
        match event {
            Observed::Made { key, to, .. } => {
                self.to.insert(*key, *to);
            }
            Observed::Troubled { key } => {
                self.troubled.insert(*key);
            }
            Observed::Sent { key, id, .. } if !self.troubled.contains(key) => {
                let Some(to) = self.to.get(key) else { return Ok(()) };
                let stream = self.accepted.entry((key.0, *to)).or_default();
                if stream.iter().any(|(known, _)| known == key) {
                    return Ok(());
                }
                let inverted = stream.iter().find(|(other, at)| (other.1 < key.1) != (*at < *id));
                if let Some((other, at)) = inverted {
                    let (one, two) = (key.1, other.1);
                    return Err(format!("{one} is {id} and {two} is {at}: not as sent"));
                }
                stream.push((*key, *id));
            }
            Observed::Pushed { device, key, to, id, .. } if self.seen.insert((*device, *id)) => {
                let newest = self.newest.insert((*device, (key.0, *to)), *id);
                if newest.is_some_and(|newest| newest >= *id) {
                    let (message, newest) = (key.1, newest.unwrap_or_default());
                    return Err(format!("{message} ({id}) came to {device} behind {newest}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
