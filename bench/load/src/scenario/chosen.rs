//! A scenario with its numbers, as chosen on the command line: what `compare` repeats.

use super::relay::Shape;
use super::{connect, fanout, idle, relay, storm, traffic};
use crate::peer::{Name, Setting};
use crate::report::Run;

/// A field of [`Run`].
pub(crate) struct Metric {
    /// As in the JSON.
    pub(crate) name: &'static str,
    /// Else less is.
    pub(crate) more_is_better: bool,
    /// Its value.
    pub(crate) of: fn(&Run) -> Option<f64>,
}

/// One scenario.
#[derive(Debug, Clone)]
pub(crate) enum Scenario {
    /// Connections taken.
    Connect {
        /// Bare.
        raw: bool,
        /// How many.
        connections: u32,
    },
    /// Silent connections.
    Idle {
        /// How many.
        connections: u32,
    },
    /// Messages from one to one.
    Relay(Shape),
    /// Messages from one to all.
    Fanout(fanout::Shape),
    /// Everybody comes back at once.
    Storm {
        /// How many.
        connections: u32,
    },
    /// Messages by a schedule, and what goes on beside them.
    Traffic(traffic::Shape),
}

impl Scenario {
    /// For tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connect { raw: true, .. } => "connect --raw",
            Self::Connect { raw: false, .. } => "connect",
            Self::Idle { .. } => "idle",
            Self::Relay(shape) => shape.name(),
            Self::Fanout(_) => "fanout",
            Self::Storm { .. } => "storm",
            Self::Traffic(shape) => shape.name(),
        }
    }

    /// What of a run is compared.
    pub(crate) fn metric(&self) -> Metric {
        match self {
            Self::Idle { .. } => Metric {
                name: "user_bytes_per_connection",
                more_is_better: false,
                of: |run| run.user_bytes_per_connection,
            },
            _ => Metric {
                name: "messages_per_server_cpu_second",
                more_is_better: true,
                of: |run| run.messages_per_server_cpu_second,
            },
        }
    }

    /// Runs it against one peer.
    ///
    /// # Errors
    /// When the peer does not start, refuses or goes away.
    pub(crate) fn run(&self, peer: &Name, setting: &Setting, cores: usize) -> anyhow::Result<Run> {
        match self {
            Self::Connect { raw, connections } => {
                let setting = Setting { clients: *connections, ..setting.clone() };
                connect::run(peer, &setting, *raw, cores)
            }
            Self::Idle { connections } => {
                idle::run(peer, &Setting { clients: *connections, ..setting.clone() }, cores)
            }
            Self::Relay(shape) => relay::run(peer, setting, shape, cores),
            Self::Traffic(shape) => traffic::run(peer, setting, shape, cores),
            Self::Fanout(shape) => fanout::run(peer, setting, shape, cores),
            Self::Storm { connections } => {
                let setting = Setting { clients: *connections, ..setting.clone() };
                storm::run(peer, &setting, cores)
            }
        }
    }
}
