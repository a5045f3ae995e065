//! What a run found, as JSON and as text. Fields are only added, never renamed: others read them.

pub(crate) mod beside;
pub(crate) mod html;

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::compare::Comparison;
use crate::ledger::Faults;
use crate::measure::Environment;
use crate::scenario::soak::Sample;

/// Quantiles of the latency, microseconds from the intended time to the arrival.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Half of the messages took at most this.
    pub(crate) p50_us: f64,
    /// 99 of 100.
    pub(crate) p99_us: f64,
    /// 999 of 1,000.
    pub(crate) p999_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
    /// (share of messages, microseconds), for the curve.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// One run of one scenario against one peer. `null`: not measured in this scenario.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Run {
    /// Which scenario, with its form.
    pub(crate) scenario: String,
    /// Against whom.
    pub(crate) peer: String,
    /// What the peer promises.
    pub(crate) promise: String,
    /// The scenario's numbers, for people: pairs, outstanding, bytes.
    pub(crate) shape: String,
    /// Client connections.
    pub(crate) connections: u64,
    /// Growth of the server's resident memory for each connection, second half of them.
    pub(crate) user_bytes_per_connection: Option<f64>,
    /// Growth of the kernel's objects for each connection, the server's end.
    pub(crate) kernel_bytes_per_connection: Option<f64>,
    /// Growth of the server's resident memory while receivers did not read, for each of them;
    /// where nothing is kept.
    pub(crate) bytes_per_slow_reader: Option<f64>,
    /// Messages (connections in `connect`) that were measured.
    pub(crate) messages: u64,
    /// For each second of the server's processor time, all threads.
    pub(crate) messages_per_server_cpu_second: Option<f64>,
    /// For each second on the wall.
    pub(crate) messages_per_second: Option<f64>,
    /// `io_uring_enter` calls of the server for each message.
    pub(crate) enters_per_message: Option<f64>,
    /// Share of a core that the server and the generator used.
    pub(crate) server_core_share: Option<f64>,
    /// The generator's share.
    pub(crate) generator_core_share: Option<f64>,
    /// Share of sends that left later than they should, open loop.
    pub(crate) late_share: Option<f64>,
    /// Latency, open loop.
    pub(crate) latency: Option<Latency>,
    /// From the intended time to the server's promise, open loop of the full form.
    pub(crate) sent_latency: Option<Latency>,
    /// Connections that were cut off and came back, and how long that took.
    pub(crate) reconnects: u64,
    /// From the intended end of the old connection to being signed in again.
    pub(crate) reconnect_latency: Option<Latency>,
    /// Pings that were answered.
    pub(crate) pings: u64,
    /// From the intended time of the ping to its answer.
    pub(crate) ping_latency: Option<Latency>,
    /// Sent and never arrived.
    pub(crate) lost: u64,
    /// Arrived more than once.
    pub(crate) duplicated: u64,
    /// Arrived behind a later one.
    pub(crate) reordered: u64,
    /// What the server held in the course of the run; of `soak`.
    pub(crate) held: Vec<Sample>,
    /// Why the times of this run mean nothing; `null` if they do.
    pub(crate) void: Option<String>,
    /// What a reader should know.
    pub(crate) notes: Vec<String>,
    /// With what it was measured.
    pub(crate) environment: Environment,
}

impl Run {
    /// Puts in what went wrong.
    pub(crate) fn with_faults(mut self, faults: Faults) -> Self {
        self.lost = faults.lost;
        self.duplicated = faults.duplicated;
        self.reordered = faults.reordered;
        self
    }

    /// Messages lost, duplicated and reordered.
    pub(crate) fn faults(&self) -> Faults {
        Faults { lost: self.lost, duplicated: self.duplicated, reordered: self.reordered }
    }

    /// A few lines for the terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} against {} ({})\n  {}, {} connections\n",
            self.scenario, self.peer, self.promise, self.shape, self.connections
        );
        let mut row = |name: &str, value: Option<f64>, digits: usize| {
            if let Some(value) = value {
                text.push_str(&format!("  {name:<34} {value:>14.digits$}\n"));
            }
        };
        row("user bytes per connection", self.user_bytes_per_connection, 1);
        row("kernel bytes per connection", self.kernel_bytes_per_connection, 0);
        row("messages", Some(self.messages as f64), 0);
        row("messages per server CPU second", self.messages_per_server_cpu_second, 0);
        row("messages per second", self.messages_per_second, 0);
        row("io_uring_enter per message", self.enters_per_message, 4);
        row("server, share of a core", self.server_core_share, 2);
        row("generator, share of a core", self.generator_core_share, 2);
        row("bytes per slow reader", self.bytes_per_slow_reader, 0);
        row("late, % of sends", self.late_share.map(|share| share * 100.0), 3);
        let latencies = [
            ("latency", &self.latency),
            ("sent", &self.sent_latency),
            ("reconnect", &self.reconnect_latency),
            ("ping", &self.ping_latency),
        ];
        for (name, latency) in latencies {
            let Some(latency) = latency else { continue };
            row(&format!("{name} p50, us"), Some(latency.p50_us), 0);
            row(&format!("{name} p99, us"), Some(latency.p99_us), 0);
            row(&format!("{name} p99.9, us"), Some(latency.p999_us), 0);
            row(&format!("{name} max, us"), Some(latency.max_us), 0);
        }
        let faults = self.faults();
        text.push_str(&format!(
            "  lost {}, duplicated {}, reordered {}\n",
            faults.lost, faults.duplicated, faults.reordered
        ));
        for note in &self.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        if let Some(why) = &self.void {
            text.push_str(&format!("  VOID: {why}\n"));
        }
        text
    }
}

/// Writes anything as JSON.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What a file of JSON holds: one run, several, or a comparison with its runs.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The ratios.
    pub(crate) comparison: Option<Comparison>,
    /// All runs.
    pub(crate) runs: Vec<Run>,
}

/// Reads what a command wrote by `--json`.
///
/// # Errors
/// When it is not such a file.
pub(crate) fn read_json(path: &Path) -> anyhow::Result<Report> {
    let what = || format!("{} is no report of ringpost-bench", path.display());
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(what)?;
    if value.get("ratios").is_some() {
        let mut comparison: Comparison = serde_json::from_value(value).with_context(what)?;
        let runs = std::mem::take(&mut comparison.runs);
        return Ok(Report { comparison: Some(comparison), runs });
    }
    let runs = if value.is_array() {
        serde_json::from_value(value).with_context(what)?
    } else {
        vec![serde_json::from_value(value).with_context(what)?]
    };
    Ok(Report { comparison: None, runs })
}
