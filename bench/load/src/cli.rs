//! The command line: which scenario, against whom, and where the report goes.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::peer::{self, Form, Setting};
use crate::scenario::relay::Shape;
use crate::scenario::{Scenario, fanout};

/// Measures ringpost, its peers and the physical floor under the same load.
///
/// The server is pinned to one core and the generator to another. Messages are stamped and
/// checked: each must arrive once and in order. Absolute times depend on the machine: compare
/// numbers of one invocation, best per second of the server's processor time. Bytes per
/// connection repeat; io_uring_enter per message is a ratio to the floor's of the same run.
///
/// Start with:
///   ringpost-bench relay --plain --peer floor
///   ringpost-bench relay --plain
///   ringpost-bench idle --connections 10000 --json idle.json
///   ringpost-bench compare --scenario relay --plain --outstanding 16
#[derive(Parser)]
#[command(name = "ringpost-bench", version, verbatim_doc_comment, after_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// What it costs to take connections, signed in or bare (--raw)
    Connect {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        peer: PeerArgs,
        #[command(flatten)]
        crowd: Crowd,
    },
    /// Bytes that a silent signed-in connection takes; then each must answer a ping
    Idle {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        peer: PeerArgs,
        #[command(flatten)]
        crowd: Crowd,
    },
    /// Messages from client to client: durable with receipts, or --plain
    Relay {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        peer: PeerArgs,
        #[command(flatten)]
        relay: RelayArgs,
    },
    /// One client speaks to all the others; for servers whose protocol knows "to all"
    Fanout {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        peer: PeerArgs,
        #[command(flatten)]
        fanout: FanoutArgs,
    },
    /// Everybody comes back at once: reconnects with sign-in, by ticket where there are tickets
    Storm {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        peer: PeerArgs,
        #[command(flatten)]
        crowd: Crowd,
    },
    /// A page of what a command wrote by --json; with two files, both beside each other
    Report {
        /// What was written
        first: PathBuf,
        /// Another, of the same scenarios
        second: Option<PathBuf>,
        /// Where the page goes
        #[arg(long, value_name = "FILE", default_value = "report.html")]
        html: PathBuf,
    },
    /// One scenario against all peers that are there, in alternating order, as ratios
    Compare {
        /// Which; its flags are those of the command of this name
        #[arg(long)]
        scenario: Which,
        /// Against these, with commas between; all that are installed if not given
        #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(peer::NAMES))]
        peers: Vec<String>,
        /// Rounds; fewer than 7 tell little
        #[arg(long, default_value_t = 7)]
        rounds: u32,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        crowd: Crowd,
        #[command(flatten)]
        relay: RelayArgs,
        /// fanout: who listen
        #[arg(long, default_value_t = 1_000)]
        receivers: u32,
    },
    /// The gate's form: idle and relay against the floor, with bounds on bytes, enters and faults
    Guard {
        #[command(flatten)]
        common: Common,
        /// Connections of `idle`
        #[arg(long, default_value_t = 10_000)]
        connections: u32,
        /// Messages of each relay
        #[arg(long, default_value_t = 90_000)]
        messages: u64,
    },
    /// The raw relay on the ring, which other commands start by themselves
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: SocketAddrV4,
    },
}

/// The scenarios of `compare`.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Which {
    Connect,
    Idle,
    Relay,
    Fanout,
    Storm,
}

#[derive(Args)]
pub(crate) struct PeerArgs {
    /// The server
    #[arg(long, default_value = "ringpost", value_parser = PossibleValuesParser::new(peer::NAMES))]
    pub(crate) peer: String,
}

#[derive(Args)]
pub(crate) struct Common {
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The binary of ringpost
    #[arg(long, value_name = "PATH", default_value = "target/release/ringpost")]
    binary: PathBuf,
    /// A setting of ringpost beside its defaults, such as journal.device=none; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Core of the server
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the generator
    #[arg(long, default_value_t = 1)]
    pub(crate) generator_core: usize,
}

#[derive(Args)]
pub(crate) struct Crowd {
    /// Client connections
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// connect: say nothing, so that what is left is accept
    #[arg(long)]
    raw: bool,
}

#[derive(Args)]
pub(crate) struct RelayArgs {
    /// Ephemeral messages: the promise of uWebSockets, NATS core and MQTT QoS 0
    #[arg(long)]
    plain: bool,
    /// Pairs of clients that talk at a time
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Messages of each pair on their way (closed loop)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    outstanding: u32,
    /// Content of a message, bytes; at least 16
    #[arg(long, default_value_t = 64)]
    content: usize,
    /// Messages of the run; the first tenth warms up
    #[arg(long, default_value_t = 90_000)]
    messages: u64,
    /// Messages in a second by a schedule (open loop): latency from the intended time
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// To random receivers rather than to one's partner
    #[arg(long)]
    random: bool,
}

#[derive(Args)]
pub(crate) struct FanoutArgs {
    /// Who listen
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    receivers: u32,
    /// Messages to all on their way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    outstanding: u32,
    /// Content of a message, bytes; at least 16
    #[arg(long, default_value_t = 64)]
    content: usize,
    /// Deliveries of the run; the first tenth warms up
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
}

impl FanoutArgs {
    pub(crate) fn scenario(&self) -> Scenario {
        fanout_of(self.receivers, self.outstanding, self.content, self.messages)
    }
}

fn fanout_of(receivers: u32, outstanding: u32, content_bytes: usize, messages: u64) -> Scenario {
    let words = u32::try_from(messages / u64::from(receivers)).unwrap_or(u32::MAX).max(1);
    Scenario::Fanout(fanout::Shape { receivers, outstanding, content_bytes, words })
}

impl RelayArgs {
    /// The same numbers, for a fan-out.
    pub(crate) fn fanout(&self, receivers: u32) -> Scenario {
        fanout_of(receivers.max(1), self.outstanding, self.content, self.messages)
    }

    pub(crate) fn scenario(&self) -> Scenario {
        Scenario::Relay(Shape {
            form: if self.plain { Form::Plain } else { Form::Full },
            pairs: self.pairs,
            outstanding: self.outstanding,
            content_bytes: self.content,
            messages: self.messages,
            rate: self.rate,
            random: self.random,
        })
    }
}

impl Crowd {
    pub(crate) fn connect(&self) -> Scenario {
        Scenario::Connect { raw: self.raw, connections: self.connections }
    }

    pub(crate) fn idle(&self) -> Scenario {
        Scenario::Idle { connections: self.connections }
    }

    pub(crate) fn storm(&self) -> Scenario {
        Scenario::Storm { connections: self.connections }
    }
}

impl Common {
    /// How servers are started; scenarios put in their own number of clients.
    pub(crate) fn setting(&self) -> Setting {
        Setting {
            form: Form::Plain,
            core: self.server_core,
            clients: 0,
            binary: self.binary.clone(),
            set: self.set.clone(),
            tickets: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
