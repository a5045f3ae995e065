//! Deadlines: one timer for each connection, looked at lazily.
//!
//! The wheel fires at or after the time that was asked for; then the connection says what its
//! real deadline is. What happens often (bytes received) only moves a field; the timer finds out
//! later. So an active connection never touches the wheel.

use std::time::Duration;

use ringpost_ring::Slot;
use ringpost_shard::Event;
use ringpost_shard::event::Now;
use ringpost_wire::{CloseReason, event};

use super::Worker;
use super::arrivals::Half;
use super::temperature::cools_at;
use crate::config::ConnectionConfig;
use crate::connection::{Connection, Phase, Progress, Protocol};
use crate::connections::Seen;
use crate::http::Rejection;
use crate::output::Operation;
use crate::websocket;

/// Most timers looked at in one turn: a storm of deadlines must not stand in the way of messages.
const TIMERS_PER_TURN_MAX: usize = 4_096;

/// Longest time from the first byte of a frame or message to its last, in either protocol.
const ASSEMBLY_TIME_MAX: Duration = websocket::Limits::ASSEMBLY_TIME_MAX;

impl Worker {
    /// Puts the connection's next deadline into the wheel.
    pub(super) fn schedule(&mut self, slot: Slot) {
        if let Some((same, seen)) = self.connections.see(slot.index())
            && same == slot
        {
            self.timers.schedule(slot.index(), deadline(&seen, &self.config));
        }
    }

    /// Acts on every deadline that has passed.
    pub(super) fn pass_deadlines(&mut self, now: Now) {
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some(index) = self.timers.poll_expired(now.mono) else { break };
            let Some((slot, seen)) = self.connections.see(index) else { continue };
            if deadline(&seen, &self.config) <= now.mono {
                self.deadline_passed(slot, now);
            }
            self.schedule(slot);
        }
        if self.shard.next_deadline().is_some_and(|at| at <= now.mono) {
            self.shard_event(Event::Tick, now);
        }
        if self.accept_resumes_at.is_some_and(|at| at <= now.mono) {
            self.accept_resumes_at = None;
            if self.drain.accepts() {
                self.operations.push(Operation::ResumeAccept);
            }
        }
        for half in self.arrivals.expired(now.mono) {
            self.counters.moves_expired += 1;
            if let Half::Descriptor(slot) = half {
                self.operations.push(Operation::Close(slot));
            }
        }
        self.pass_drain(now);
    }

    fn deadline_passed(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        // Asked first: a pause that ends may begin anew for as long as others use the budget up, and
        // would keep the deadline off.
        if deadline_of_phase(connection, &self.config) > now.mono {
            return self.end_pause(slot, now);
        }
        match connection.phase {
            Phase::Handshake => {
                self.counters.handshakes_late += 1;
                connection.recognise_held();
                if let Protocol::Http(reader) = &connection.protocol {
                    let refusal = reader.refusal(Rejection::TooSlow, &[]);
                    return self.reject_upgrade(slot, refusal, now);
                }
                self.close(slot, CloseReason::HandshakeLate, now);
            }
            Phase::SignIn => {
                self.counters.sign_ins_late += 1;
                self.close(slot, CloseReason::HelloLate, now);
            }
            Phase::Checking(_) | Phase::Departing(..) => {
                self.counters.sign_ins_late += 1;
                self.close(slot, CloseReason::CheckLate, now);
            }
            // Its user could not be loaded, or its device not written: no fault of the client.
            Phase::Welcoming => {
                self.counters.sign_ins_late += 1;
                self.close(slot, CloseReason::WelcomeLate, now);
            }
            Phase::SignedIn => self.session_deadline(slot, now),
            Phase::Closing { .. } | Phase::HandingOver(_) => {
                self.counters.closings_late += 1;
                self.remove(slot, now);
            }
            Phase::Installing(_) | Phase::Moving(..) => {}
        }
    }

    fn session_deadline(&mut self, slot: Slot, now: Now) {
        let Some(connection) = self.connections.find(slot) else { return };
        if leaves_by(connection, &self.config).is_some_and(|at| at <= now.mono) {
            self.counters.leavings_late += 1;
            return self.close(slot, CloseReason::AnswerLate, now);
        }
        if connection.expires_at <= now.mono {
            self.counters.credentials_ended += 1;
            return self.close(slot, CloseReason::SessionExpired, now);
        }
        let is_read = connection.is_read();
        if is_read
            && connection.assembling_since.is_some_and(|at| at + ASSEMBLY_TIME_MAX <= now.mono)
        {
            self.counters.assemblies_late += 1;
            return self.close(slot, CloseReason::AssemblyTooSlow, now);
        }
        let progress = connection.progress;
        if progress.since != Duration::ZERO
            && progress.since + self.config.progress_interval <= now.mono
        {
            if progress.bytes < self.config.progress_bytes_min {
                // Its socket is full: no last word would arrive either.
                self.counters.closed.add(CloseReason::NoProgress);
                return self.remove(slot, now);
            }
            connection.progress = Progress { since: now.mono, bytes: 0 };
        }
        if !is_read {
            return;
        }
        let silent = now.mono.saturating_sub(connection.heard_at);
        if cools_at(connection).is_some_and(|at| at <= now.mono) {
            self.cool(slot);
        }
        let Some(connection) = self.connections.find(slot) else { return };
        let ping_interval = self.config.ping_interval(connection.speech);
        if silent >= ping_interval * 2 {
            self.close(slot, CloseReason::Silent, now);
        } else if silent >= ping_interval && !connection.pinged {
            connection.pinged = true;
            self.say(slot, 0, &event::Event::Ping { nonce: now.wall_ms });
        }
    }
}

/// When a leaving client that has not been answered is let go (monotonic).
fn leaves_by(connection: &Connection, config: &ConnectionConfig) -> Option<Duration> {
    connection.leaving.then(|| connection.phase_since + config.leaving_deadline)
}

/// When the connection must be looked at next (monotonic).
fn deadline(seen: &Seen<'_>, config: &ConnectionConfig) -> Duration {
    match seen {
        Seen::Idle(idle) => {
            let silence =
                config.ping_interval(idle.speech()) * if idle.is_pinged() { 2 } else { 1 };
            (idle.heard_at() + silence).min(idle.expires_at())
        }
        Seen::Awake(connection) => deadline_awake(connection, config),
    }
}

fn deadline_awake(connection: &Connection, config: &ConnectionConfig) -> Duration {
    let ends = deadline_of_phase(connection, config);
    connection.paced.map_or(ends, |paced| ends.min(paced.until))
}

fn deadline_of_phase(connection: &Connection, config: &ConnectionConfig) -> Duration {
    match connection.phase {
        Phase::Handshake => connection.accepted_at + config.handshake_deadline,
        Phase::SignIn
        | Phase::Checking(_)
        | Phase::Departing(..)
        | Phase::Moving(..)
        | Phase::HandingOver(_)
        | Phase::Installing(_) => connection.accepted_at + config.sign_in_deadline,
        Phase::Welcoming => connection.phase_since + config.sign_in_deadline,
        Phase::Closing { .. } => connection.phase_since + config.close_deadline,
        Phase::SignedIn => {
            let mut at = connection.expires_at;
            if connection.progress.since != Duration::ZERO {
                at = at.min(connection.progress.since + config.progress_interval);
            }
            if let Some(leaves_by) = leaves_by(connection, config) {
                at = at.min(leaves_by);
            }
            if !connection.is_read() {
                // Who is not read can neither be silent nor slow to finish a frame.
                return at;
            }
            let silence =
                config.ping_interval(connection.speech) * if connection.pinged { 2 } else { 1 };
            at = at.min(connection.heard_at + silence);
            if let Some(since) = connection.assembling_since {
                at = at.min(since + ASSEMBLY_TIME_MAX);
            }
            if let Some(cools_at) = cools_at(connection) {
                at = at.min(cools_at);
            }
            at
        }
    }
}
