//! Whether a well-formed configuration makes sense: ranges, and combinations that contradict.
//!
//! Pure: looks at values only, never at the disk. Finds all mistakes, not the first.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use ringpost_conn::TrustedProxies;
use ringpost_conn::caller::TRUSTED_PROXIES_MAX;
use ringpost_conn::http::{InvalidOrigin, Origins};
use ringpost_journal::GATHER_CEILING;

use super::layers::{Loaded, Origin};
use super::problem::{ConfigError, Mistake, Problem};
use super::quantity::{duration_text, size_text};
use super::sections::{Auth, CodeSenderKind, Config, LimitKeys};
use crate::admin;

/// Most workers of one node: as many as a durable record can be handed to.
pub const WORKERS_MAX: u16 = ringpost_conn::WORKERS_MAX;

/// Most addresses that clients may connect to.
const LISTEN_MAX: usize = 16;

/// Smallest and largest segment: below, recycling never stops; above, recovery reads for long.
pub const SEGMENT_BYTES: RangeInclusive<u64> = 4 << 20..=1 << 30;

/// Segments that the disk budget must hold: one written, one applied, one prewritten, one spare.
const SEGMENTS_MIN: u64 = 4;

/// The slowest rate of input: a `hello` with the longest token within a deadline of sign-in.
const INPUT_BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// The smallest burst of input: the largest text and the frames around it are taken at once.
const INPUT_BURST_BYTES_MIN: u64 = 128 << 10;

/// Most origins in the allow-list.
const ORIGINS_MAX: usize = 64;

/// Checks all values against their ranges and against each other.
///
/// # Errors
/// With every mistake that was found.
pub fn check(loaded: &Loaded) -> Result<(), ConfigError> {
    let mut checker = Checker { loaded, problems: Vec::new() };
    let config = &loaded.config;
    checker.node(config);
    checker.storage(config);
    checker.auth(&config.auth);
    checker.rest(config);
    checker.limits(&config.limits);
    if checker.problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(checker.problems)) }
}

struct Checker<'a> {
    loaded: &'a Loaded,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn refuse(&mut self, key: &str, found: impl Display, allowed: impl Display) {
        let origin = self.loaded.origins.get(key).cloned().unwrap_or(Origin::Default);
        let (found, allowed) = (found.to_string(), allowed.to_string());
        let mistake = Mistake::Value { found, allowed };
        self.problems.push(Problem { key: key.to_owned(), origin, mistake });
    }

    fn number(&mut self, key: &str, value: u64, range: RangeInclusive<u64>) {
        if !range.contains(&value) {
            self.refuse(key, value, format!("{} to {}", range.start(), range.end()));
        }
    }

    fn size(&mut self, key: &str, bytes: u64, range: RangeInclusive<u64>) {
        if !range.contains(&bytes) {
            let (low, high) = (size_text(*range.start()), size_text(*range.end()));
            self.refuse(key, size_text(bytes), format!("{low} to {high}"));
        }
    }

    fn duration(&mut self, key: &str, value: Duration, low: Duration, high: Duration) {
        if value < low || value > high {
            let allowed = format!("{} to {}", duration_text(low), duration_text(high));
            self.refuse(key, duration_text(value), allowed);
        }
    }

    fn node(&mut self, config: &Config) {
        let distinct: HashSet<_> = config.listen.iter().filter(|addr| addr.port() != 0).collect();
        let fixed = config.listen.iter().filter(|addr| addr.port() != 0).count();
        if config.listen.is_empty() || config.listen.len() > LISTEN_MAX || distinct.len() != fixed {
            let allowed = format!("1 to {LISTEN_MAX} different addresses");
            self.refuse("listen", format!("{:?}", config.listen), allowed);
        }
        let proxies = &config.trusted_proxies;
        if let Err(error) = TrustedProxies::new(proxies.iter().map(String::as_str)) {
            let allowed = "addresses and networks, such as \"127.0.0.1\" or \"10.1.0.0/16\", and \
                           never everybody (\"0.0.0.0/0\")";
            self.refuse("trusted_proxies", format!("{:?}", error.0), allowed);
        }
        if proxies.len() > TRUSTED_PROXIES_MAX {
            let found = format!("{} networks", proxies.len());
            self.refuse("trusted_proxies", found, format!("at most {TRUSTED_PROXIES_MAX}"));
        }
        if config.data_dir.as_os_str().is_empty() {
            self.refuse("data_dir", "\"\"", "a directory (it is made if it does not exist)");
        }
        self.number("workers", config.workers.into(), 0..=WORKERS_MAX.into());
        let (low, high) = (Duration::from_secs(1), minutes(60));
        self.duration("drain_deadline", config.drain_deadline, low, high);
        let keys = &config.admin;
        if !keys.listen.ip().is_loopback() && is_unset(&keys.token_file) {
            let allowed = "a loopback address, or any address together with admin.token_file";
            self.refuse("admin.listen", keys.listen, allowed);
        }
        let is_none = |name: &&String| !admin::is_host_name(name);
        if let Some(bad) = keys.hosts.iter().find(is_none) {
            self.refuse("admin.hosts", format!("{bad:?}"), "names of hosts, without a port");
        }
        if keys.hosts.len() > admin::HOSTS_MAX {
            let found = format!("{} names", keys.hosts.len());
            self.refuse("admin.hosts", found, format!("at most {}", admin::HOSTS_MAX));
        }
        if keys.listen.port() != 0 && config.listen.contains(&keys.listen) {
            self.refuse("admin.listen", keys.listen, "an address that `listen` does not name");
        }
    }

    fn storage(&mut self, config: &Config) {
        let journal = &config.journal;
        self.size("journal.segment_bytes", journal.segment_bytes, SEGMENT_BYTES);
        let block = 1 << 20;
        if !journal.segment_bytes.is_multiple_of(block) {
            let found = size_text(journal.segment_bytes);
            self.refuse("journal.segment_bytes", found, "a multiple of 1MiB");
        }
        let segment_bytes = within(journal.segment_bytes, &SEGMENT_BYTES);
        let budget_min = SEGMENTS_MIN.saturating_mul(segment_bytes);
        if journal.disk_budget_bytes < budget_min {
            let allowed =
                format!("at least {SEGMENTS_MIN} segments, which is {}", size_text(budget_min));
            self.refuse("journal.disk_budget_bytes", size_text(journal.disk_budget_bytes), allowed);
        }
        self.duration("journal.gather_max", journal.gather_max, Duration::ZERO, GATHER_CEILING);
        let memory = 1 << 20..=64 << 30;
        self.size("journal.pending_bytes_max", journal.pending_bytes_max, memory.clone());
        self.size("journal.unapplied_bytes_max", journal.unapplied_bytes_max, memory.clone());
        self.size("store.cache_bytes", config.store.cache_bytes, memory);
        let buffers = 20 << 20..=64 << 30;
        self.size("store.write_buffer_bytes_max", config.store.write_buffer_bytes_max, buffers);
    }

    fn auth(&mut self, auth: &Auth) {
        for (key, text) in [("auth.issuer", &auth.issuer), ("auth.audience", &auth.audience)] {
            if text.is_empty() || text.len() > 256 {
                self.refuse(key, format!("{text:?}"), "1 to 256 bytes of text");
            }
        }
        let seconds = Duration::from_secs;
        self.duration("auth.access_ttl", auth.access_ttl, seconds(10), minutes(24 * 60));
        self.duration("auth.refresh_ttl", auth.refresh_ttl, minutes(1), minutes(366 * 24 * 60));
        self.duration("auth.refresh_grace", auth.refresh_grace, seconds(0), minutes(10));
        self.duration("auth.ticket_ttl", auth.ticket_ttl, seconds(10), minutes(7 * 24 * 60));
        self.duration("auth.clock_skew", auth.clock_skew, seconds(0), minutes(5));
        self.duration("auth.code_ttl", auth.code_ttl, seconds(30), minutes(60));
        self.number("auth.code_attempts_max", auth.code_attempts_max.into(), 1..=10);
        self.number("auth.codes_per_phone_hour", auth.codes_per_phone_hour.into(), 1..=1_000);
        let per_minute = auth.requests_per_address_minute.into();
        self.number("auth.requests_per_address_minute", per_minute, 1..=60_000);
        self.number("auth.verify_threads", auth.verify_threads.into(), 1..=64);
        self.number("auth.verify_queue_max", auth.verify_queue_max.into(), 16..=1_000_000);
        if !is_unset(&auth.jwks_file)
            && (auth.jwks_issuer.is_empty() || auth.jwks_issuer == auth.issuer)
        {
            let allowed = "the identity provider's `iss`, which differs from auth.issuer";
            self.refuse("auth.jwks_issuer", format!("{:?}", auth.jwks_issuer), allowed);
        }
        let exposed = self.loaded.config.listen.iter().find(|it| !it.ip().is_loopback());
        if let (CodeSenderKind::Log, Some(address)) = (auth.code_sender, exposed) {
            let allowed = format!(
                "\"webhook\", or \"none\" where nobody signs in by phone: whoever reads the log could be \
                 anybody, and others than this host come in at {address}"
            );
            self.refuse("auth.code_sender", "\"log\"", allowed);
        }
        let webhook = auth.webhook_url.strip_prefix("http://").is_some_and(|rest| !rest.is_empty());
        if auth.code_sender == CodeSenderKind::Webhook && !webhook {
            let allowed = "http://HOST:PORT/PATH (of a relay beside the server: codes travel in \
                           the clear)";
            self.refuse("auth.webhook_url", format!("{:?}", auth.webhook_url), allowed);
        }
    }

    fn rest(&mut self, config: &Config) {
        let rest = &config.rest;
        self.number("rest.threads", rest.threads.into(), 1..=64);
        self.number("rest.connections_max", rest.connections_max.into(), 1..=100_000);
        let of_address = rest.connections_per_address_max.into();
        self.number("rest.connections_per_address_max", of_address, 1..=100_000);
        let (low, high) = (Duration::from_millis(100), minutes(5));
        self.duration("rest.header_deadline", rest.header_deadline, low, high);
        self.duration("rest.idle_deadline", rest.idle_deadline, low, minutes(60));
        self.duration("rest.request_deadline", rest.request_deadline, low, high);
        self.size("rest.body_bytes_max", rest.body_bytes_max, 1 << 10..=1 << 20);
    }

    fn limits(&mut self, limits: &LimitKeys) {
        let connections = u64::from(limits.connections_max);
        self.number("limits.connections_max", connections, 1..=16_000_000);
        let unauthenticated = limits.unauthenticated_per_address_max.into();
        self.number("limits.unauthenticated_per_address_max", unauthenticated, 1..=1_000_000);
        self.number("limits.unnamed_max", limits.unnamed_max.into(), 1..=1_000_000);
        for (key, bytes) in [
            ("limits.user_input_bytes_per_second", limits.user_input_bytes_per_second),
            ("limits.address_input_bytes_per_second", limits.address_input_bytes_per_second),
        ] {
            self.size(key, bytes, INPUT_BYTES_PER_SECOND_MIN..=1 << 40);
        }
        for (key, bytes) in [
            ("limits.user_input_burst_bytes", limits.user_input_burst_bytes),
            ("limits.address_input_burst_bytes", limits.address_input_burst_bytes),
        ] {
            self.size(key, bytes, INPUT_BURST_BYTES_MIN..=1 << 40);
        }
        let (low, high) = (Duration::from_millis(100), minutes(5));
        self.duration("limits.handshake_deadline", limits.handshake_deadline, low, high);
        let least = limits.handshake_deadline.clamp(low, high);
        if limits.auth_deadline < least || limits.auth_deadline > high {
            let range = format!("{} to {}", duration_text(least), duration_text(high));
            let allowed =
                format!("{range}, from limits.handshake_deadline on: both count from accept");
            self.refuse("limits.auth_deadline", duration_text(limits.auth_deadline), allowed);
        }
        let (second, hour) = (Duration::from_secs(1), minutes(60));
        for (key, interval) in [
            ("limits.ping_interval_tcp", limits.ping_interval_tcp),
            ("limits.ping_interval_websocket", limits.ping_interval_websocket),
            ("limits.progress_deadline", limits.progress_deadline),
        ] {
            self.duration(key, interval, second, hour);
        }
        self.room(limits);
        self.duration("limits.queue_ttl", limits.queue_ttl, hour, 365 * 24 * hour);
        self.number("limits.devices_per_user_max", limits.devices_per_user_max.into(), 1..=127);
        // A ticket lives a day, and when its device was seen is known to a day: one that has a ticket
        // is never taken for absent.
        let absence = limits.device_absence_max;
        self.duration("limits.device_absence_max", absence, 7 * 24 * hour, 3_650 * 24 * hour);
        if let Err(InvalidOrigin(origin)) = Origins::new(limits.origins.iter().map(String::as_str))
        {
            let allowed = "scheme and host as browsers send them, such as \
                           \"https://chat.example\" or \"http://localhost:3000\", without the \
                           scheme's own port; \"null\" for pages without an origin; \"*\" for all";
            self.refuse("limits.origins", format!("{origin:?}"), allowed);
        }
        if limits.origins.len() > ORIGINS_MAX {
            let found = format!("{} origins", limits.origins.len());
            self.refuse("limits.origins", found, format!("at most {ORIGINS_MAX}"));
        }
    }

    /// What is kept of messages, and what waits.
    fn room(&mut self, limits: &LimitKeys) {
        let content = 256..=ringpost_wire::limits::MESSAGE_BYTES_MAX as u64;
        self.size("limits.message_bytes_max", limits.message_bytes_max, content.clone());
        // A frame around the largest content must fit, and a second one behind it.
        let message_bytes_max = within(limits.message_bytes_max, &content);
        let outbox = 2 * message_bytes_max..=64 << 20;
        self.size("limits.outbox_bytes_max", limits.outbox_bytes_max, outbox.clone());
        let shared = within(limits.outbox_bytes_max, &outbox)..=1 << 40;
        self.size("limits.outboxes_bytes_max", limits.outboxes_bytes_max, shared);
        self.size("limits.receive_buffers_bytes", limits.receive_buffers_bytes, 1 << 20..=16 << 30);
        for (key, bytes) in [
            ("limits.input_bytes_max", limits.input_bytes_max),
            ("limits.resident_bytes_max", limits.resident_bytes_max),
            ("limits.in_flight_bytes_max", limits.in_flight_bytes_max),
        ] {
            self.size(key, bytes, 1 << 20..=1 << 40);
        }
        self.number("limits.queue_entries_max", limits.queue_entries_max.into(), 1..=10_000_000);
        let queue = message_bytes_max..=1 << 40;
        self.size("limits.queue_bytes_max", limits.queue_bytes_max, queue);
        let share = limits.queue_sender_share.into();
        self.number("limits.queue_sender_share", share, 1..=1_000);
    }
}

/// What of a value may bound another: one that is out of its own range is told there, once.
fn within(value: u64, range: &RangeInclusive<u64>) -> u64 {
    value.clamp(*range.start(), *range.end())
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn is_unset(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
