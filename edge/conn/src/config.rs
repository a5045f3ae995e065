//! Limits and deadlines of connections: each once, with unit, default and consequence.

use std::time::Duration;

use ringpost_wire::limits::{INPUT_BURST_BYTES, INPUT_BYTES_PER_SECOND, MESSAGE_BYTES_MAX};

use crate::budgets::InputRate;
use crate::caller::TrustedProxies;
use crate::connection::Speech;
use crate::http::Origins;

/// What a user, or the strangers of an address, may bring by default.
const INPUT_RATE: InputRate =
    InputRate { bytes_per_second: INPUT_BYTES_PER_SECOND, burst_bytes: INPUT_BURST_BYTES };

/// How a worker treats its connections.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Most connections of this worker, counted from accept to close. Default: what the ring's
    /// table holds. Above it a new connection is closed at once.
    pub connections_max: u32,
    /// Connections taken in one turn; then accepting rests for a millisecond, and the others wait in
    /// the listener's backlog. Default 256: some two milliseconds of a turn, so that who reconnects
    /// does not stand in the way of who is here.
    pub accepts_per_turn_max: u32,
    /// Most connections of one address that have not signed in, at all workers of the node
    /// together. Default 256: a carrier's NAT reconnecting, not a flood.
    pub unauthenticated_per_address_max: u32,
    /// Most connections of trusted proxies that have not named anybody yet, at all workers of the node
    /// together: no address counts them. Default 10,000: all clients of a proxy reconnecting.
    pub unnamed_max: u32,
    /// Whose word about the address of a client is taken. Default nobody's.
    pub trusted_proxies: TrustedProxies,
    /// From accept to the end of the protocol's own handshake (the whole upgrade head, or the
    /// preamble): not per read, so that a byte every two seconds does not hold it open.
    /// Default 5 s.
    pub handshake_deadline: Duration,
    /// From accept to a `hello` whose credential was taken. Default 10 s.
    pub sign_in_deadline: Duration,
    /// From the server's close to the end of the connection, if the client does not close.
    /// Default 5 s.
    pub close_deadline: Duration,
    /// From a client's last to the last answer that it is owed. Default 10 s: after that it sends
    /// again what was not answered.
    pub leaving_deadline: Duration,
    /// A client over TCP silent for this long is pinged; silent for as long again it is closed.
    /// Default 120 s: below the idle time-outs of mobile carriers' NATs.
    pub ping_interval_tcp: Duration,
    /// The same over WebSocket. Default 25 s: below the 60 s and less after which proxies of HTTP give
    /// up a silent connection.
    pub ping_interval_websocket: Duration,
    /// How often a blocked writer must show progress. Default 20 s.
    pub progress_interval: Duration,
    /// Bytes that the socket must take in each such interval (or all that waits). Default 4 KiB:
    /// a reader of one byte a second is no reader.
    pub progress_bytes_min: usize,
    /// Bytes that may wait in one connection's outbox; above it the connection's input is not
    /// read. Default 256 KiB: a few of the largest messages.
    pub outbox_bytes_max: usize,
    /// Bytes that may wait in all outboxes of this worker. Above half of it each may hold less, in
    /// proportion to what is free; above it those who take nothing are let go.
    /// Passed by no more than what one turn brings: the answers to what was received, and pushes.
    /// Default 64 MiB: 256 readers that have stopped.
    pub outboxes_bytes_max: usize,
    /// Bytes of input of which a part is missing, or that wait to be decoded, of all connections of
    /// this worker. Above it those that were not heard for the longest time are closed. Passed by no
    /// more than what one turn receives, in buffers that may have grown to twice their size for it.
    /// Default 64 MiB: 500 of the largest texts in the making.
    pub input_bytes_max: usize,
    /// Input of one user, over all its connections to the node, in cost (see [`crate::budgets`]).
    /// Over it they are not read. Default 2 MiB in a second, 16 MiB at once: 28,000 small frames a
    /// second, or 23 of the largest texts.
    pub user_input: InputRate,
    /// The same of the connections of one address that have not signed in. Default the same: 120
    /// sign-ins by token in a second, or 2,000 by ticket.
    pub address_input: InputRate,
    /// Connections that may be on their way to another worker, and as many that may be on their way
    /// back from REST. Default 1,024.
    pub moves_max: usize,
    /// How long the two halves of a moved connection may be apart. Default 5 s.
    pub move_deadline: Duration,
    /// Largest content of one message, bytes; told in `welcome`.
    pub message_bytes_max: u32,
    /// Pages of browsers that may open a WebSocket. Default none.
    pub origins: Origins,
}

impl ConnectionConfig {
    /// How long a client that speaks like this may be silent before it is pinged.
    pub fn ping_interval(&self, speech: Speech) -> Duration {
        match speech {
            Speech::Undecided | Speech::Binary => self.ping_interval_tcp,
            Speech::WebSocketJson | Speech::WebSocketBinary => self.ping_interval_websocket,
        }
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            connections_max: 1 << 20,
            accepts_per_turn_max: 256,
            unauthenticated_per_address_max: 256,
            unnamed_max: 10_000,
            trusted_proxies: TrustedProxies::default(),
            handshake_deadline: Duration::from_secs(5),
            sign_in_deadline: Duration::from_secs(10),
            close_deadline: Duration::from_secs(5),
            leaving_deadline: Duration::from_secs(10),
            ping_interval_tcp: Duration::from_secs(120),
            ping_interval_websocket: Duration::from_secs(25),
            progress_interval: Duration::from_secs(20),
            progress_bytes_min: 4 * 1024,
            outbox_bytes_max: 256 * 1024,
            outboxes_bytes_max: 64 * 1024 * 1024,
            input_bytes_max: 64 * 1024 * 1024,
            user_input: INPUT_RATE,
            address_input: INPUT_RATE,
            moves_max: 1024,
            move_deadline: Duration::from_secs(5),
            message_bytes_max: MESSAGE_BYTES_MAX as u32,
            origins: Origins::default(),
        }
    }
}
