//! `GET /admin/limits`: every limit of the configuration, and how often it was hit.
//!
//! A table: the key, what it is measured in, its value, the counters that grow when it is hit. It
//! names each key of the configuration once, as a limit or as none, and a test holds that; another,
//! on the running server, holds that each counter is there. An answer reads what the workers last
//! published and asks nobody.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::{AdminParts, ask};
use crate::config::{Config, Loaded, Origin};
use crate::metrics::{Label, Samples};

#[derive(Serialize)]
struct Answer {
    limits: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    key: &'static str,
    unit: &'static str,
    value: u64,
    /// `default`, the path of the file, the variable, or `flag`.
    origin: String,
    /// Since the start of the process: the sum of `counted_by`.
    hits: u64,
    /// Names of `/metrics`.
    counted_by: Vec<String>,
}

/// A limit of the configuration.
struct Limit {
    key: &'static str,
    unit: &'static str,
    value: fn(&Config) -> u64,
    counted_by: &'static [Counted],
}

/// A counter, and the values of its label that are hits; none: the counter has no label.
struct Counted(&'static str, &'static [&'static str]);

const EDGE: &str = "ringpost_edge_limits_hit";
const REFUSED: &str = "ringpost_edge_refused";
const CLOSED: &str = "ringpost_edge_closed";
const SHARD: &str = "ringpost_shard_limits_hit";
const SIGN_INS: &str = "ringpost_shard_sign_ins_refused";
const REST: &str = "ringpost_rest_limits_hit";
const JOURNAL: &str = "ringpost_journal_refused";

/// The keys that limit something, in the order of the configuration.
const LIMITS: [Limit; 44] = [
    limit("drain_deadline", "ms", |it| ms(it.drain_deadline), &[Counted(EDGE, &["drain"])]),
    limit(
        "journal.disk_budget_bytes",
        "bytes",
        |it| it.journal.disk_budget_bytes,
        &[Counted(JOURNAL, &["disk_budget"]), Counted(SHARD, &["journal_budget"])],
    ),
    limit(
        "journal.pending_bytes_max",
        "bytes",
        |it| it.journal.pending_bytes_max,
        &[Counted(JOURNAL, &["in_flight"])],
    ),
    limit(
        "journal.unapplied_bytes_max",
        "bytes",
        |it| it.journal.unapplied_bytes_max,
        &[Counted("ringpost_store_submits_held", &[]), Counted(SHARD, &["unapplied"])],
    ),
    limit(
        "store.write_buffer_bytes_max",
        "bytes",
        |it| it.store.write_buffer_bytes_max,
        &[Counted("ringpost_store_commits_held", &[])],
    ),
    limit(
        "auth.access_ttl",
        "ms",
        |it| ms(it.auth.access_ttl),
        &[Counted(EDGE, &["credential"]), Counted("ringpost_auth_token_checks", &["expired"])],
    ),
    limit(
        "auth.refresh_ttl",
        "ms",
        |it| ms(it.auth.refresh_ttl),
        &[Counted(REST, &["refresh_life"])],
    ),
    limit("auth.ticket_ttl", "ms", |it| ms(it.auth.ticket_ttl), &[Counted(EDGE, &["ticket"])]),
    limit("auth.code_ttl", "ms", |it| ms(it.auth.code_ttl), &[Counted(REST, &["code_life"])]),
    limit(
        "auth.code_attempts_max",
        "guesses",
        |it| it.auth.code_attempts_max.into(),
        &[Counted(REST, &["code_attempts"])],
    ),
    limit(
        "auth.codes_per_phone_hour",
        "codes",
        |it| it.auth.codes_per_phone_hour.into(),
        &[Counted(REST, &["phone_rate", "phone_address_rate"])],
    ),
    limit(
        "auth.requests_per_address_minute",
        "requests",
        |it| it.auth.requests_per_address_minute.into(),
        &[Counted(REST, &["address_rate"])],
    ),
    limit(
        "auth.verify_queue_max",
        "checks",
        |it| it.auth.verify_queue_max.into(),
        &[Counted("ringpost_auth_token_checks_refused", &[])],
    ),
    limit(
        "rest.connections_max",
        "connections",
        |it| it.rest.connections_max.into(),
        &[Counted("ringpost_rest_connections_refused", &[]), Counted(REST, &["connection_let_go"])],
    ),
    limit(
        "rest.connections_per_address_max",
        "connections",
        |it| it.rest.connections_per_address_max.into(),
        &[Counted(REST, &["address_connections"])],
    ),
    limit(
        "rest.header_deadline",
        "ms",
        |it| ms(it.rest.header_deadline),
        &[Counted(REST, &["header_deadline"])],
    ),
    limit(
        "rest.idle_deadline",
        "ms",
        |it| ms(it.rest.idle_deadline),
        &[Counted(REST, &["idle_deadline"])],
    ),
    limit(
        "rest.request_deadline",
        "ms",
        |it| ms(it.rest.request_deadline),
        &[Counted(REST, &["request_deadline"])],
    ),
    limit(
        "rest.body_bytes_max",
        "bytes",
        |it| it.rest.body_bytes_max,
        &[Counted("ringpost_rest_requests", &["too_large"])],
    ),
    limit(
        "limits.connections_max",
        "connections",
        |it| it.limits.connections_max.into(),
        &[Counted(REFUSED, &["full"]), Counted(SIGN_INS, &["full"])],
    ),
    limit(
        "limits.unauthenticated_per_address_max",
        "connections",
        |it| it.limits.unauthenticated_per_address_max.into(),
        &[Counted(REFUSED, &["address"])],
    ),
    limit(
        "limits.unnamed_max",
        "connections",
        |it| it.limits.unnamed_max.into(),
        &[Counted(REFUSED, &["unnamed"])],
    ),
    limit(
        "limits.user_input_bytes_per_second",
        "bytes",
        |it| it.limits.user_input_bytes_per_second,
        &[Counted(EDGE, &["user_input"])],
    ),
    limit(
        "limits.user_input_burst_bytes",
        "bytes",
        |it| it.limits.user_input_burst_bytes,
        &[Counted(EDGE, &["user_input"])],
    ),
    limit(
        "limits.address_input_bytes_per_second",
        "bytes",
        |it| it.limits.address_input_bytes_per_second,
        &[Counted(EDGE, &["address_input"])],
    ),
    limit(
        "limits.address_input_burst_bytes",
        "bytes",
        |it| it.limits.address_input_burst_bytes,
        &[Counted(EDGE, &["address_input"])],
    ),
    limit(
        "limits.handshake_deadline",
        "ms",
        |it| ms(it.limits.handshake_deadline),
        &[Counted(EDGE, &["handshake"])],
    ),
    limit(
        "limits.auth_deadline",
        "ms",
        |it| ms(it.limits.auth_deadline),
        &[Counted(EDGE, &["sign_in"])],
    ),
    limit(
        "limits.ping_interval_tcp",
        "ms",
        |it| ms(it.limits.ping_interval_tcp),
        &[Counted(CLOSED, &["silent"])],
    ),
    limit(
        "limits.ping_interval_websocket",
        "ms",
        |it| ms(it.limits.ping_interval_websocket),
        &[Counted(CLOSED, &["silent"])],
    ),
    limit(
        "limits.progress_deadline",
        "ms",
        |it| ms(it.limits.progress_deadline),
        &[Counted(CLOSED, &["no_progress"])],
    ),
    limit(
        "limits.message_bytes_max",
        "bytes",
        |it| it.limits.message_bytes_max,
        &[
            Counted("ringpost_edge_commands_refused", &["too_large"]),
            Counted("ringpost_shard_refused", &["too_large"]),
        ],
    ),
    limit(
        "limits.outbox_bytes_max",
        "bytes",
        |it| it.limits.outbox_bytes_max,
        &[Counted("ringpost_edge_input_paused", &[])],
    ),
    limit(
        "limits.outboxes_bytes_max",
        "bytes",
        |it| it.limits.outboxes_bytes_max,
        &[Counted("ringpost_edge_outboxes_shed", &[]), Counted("ringpost_edge_input_crowded", &[])],
    ),
    limit(
        "limits.input_bytes_max",
        "bytes",
        |it| it.limits.input_bytes_max,
        &[Counted("ringpost_edge_inputs_shed", &[])],
    ),
    limit(
        "limits.receive_buffers_bytes",
        "bytes",
        |it| it.limits.receive_buffers_bytes,
        &[Counted("ringpost_ring_buffer_starvations", &[])],
    ),
    limit(
        "limits.resident_bytes_max",
        "bytes",
        |it| it.limits.resident_bytes_max,
        &[Counted("ringpost_shard_evictions", &[]), Counted(SHARD, &["resident"])],
    ),
    limit(
        "limits.in_flight_bytes_max",
        "bytes",
        |it| it.limits.in_flight_bytes_max,
        &[Counted(SHARD, &["in_flight", "waiting"])],
    ),
    limit(
        "limits.queue_entries_max",
        "messages",
        |it| it.limits.queue_entries_max.into(),
        &[Counted(SHARD, &["queue_entries"])],
    ),
    limit(
        "limits.queue_bytes_max",
        "bytes",
        |it| it.limits.queue_bytes_max,
        &[Counted(SHARD, &["queue_bytes"])],
    ),
    limit(
        "limits.queue_sender_share",
        "part of the queue, one in",
        |it| it.limits.queue_sender_share.into(),
        &[Counted(SHARD, &["sender_share"])],
    ),
    limit(
        "limits.queue_ttl",
        "ms",
        |it| ms(it.limits.queue_ttl),
        &[Counted("ringpost_shard_expired", &[])],
    ),
    limit(
        "limits.devices_per_user_max",
        "devices",
        |it| it.limits.devices_per_user_max.into(),
        &[Counted(SIGN_INS, &["devices"])],
    ),
    limit(
        "limits.device_absence_max",
        "ms",
        |it| ms(it.limits.device_absence_max),
        &[Counted("ringpost_shard_devices_removed", &["absent"])],
    ),
];

/// `GET /admin/limits`.
pub(super) async fn limits(State(parts): State<AdminParts>) -> Response {
    let samples = parts.metrics.samples();
    let limits = LIMITS.iter().map(|limit| row(limit, &parts.settings, &samples)).collect();
    ask::json(&Answer { limits })
}

fn row(limit: &Limit, settings: &Loaded, samples: &Samples) -> Row {
    let hits: Vec<(String, u64)> =
        limit.counted_by.iter().flat_map(|counted| counted.hits(samples)).collect();
    Row {
        key: limit.key,
        unit: limit.unit,
        value: (limit.value)(&settings.config),
        origin: settings.origins.get(limit.key).unwrap_or(&Origin::Default).to_string(),
        hits: hits.iter().map(|(_, count)| count).sum(),
        counted_by: hits.into_iter().map(|(name, _)| name).collect(),
    }
}

impl Counted {
    /// The names, as a scrape writes them, and their counts.
    fn hits(&self, samples: &Samples) -> Vec<(String, u64)> {
        let &Self(metric, values) = self;
        let hit = |(labels, count): (&[Label], u64)| match labels {
            [] => Some((format!("{metric}_total"), count)),
            [(label, value), ..] => values
                .contains(value)
                .then(|| (format!("{metric}_total{{{label}=\"{value}\"}}"), count)),
        };
        samples.counted(metric).filter_map(hit).collect()
    }
}

const fn limit(
    key: &'static str,
    unit: &'static str,
    value: fn(&Config) -> u64,
    counted_by: &'static [Counted],
) -> Limit {
    Limit { key, unit, value, counted_by }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    /// Keys that limit nothing, or whose reaching is the ordinary course and refuses nobody.
    const NONE: [&str; 26] = [
        "listen",
        "data_dir",
        "workers",
        "admin.hosts",
        "admin.listen",
        "admin.token_file",
        "journal.device",
        "journal.segment_bytes",
        "journal.gather_max",
        "store.cache_bytes",
        "auth.provision",
        "auth.refresh_grace",
        "auth.issuer",
        "auth.audience",
        "auth.clock_skew",
        "auth.jwks_file",
        "auth.jwks_issuer",
        "auth.code_sender",
        "auth.webhook_url",
        "auth.verify_threads",
        "rest.threads",
        "limits.plaintext",
        "limits.origins",
        "trusted_proxies",
        "log.format",
        "log.level",
    ];

    #[test]
    fn every_key_of_the_configuration_is_a_limit_or_none_and_is_so_once() {
        let mut named: Vec<&str> = LIMITS.iter().map(|limit| limit.key).chain(NONE).collect();
        named.sort_unstable();
        assert_eq!(named, config::keys());
    }

    /// Each key has a value that no other has, so that one read from its neighbour is seen.
    #[test]
    fn each_limit_shows_its_own_value_and_where_it_came_from() {
        let set = |at: usize| 100 + at as u64;
        let text = |at: usize| match LIMITS[at].unit {
            "ms" => format!("{}ms", set(at)),
            "bytes" => format!("{}B", set(at)),
            _ => set(at).to_string(),
        };
        let flags = (0..LIMITS.len()).map(|at| (LIMITS[at].key.to_owned(), text(at)));
        let loaded = config::load(&Sources { flags: flags.collect(), ..Sources::default() });
        let loaded = loaded.unwrap();
        for (at, limit) in LIMITS.iter().enumerate() {
            let row = row(limit, &loaded, &Samples::default());
            assert_eq!((row.value, row.origin.as_str()), (set(at), "flag"), "{}", limit.key);
        }
        let defaults = config::load(&Sources::default()).unwrap();
        assert_eq!(row(&LIMITS[0], &defaults, &Samples::default()).origin, "default");
    }

    #[test]
    fn hits_are_the_sum_of_the_labels_that_are_named_and_of_no_other() {
        let mut samples = Samples::default();
        for (reason, count) in [("full", 3), ("address", 40)] {
            samples.counter(REFUSED, "Refused.", &[("reason", reason)], count);
        }
        samples.counter(SIGN_INS, "Refused.", &[("reason", "full")], 4);
        samples.counter("ringpost_edge_input_paused", "Paused.", &[], 5);
        let defaults = config::load(&Sources::default()).unwrap();
        let row = |key| {
            let limit = LIMITS.iter().find(|limit| limit.key == key).unwrap();
            row(limit, &defaults, &samples)
        };
        let connections = row("limits.connections_max");
        assert_eq!(connections.hits, 7);
        assert_eq!(connections.counted_by.len(), 2);
        let paused = row("limits.outbox_bytes_max");
        assert_eq!(paused.counted_by, ["ringpost_edge_input_paused_total"]);
        assert_eq!(paused.hits, 5);
    }
}
