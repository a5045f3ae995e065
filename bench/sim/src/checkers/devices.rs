//! Who was told `welcome` is a device of its user, from then on: nobody who writes to it is told that
//! there is no such user. And who was told that it signed out is none: nothing that was written and
//! accepted meanwhile waits for it when it comes again.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_wire::MessageId;

use crate::checkers::Checker;
use crate::fact::{Fact, Who};

/// The shadow: who is whose device since when, in facts seen.
#[derive(Default)]
pub(crate) struct Devices {
    seen: u64,
    /// Users one of whose devices was told `welcome`.
    users: BTreeMap<u8, u64>,
    /// To whom a message goes, and when it was asked first.
    asked: BTreeMap<(Who, MessageId), (u8, u64)>,
    /// When `sent` was told of it.
    sent: BTreeMap<(Who, MessageId), u64>,
    /// They asked to sign out, and have not come again since: one that has is a device anew.
    asking: BTreeSet<Who>,
    /// From when to when a device was none; without an end it is none now.
    out: BTreeMap<Who, Vec<(u64, Option<u64>)>>,
}

impl Checker for Devices {
    fn name(&self) -> &'static str {
        "devices"
    }

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        self.seen += 1;
        let now = self.seen;
        match fact {
            Fact::SignedIn { who, .. } => drop(self.users.entry(who.user).or_insert(now)),
            Fact::Asked { who, to, message, .. } => {
                self.asked.entry((*who, *message)).or_insert((*to, now));
            }
            Fact::Sent { who, message, .. } => {
                self.sent.entry((*who, *message)).or_insert(now);
            }
            Fact::Refused { who, message, code: "unknown_recipient", .. } => {
                let Some((to, asked)) = self.asked.get(&(*who, *message)) else { return Ok(()) };
                if self.users.get(to).is_some_and(|welcome| welcome < asked) {
                    return Err(format!(
                        "a device of {to} was told `welcome`; {who:?} wrote to it later, and was told \
                         that there is no such user"
                    ));
                }
            }
            Fact::SigningOut { who } => drop(self.asking.insert(*who)),
            Fact::SignedOut { who } if self.asking.remove(who) => {
                self.out.entry(*who).or_default().push((now, None));
            }
            Fact::Greeted { who } => {
                self.asking.remove(who);
                if let Some((_, until)) = self.out.get_mut(who).and_then(|out| out.last_mut()) {
                    until.get_or_insert(now);
                }
            }
            Fact::Shown { who, from: Some(from), message, .. } => {
                let written = (*from, *message);
                let Some((_, asked)) = self.asked.get(&written) else { return Ok(()) };
                let Some(sent) = self.sent.get(&written) else { return Ok(()) };
                let was_out = |(since, until): &(u64, Option<u64>)| {
                    since < asked && until.is_some_and(|until| *sent < until)
                };
                if self.out.get(who).is_some_and(|out| out.iter().any(was_out)) {
                    return Err(format!(
                        "{who:?} had signed out when {from:?} wrote {message}, and it waited for it"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
