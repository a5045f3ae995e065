//! Who calls: from the socket's address to the caller, and the count of strangers by it.
//!
//! A connection of a trusted proxy is counted by nobody's address while it has named nobody, but among
//! all such connections of the node, so that a proxy which names nobody has an end too. From the
//! moment that somebody is named it counts as if that one had connected, and pays what it has brought
//! so far.

use std::net::IpAddr;

use ringpost_ring::Slot;
use ringpost_shard::event::Now;

use super::Worker;
use crate::caller::{Caller, KnownFrom, Naming};
use crate::connection::Counted;
use crate::forwarded::ForwardedFields;
use crate::proxy_header::{Header, ProxyHeaderReader};

impl Worker {
    /// The ring has answered: the address of the socket's other end, or none.
    pub(super) fn address_known(&mut self, slot: Slot, address: Option<IpAddr>, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        connection.asking_address = false;
        if let Some(address) = address
            && !self.caller_known(slot, Caller::of_socket(address, &self.config.trusted_proxies))
        {
            return self.remove(slot, now);
        }
        self.charge_caller(slot, now);
        self.leave_if_quiet(slot, now);
    }

    /// It is known better who calls. False if there are too many of them: the connection is to end.
    pub(super) fn caller_known(&mut self, slot: Slot, caller: Caller) -> bool {
        let Some(connection) = self.connections.find(slot) else { return false };
        connection.caller = Some(caller);
        if connection.has_proved_itself() {
            return true;
        }
        let counts_as = match caller.is_proxy() {
            true => Counted::AsUnnamed,
            false => Counted::ByAddress(caller.address()),
        };
        if connection.counted == counts_as {
            return true;
        }
        let before = std::mem::take(&mut connection.counted);
        self.uncount(before);
        if !self.try_count(counts_as) {
            return false;
        }
        if let Some(connection) = self.connections.find(slot) {
            connection.counted = counts_as;
        }
        true
    }

    fn try_count(&mut self, counted: Counted) -> bool {
        let (taken, refused) = match counted {
            Counted::Not => return true,
            Counted::AsUnnamed => (
                self.tables.try_count_unnamed(self.config.unnamed_max),
                &mut self.counters.refused_unnamed,
            ),
            Counted::ByAddress(address) => {
                let most = self.config.unauthenticated_per_address_max;
                (self.tables.strangers.try_count(address, most), &mut self.counters.refused_address)
            }
        };
        self.unauthenticated += usize::from(taken);
        *refused += u64::from(!taken);
        taken
    }

    /// One that was counted has proved itself, counts otherwise, or is gone.
    pub(super) fn uncount(&mut self, counted: Counted) {
        match counted {
            Counted::Not => return,
            Counted::AsUnnamed => self.tables.uncount_unnamed(),
            Counted::ByAddress(address) => self.tables.strangers.uncount(address),
        }
        self.unauthenticated -= 1;
    }

    /// A reader for the PROXY header that begins, if this connection may send one: it comes from a
    /// trusted proxy, and has sent none before.
    pub(super) fn proxy_header_reader(&mut self, slot: Slot) -> Option<ProxyHeaderReader> {
        let caller = self.connections.find(slot)?.caller?;
        (caller.is_proxy() && caller.known_from() == KnownFrom::Socket).then(ProxyHeaderReader::new)
    }

    /// Reads on in a PROXY header. Answers how many bytes of `bytes` it took and whether it has ended
    /// with them; `None` if the connection has ended.
    pub(super) fn read_proxy_header(
        &mut self,
        slot: Slot,
        reader: &mut ProxyHeaderReader,
        bytes: &[u8],
        now: Now,
    ) -> Option<(usize, bool)> {
        let (named, consumed) = match reader.feed(bytes) {
            Ok(Header::Incomplete) => return Some((bytes.len(), false)),
            Ok(Header::Complete { named, consumed }) => (named, consumed),
            Err(_) => {
                self.refuse_proxy_header(slot, now);
                return None;
            }
        };
        let before = self.connections.find(slot)?.caller?;
        let caller = before.named_by_header(named, &self.config.trusted_proxies);
        let naming = if named.is_some() { Naming::ProxyHeader } else { Naming::ProxyItself };
        if !self.name_caller(slot, caller, naming, now) {
            self.remove(slot, now);
            return None;
        }
        Some((consumed, true))
    }

    /// Closes a connection without an answer: its PROXY header is none, or comes from somebody whose
    /// word about addresses is worth nothing.
    pub(super) fn refuse_proxy_header(&mut self, slot: Slot, now: Now) {
        self.counters.refused_proxy_header += 1;
        self.remove(slot, now);
    }

    /// A request has come whole: who calls is whom its fields name. False if there are too many of
    /// them.
    pub(super) fn name_by_fields(
        &mut self,
        slot: Slot,
        fields: &ForwardedFields<'_>,
        now: Now,
    ) -> bool {
        let Some(before) = self.connections.find(slot).and_then(|it| it.caller) else {
            return true;
        };
        match fields.caller(before, &self.config.trusted_proxies) {
            (_, None) => true,
            (caller, Some(naming)) => self.name_caller(slot, caller, naming, now),
        }
    }

    /// Nobody was named in front of the binary protocol, which has no other place for it: a trusted
    /// proxy calls for itself. False if there are too many of it.
    pub(super) fn name_nobody(&mut self, slot: Slot, now: Now) -> bool {
        let caller = self.connections.find(slot).and_then(|it| it.caller);
        match caller.filter(|caller| caller.is_proxy()) {
            None => true,
            Some(caller) if caller.known_from() == KnownFrom::Socket => {
                self.name_caller(slot, caller.itself(), Naming::Nobody, now)
            }
            Some(caller) => self.caller_named(slot, caller.itself(), now),
        }
    }

    fn name_caller(&mut self, slot: Slot, caller: Caller, naming: Naming, now: Now) -> bool {
        self.counters.named.add(naming);
        self.caller_named(slot, caller, now)
    }

    /// Counts and charges whom the connection was named. False if there are too many of them.
    fn caller_named(&mut self, slot: Slot, caller: Caller, now: Now) -> bool {
        let may_stay = self.caller_known(slot, caller);
        if may_stay {
            self.charge_named(slot, now);
        }
        may_stay
    }
}
