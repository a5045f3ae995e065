//! The sections of the configuration, as plain values with their defaults.
//!
//! Owns names, types and defaults of every key. What each key means to an operator stands in
//! `deploy/config/default.toml`, which a test holds equal to the defaults here. Does not own how
//! the layers are merged ([`super::layers`]) nor what combinations make sense ([`super::check`]).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address;
use super::quantity::{duration, size};

/// The whole configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients connect: binary protocol, WebSocket and REST share each address.
    #[serde(with = "address::many")]
    pub listen: Vec<SocketAddr>,
    /// Networks of the proxies and balancers whose word about a client's address is taken.
    pub trusted_proxies: Vec<String>,
    /// Where everything that must survive is kept.
    pub data_dir: PathBuf,
    /// Worker threads, 0 = one for each core that the process may use.
    pub workers: u16,
    /// How long a stop by signal may take before the process leaves anyway.
    #[serde(with = "duration")]
    pub drain_deadline: Duration,
    /// The private port.
    pub admin: Admin,
    /// The write-ahead journal.
    pub journal: Journal,
    /// The embedded store behind the journal.
    pub store: Store,
    /// Who may come in.
    pub auth: Auth,
    /// The REST service.
    pub rest: Rest,
    /// What a client may cost.
    pub limits: LimitKeys,
    /// Diagnostics.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 7400))],
            trusted_proxies: Vec::new(),
            data_dir: PathBuf::from("./ringpost-data"),
            workers: 0,
            drain_deadline: Duration::from_secs(20),
            admin: Admin::default(),
            journal: Journal::default(),
            store: Store::default(),
            auth: Auth::default(),
            rest: Rest::default(),
            limits: LimitKeys::default(),
            log: Log::default(),
        }
    }
}

/// The private port: health, metrics, administration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    #[serde(with = "address::one")]
    pub listen: SocketAddr,
    /// File with the bearer token; empty = none, which is refused off loopback.
    pub token_file: PathBuf,
    /// Names that requests may give in `Host`, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 7401));
        Self { listen, token_file: PathBuf::new(), hosts: Vec::new() }
    }
}

/// Which device the journal writes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalDevice {
    /// Direct I/O where a probe at boot succeeds, else plain files.
    Auto,
    /// Direct I/O, or refuse to start.
    Glommio,
    /// Plain files.
    File,
    /// Nothing is kept: for measurements, and only on an empty data directory.
    None,
}

/// The write-ahead journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Which device.
    pub device: JournalDevice,
    /// Disk that all segments together may take; full = sends are refused.
    #[serde(with = "size")]
    pub disk_budget_bytes: u64,
    /// Size of one segment.
    #[serde(with = "size")]
    pub segment_bytes: u64,
    /// How long records wait for others at most where the disk is faster than they are dense.
    #[serde(with = "duration")]
    pub gather_max: Duration,
    /// Bytes that may wait to be committed (memory).
    #[serde(with = "size")]
    pub pending_bytes_max: u64,
    /// Bytes that may be committed and not yet applied to the store (memory).
    #[serde(with = "size")]
    pub unapplied_bytes_max: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            device: JournalDevice::Auto,
            disk_budget_bytes: 4 << 30,
            segment_bytes: 64 << 20,
            gather_max: Duration::from_micros(500),
            pending_bytes_max: 32 << 20,
            unapplied_bytes_max: 64 << 20,
        }
    }
}

/// The embedded store.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Block cache.
    #[serde(with = "size")]
    pub cache_bytes: u64,
    /// Write buffers of all tables together, those that wait to be flushed included.
    #[serde(with = "size")]
    pub write_buffer_bytes_max: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, write_buffer_bytes_max: 320 << 20 }
    }
}

/// Whether a valid token creates its user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provision {
    /// A valid token of a user not yet known creates the user (for development, and where an
    /// identity provider owns registration).
    OnSignIn,
    /// Only users who registered by phone exist.
    Registered,
}

/// How one-time codes reach people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeSenderKind {
    /// Into the log: for development only.
    Log,
    /// By HTTP POST to `webhook_url`.
    Webhook,
    /// Not at all: nobody signs in by phone.
    None,
}

/// Who may come in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether a valid token creates its user.
    pub provision: Provision,
    /// `iss` of the tokens that this server signs and accepts from its own key.
    pub issuer: String,
    /// `aud` that a token must name.
    pub audience: String,
    /// Life of an access token.
    #[serde(with = "duration")]
    pub access_ttl: Duration,
    /// Life of a refresh token, from its last use.
    #[serde(with = "duration")]
    pub refresh_ttl: Duration,
    /// How long a refresh token that was used is good once more, while the one that replaced it
    /// is unused; 0 = not at all.
    #[serde(with = "duration")]
    pub refresh_grace: Duration,
    /// Life of a resume ticket.
    #[serde(with = "duration")]
    pub ticket_ttl: Duration,
    /// How far clocks of issuers may differ from ours.
    #[serde(with = "duration")]
    pub clock_skew: Duration,
    /// Public keys of an outside identity provider (JWKS); empty = none.
    pub jwks_file: PathBuf,
    /// `iss` that tokens signed by those keys must carry.
    pub jwks_issuer: String,
    /// How one-time codes are sent.
    pub code_sender: CodeSenderKind,
    /// Where the webhook is posted (`http://host:port/path`).
    pub webhook_url: String,
    /// Life of a one-time code.
    #[serde(with = "duration")]
    pub code_ttl: Duration,
    /// Wrong guesses before a code is void.
    pub code_attempts_max: u8,
    /// Codes that are sent to one phone in an hour, whoever asks; of them one address may cause
    /// half, rounded up. A request beyond is answered alike and sends nothing.
    pub codes_per_phone_hour: u16,
    /// Calls of the auth endpoints that one address may make in a minute.
    pub requests_per_address_minute: u16,
    /// Threads that check token signatures.
    pub verify_threads: u8,
    /// Token checks that may wait.
    pub verify_queue_max: u32,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            provision: Provision::OnSignIn,
            issuer: "ringpost".into(),
            audience: "ringpost".into(),
            access_ttl: Duration::from_secs(3_600),
            refresh_ttl: Duration::from_secs(60 * 86_400),
            refresh_grace: Duration::from_secs(2 * 60),
            ticket_ttl: Duration::from_secs(3_600),
            clock_skew: Duration::from_secs(60),
            jwks_file: PathBuf::new(),
            jwks_issuer: String::new(),
            code_sender: CodeSenderKind::Log,
            webhook_url: String::new(),
            code_ttl: Duration::from_secs(5 * 60),
            code_attempts_max: 5,
            codes_per_phone_hour: 5,
            requests_per_address_minute: 30,
            verify_threads: 1,
            verify_queue_max: 4_096,
        }
    }
}

/// The REST service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rest {
    /// Threads of its runtime.
    pub threads: u8,
    /// Connections that may be open; above it who has waited longest for a request is let go, and
    /// where none waits the newcomer gets 503.
    pub connections_max: u32,
    /// The same of one address.
    pub connections_per_address_max: u32,
    /// How long a request's header may take from its first byte to its last.
    #[serde(with = "duration")]
    pub header_deadline: Duration,
    /// How long a kept connection may be without a request. Longer than the proxies in front keep
    /// theirs, or a request meets the close.
    #[serde(with = "duration")]
    pub idle_deadline: Duration,
    /// How long a request may take from its header to its answer.
    #[serde(with = "duration")]
    pub request_deadline: Duration,
    /// Largest body of a request.
    #[serde(with = "size")]
    pub body_bytes_max: u64,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            threads: 1,
            connections_max: 1_024,
            connections_per_address_max: 256,
            header_deadline: Duration::from_secs(5),
            idle_deadline: Duration::from_secs(75),
            request_deadline: Duration::from_secs(10),
            body_bytes_max: 16 << 10,
        }
    }
}

/// What a client may cost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitKeys {
    /// Open client connections of this node.
    pub connections_max: u32,
    /// Connections from one address that have not signed in, all workers together.
    pub unauthenticated_per_address_max: u32,
    /// Connections of trusted proxies that have named nobody yet, all workers together.
    pub unnamed_max: u32,
    /// What a user may send in a second for long, all its connections together.
    #[serde(with = "size")]
    pub user_input_bytes_per_second: u64,
    /// What a user may send at once after a pause.
    #[serde(with = "size")]
    pub user_input_burst_bytes: u64,
    /// The same of the connections of one address that have not signed in.
    #[serde(with = "size")]
    pub address_input_bytes_per_second: u64,
    /// The same at once.
    #[serde(with = "size")]
    pub address_input_burst_bytes: u64,
    /// From accept to the end of the handshake.
    #[serde(with = "duration")]
    pub handshake_deadline: Duration,
    /// From accept to the end of sign-in.
    #[serde(with = "duration")]
    pub auth_deadline: Duration,
    /// A client over TCP silent for so long is pinged; silent for as long again, closed.
    #[serde(with = "duration")]
    pub ping_interval_tcp: Duration,
    /// The same over WebSocket.
    #[serde(with = "duration")]
    pub ping_interval_websocket: Duration,
    /// A client that takes nothing for so long is closed.
    #[serde(with = "duration")]
    pub progress_deadline: Duration,
    /// Largest content of one message.
    #[serde(with = "size")]
    pub message_bytes_max: u64,
    /// Whether plaintext `content` is taken.
    pub plaintext: bool,
    /// Answers that may wait to be written, per connection.
    #[serde(with = "size")]
    pub outbox_bytes_max: u64,
    /// Answers that may wait to be written, all connections together; the workers share it equally.
    #[serde(with = "size")]
    pub outboxes_bytes_max: u64,
    /// Incomplete input of all connections together; the workers share it equally.
    #[serde(with = "size")]
    pub input_bytes_max: u64,
    /// Receive buffers of all workers together.
    #[serde(with = "size")]
    pub receive_buffers_bytes: u64,
    /// Resident user state, all workers together.
    #[serde(with = "size")]
    pub resident_bytes_max: u64,
    /// Content of messages on the way to the journal or just behind it, all workers together.
    #[serde(with = "size")]
    pub in_flight_bytes_max: u64,
    /// Messages that may wait in one device's queue.
    pub queue_entries_max: u32,
    /// Content that may wait in one device's queue.
    #[serde(with = "size")]
    pub queue_bytes_max: u64,
    /// The part of a device's queue that one sender may hold: one in so many.
    pub queue_sender_share: u32,
    /// How long an entry waits for its device.
    #[serde(with = "duration")]
    pub queue_ttl: Duration,
    /// Devices of one user.
    pub devices_per_user_max: u8,
    /// How long a device may be absent before it is removed.
    #[serde(with = "duration")]
    pub device_absence_max: Duration,
    /// Origins from which browsers may connect; empty = only clients that send no `Origin`.
    pub origins: Vec<String>,
}

impl Default for LimitKeys {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            unauthenticated_per_address_max: 1_000,
            unnamed_max: 10_000,
            user_input_bytes_per_second: ringpost_wire::limits::INPUT_BYTES_PER_SECOND,
            user_input_burst_bytes: ringpost_wire::limits::INPUT_BURST_BYTES,
            address_input_bytes_per_second: ringpost_wire::limits::INPUT_BYTES_PER_SECOND,
            address_input_burst_bytes: ringpost_wire::limits::INPUT_BURST_BYTES,
            handshake_deadline: Duration::from_secs(5),
            auth_deadline: Duration::from_secs(10),
            ping_interval_tcp: Duration::from_secs(120),
            ping_interval_websocket: Duration::from_secs(25),
            progress_deadline: Duration::from_secs(20),
            message_bytes_max: ringpost_wire::limits::MESSAGE_BYTES_MAX as u64,
            plaintext: false,
            outbox_bytes_max: 256 << 10,
            outboxes_bytes_max: 64 << 20,
            input_bytes_max: 64 << 20,
            receive_buffers_bytes: 32 << 20,
            resident_bytes_max: 256 << 20,
            in_flight_bytes_max: 128 << 20,
            queue_entries_max: 10_000,
            queue_bytes_max: 64 << 20,
            queue_sender_share: 10,
            queue_ttl: Duration::from_secs(30 * 86_400),
            devices_per_user_max: 16,
            device_absence_max: Duration::from_secs(90 * 86_400),
            origins: Vec::new(),
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// The least severe lines that are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// Also what may need one soon.
    Warn,
    /// Also the course of things.
    Info,
    /// Also single decisions.
    Debug,
}

/// Diagnostics, on standard error.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The least severe lines that are written.
    pub level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}
