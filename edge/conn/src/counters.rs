//! What a worker's connections count. Plain numbers, one writer: the driver publishes them.

use ringpost_shard::Durations;
use ringpost_shard::counters::REFUSED_SLOTS;
use ringpost_wire::{CloseCode, CloseReason, ErrorCode};

use crate::caller::Naming;
use crate::http::Rejection;

/// Counters of one worker's connections, since boot.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that came from another worker.
    pub moved_in: u64,
    /// Connections that went home to another worker.
    pub moved_out: u64,
    /// Moves that failed.
    pub moves_failed: u64,
    /// Halves of moved connections that were dropped because the other half did not come in time.
    pub moves_expired: u64,
    /// Handed to REST.
    pub handed_over: u64,
    /// Given back by REST: a request on them asked for a WebSocket.
    pub returned: u64,
    /// Bytes of frames and messages that came in pieces and were put together.
    pub assembled_bytes: u64,
    /// Bytes of message bodies copied into what leaves: of ephemeral messages, and small ones, to
    /// leave in one piece with the frames around them.
    pub gathered_bytes: u64,
    /// Times that accepting rested because a turn had taken its fill.
    pub accept_rests: u64,
    /// Times that a turn left connections to flush to the next.
    pub turns_cut: u64,
    /// Refused at accept: the table or `connections_max` is full.
    pub refused_full: u64,
    /// Refused at accept: too many of the address have not signed in.
    pub refused_address: u64,
    /// Refused at accept: too many connections of trusted proxies have not named anybody.
    pub refused_unnamed: u64,
    /// Closed without a word: garbage, or TLS on a plain port.
    pub refused_garbage: u64,
    /// Closed without a word: a PROXY header that is none, a second one, or of no trusted proxy.
    pub refused_proxy_header: u64,
    /// What was made of the word of proxies about who calls.
    pub named: ByNaming,
    /// Upgrade requests answered with an error.
    pub refused_upgrade: u64,
    /// The same, by what was wrong with them.
    pub rejections: ByRejection,
    /// Credentials refused.
    pub refused_credentials: u64,
    /// Resume tickets among them that had expired.
    pub tickets_expired: u64,
    /// Commands refused here, by code; the shard counts its own.
    pub refused: ByErrorCode,
    /// Connections that did not get through the handshake in time.
    pub handshakes_late: u64,
    /// Connections that did not get through sign-in in time.
    pub sign_ins_late: u64,
    /// Connections whose credential ended.
    pub credentials_ended: u64,
    /// Connections closed because a frame or message took too long from first byte to last.
    pub assemblies_late: u64,
    /// Connections cut off because the client did not take its last word, or did not go, in time.
    pub closings_late: u64,
    /// Connections closed because what their leaving clients were owed did not come in time.
    pub leavings_late: u64,
    /// What input was charged for, in bytes of cost; what was given back later included.
    pub charged_bytes: u64,
    /// Times that a session was not read because its user's budget was used up.
    pub paced_users: u64,
    /// Times that a stranger was not read because its address's budget was used up.
    pub paced_addresses: u64,
    /// Connections that were read no longer because they went on sending behind the last word.
    pub discards_over: u64,
    /// Connections closed because they were still there when a drain was over.
    pub drains_late: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Commands decoded.
    pub commands: u64,
    /// Events written.
    pub events: u64,
    /// Commands refused as malformed or unknown.
    pub malformed: u64,
    /// Sends that the socket took only a part of.
    pub short_sends: u64,
    /// Cold connections that began to talk: a receive stays armed for them.
    pub promoted: u64,
    /// Hot connections that fell silent.
    pub demoted: u64,
    /// Times that a client was not read because more answers waited for it than its limit.
    pub input_paused: u64,
    /// The same below its limit, because the answers of others left no more room for it.
    pub input_crowded: u64,
    /// Connections let go because the answers waiting at the worker were above their limit.
    pub outboxes_shed: u64,
    /// Connections let go because incomplete input at the worker was above its limit.
    pub inputs_shed: u64,
    /// Connections closed by the server, by code.
    pub closed: ByCloseReason,
    /// Connections that the client ended or lost.
    pub lost: u64,
    /// From the begin of a batch of completions to the taking of one receive in it; sampled.
    pub receive: Durations,
    /// From the taking of a receive to the end of handling all that is in it; sampled.
    pub decode: Durations,
    /// From a record's commit here to its coming back durable.
    pub commit: Durations,
    /// From giving bytes to the ring to the socket having taken all of them.
    pub send: Durations,
}

/// What a worker's connections hold now. All zero once every client is gone and every move is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionGauges {
    /// Open connections, those that are ending included.
    pub open: usize,
    /// Those of them that are not at rest.
    pub awake: usize,
    /// Connections that count by their address: they have not signed in.
    pub unauthenticated: usize,
    /// Connections that are on their way to another worker.
    pub moving: usize,
    /// Halves of connections from other workers whose other half has not come.
    pub arriving: usize,
    /// Connections that REST gave back and that have no slot yet.
    pub returning: usize,
    /// Bytes of answers that wait to be written, those that the ring holds included.
    pub outboxes_bytes: usize,
    /// Heap bytes of input that is not complete.
    pub input_bytes: usize,
    /// Records of this worker that were committed and have not come back durable.
    pub committing: usize,
}

/// A number for each reason of the last word.
#[derive(Clone, Debug)]
pub struct ByCloseReason([u64; CloseReason::ALL.len()]);

impl Default for ByCloseReason {
    fn default() -> Self {
        Self([0; CloseReason::ALL.len()])
    }
}

impl ByCloseReason {
    /// Counts one.
    pub fn add(&mut self, reason: CloseReason) {
        self.0[reason as usize] += 1;
    }

    /// How many ended with `code`.
    pub fn count(&self, code: CloseCode) -> u64 {
        self.counts().filter(|(reason, _)| reason.code() == code).map(|(_, count)| count).sum()
    }

    /// How many ended for each reason.
    pub fn counts(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL.into_iter().zip(self.0)
    }
}

/// A number for each error code.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByErrorCode([u64; REFUSED_SLOTS]);

impl ByErrorCode {
    /// Counts one.
    pub fn add(&mut self, code: ErrorCode) {
        self.0[usize::from(code.number())] += 1;
    }

    /// How many commands were refused with `code`.
    pub fn count(&self, code: ErrorCode) -> u64 {
        self.0[usize::from(code.number())]
    }
}

/// A number for each thing that may come of a proxy's word about who calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByNaming([u64; Naming::ALL.len()]);

impl ByNaming {
    /// Counts one.
    pub fn add(&mut self, naming: Naming) {
        self.0[naming as usize] += 1;
    }

    /// Label and number of each.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Naming::ALL.into_iter().map(Naming::label).zip(self.0)
    }
}

/// A number for each way in which a first request can be wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByRejection([u64; Rejection::LABELS.len()]);

impl ByRejection {
    /// Counts one.
    pub fn add(&mut self, rejection: Rejection) {
        let place = Rejection::LABELS.iter().position(|&label| label == rejection.label());
        self.0[place.expect("LABELS lists every rejection")] += 1;
    }

    /// Label and number of each.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Rejection::LABELS.into_iter().zip(self.0)
    }
}
