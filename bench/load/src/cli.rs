//! The command line: which scenario, against whom, and where the report goes.

use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::peer::{self, Form, Name, Setting};
use crate::scenario::relay::Shape;
use crate::scenario::traffic::{self, Kind};
use crate::scenario::{Scenario, fanout};

/// Measures ringpost, its peers and the physical floor under the same load.
///
/// The server is pinned to one core and the generator to another. Messages are stamped and
/// checked: each must arrive once and in order. Absolute times depend on the machine: compare
/// numbers of one invocation, best per second of the server's processor time. Bytes per
/// connection repeat; io_uring_enter per message is a ratio to the floor's of the same run.
///
/// `relay --plain` and `relay` promise different things and never share a table: nothing is kept,
/// or durable before `sent`. The floor is a relay on the ring that checks and keeps nothing: what
/// a server costs above it is its own.
///
/// Start with:
///   ringpost-bench relay --plain --peer floor
///   ringpost-bench relay --plain
///   ringpost-bench idle --connections 10000 --json idle.json
///   ringpost-bench compare --scenario relay --plain --outstanding 16 --json ratios.json
///   ringpost-bench report ratios.json --html ratios.html
#[derive(Parser)]
#[command(name = "ringpost-bench", version, verbatim_doc_comment, after_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// What it costs to take connections, signed in or bare (--raw)
    ///
    /// A message of the report is one connection. With --raw clients say nothing, so that what is
    /// left is accept.
    Connect(One<Crowd>),
    /// Bytes that a silent signed-in connection takes; then each must answer a ping
    ///
    /// Half of the connections come, then the other half: what the second half added is the
    /// price, and what is paid once is left out. Users have signed in before. Kernel bytes are of
    /// the server's end, and need root; the floor runs first to tell what the client's end takes.
    Idle(One<Crowd>),
    /// Messages from client to client: durable with receipts, or --plain
    ///
    /// A closed loop by --outstanding finds what a server can do at most. An open loop by --rate
    /// finds what people wait at that load: a message leaves at its time whether the server is
    /// ready or not, and its latency counts from then. Ask for latency at half of the most.
    Relay(One<RelayArgs>),
    /// One client speaks to all the others; for servers whose protocol knows "to all"
    Fanout(One<FanoutArgs>),
    /// Everybody comes back at once: reconnects with sign-in, by ticket where there are tickets
    Storm(One<Crowd>),
    /// Messages by a schedule while 0.3 % of a crowd come back in each second
    ///
    /// Tells the latency of messages beside the reconnects, and how long a reconnect takes: from
    /// the intended end of the old connection to being signed in again.
    Churn(One<TrafficArgs>),
    /// The same while one receiver in ten never reads
    ///
    /// Tells the latency of those who do read, and with --plain what a slow reader costs the
    /// server's memory. Where messages are kept, the slow ones read in the end, and must find all.
    /// Use --content 4096 and a high --rate to fill sockets.
    Slow(One<TrafficArgs>),
    /// A messenger's day: sends, acks, receipts, pings and reconnects, each by its schedule
    Mixed(One<TrafficArgs>),
    /// A messenger's day for an hour or more: what the server holds, beside the sum of its limits
    ///
    /// Tells resident memory, files and descriptors in the course of the run, and fails (exit code 4)
    /// if memory passes the sum that the server prints at boot, or if memory or descriptors of the
    /// last third of the run are above those of the second. Messages and not hours fill what has to
    /// fill: a --rate ten times as high needs a tenth of the --minutes.
    Soak(SoakArgs),
    /// The floor of durability: a write and an fdatasync of a batch, and how long they take
    ///
    /// With --rate by a schedule: what the best server could let a sender wait for `sent` at that
    /// load, which is to be held against `relay --rate`.
    Disk {
        #[command(flatten)]
        common: Common,
        /// Of one batch; a multiple of 4,096
        #[arg(long, default_value_t = 16_384)]
        bytes: usize,
        /// How many batches; with --rate, how many messages
        #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
        batches: u64,
        /// Messages in a second by a schedule (open loop); those that have come share a batch
        #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
        rate: Option<u64>,
    },
    /// A page of what a command wrote by --json; with two files, both beside each other
    ///
    /// Runs are paired by scenario, peer and shape. Times of two invocations compare two days of
    /// the machine as well; bytes, enters and faults do not.
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
    ///
    /// Each round runs every server once (A B C, then C B A) and gives one ratio of ringpost to
    /// each. Told are median, minimum and maximum: a median alone hides a machine that was busy.
    Compare(CompareArgs),
    /// idle and relay against the floor, with bounds on bytes, enters and faults, never on time
    Guard(GuardArgs),
    /// The raw relay on the ring, which other commands start by themselves
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: SocketAddrV4,
        /// Connections at most
        #[arg(long)]
        slots: u32,
    },
    /// The relay on tokio-tungstenite, likewise
    #[command(hide = true)]
    Tungstenite {
        #[arg(long)]
        listen: SocketAddrV4,
    },
    /// A server that ends with the bench, as every one that is started here
    #[command(hide = true)]
    Tied {
        /// The bench's process
        #[arg(long)]
        to: i32,
        /// The server's command
        #[arg(last = true, required = true)]
        server: Vec<OsString>,
    },
}

/// The scenarios of `compare`.
#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Connect,
    Idle,
    Relay,
    Fanout,
    Storm,
    Churn,
    Slow,
    Mixed,
}

/// A scenario of this shape against one server.
#[derive(Args)]
pub(crate) struct One<T: Args> {
    /// The server: a name, or NAME=COMMAND (see --help)
    #[arg(long, default_value = "ringpost", long_help = peer::HELP)]
    pub(crate) peer: Name,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) shape: T,
}

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// Which; its flags are those of the command of this name
    #[arg(long)]
    scenario: Which,
    /// Against these, with commas between; all that are installed if not given
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<Name>,
    /// And against this one: NAME=COMMAND (see --help); may be repeated
    #[arg(long, long_help = peer::HELP)]
    pub(crate) peer: Vec<Name>,
    /// Rounds; fewer than 7 tell little
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    crowd: Crowd,
    #[command(flatten)]
    relay: RelayArgs,
    #[command(flatten)]
    beside: BesideArgs,
    /// fanout: who listen
    #[arg(long, default_value_t = 1_000)]
    receivers: u32,
}

impl CompareArgs {
    pub(crate) fn scenario(&self) -> Scenario {
        match self.scenario {
            Which::Connect => self.crowd.connect(),
            Which::Idle => self.crowd.idle(),
            Which::Storm => self.crowd.storm(),
            Which::Relay => self.relay.scenario(),
            Which::Fanout => self.relay.fanout(self.receivers),
            Which::Churn => self.relay.traffic(Kind::Churn, &self.beside),
            Which::Slow => self.relay.traffic(Kind::Slow, &self.beside),
            Which::Mixed => self.relay.traffic(Kind::Mixed, &self.beside),
        }
    }
}

#[derive(Args)]
pub(crate) struct GuardArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Connections of `idle`
    #[arg(long, default_value_t = 50_000)]
    pub(crate) connections: u32,
    /// Messages of each relay
    #[arg(long, default_value_t = 90_000)]
    pub(crate) messages: u64,
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
pub(crate) struct SoakArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Messages in a second, all pairs together; at most 200 for each
    #[arg(long, value_name = "PER_SECOND", default_value_t = 400,
          value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How long, at most 16 hours; a fifth more warms up
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=960))]
    minutes: u64,
    /// Pairs of clients that talk
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Content of a message, bytes; at least 16
    #[arg(long, default_value_t = 64)]
    content: usize,
}

/// Who stand beside the pairs of a soak, of 1,000 of them those that reconnect in a second, and
/// their pings.
const SOAK_CROWD: (u32, u32, u64) = (100, 10, 20);

impl SoakArgs {
    pub(crate) fn shape(&self) -> traffic::Shape {
        let (crowd, reconnects_per_mille, pings) = SOAK_CROWD;
        traffic::Shape {
            kind: Kind::Mixed,
            form: Form::Full,
            pairs: self.pairs,
            crowd,
            rate: self.rate,
            seconds: self.minutes * 60,
            content_bytes: self.content,
            reconnects_per_mille,
            pings,
            slow_percent: 0,
        }
    }
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

#[derive(Args)]
pub(crate) struct TrafficArgs {
    /// Ephemeral messages: the promise of peers that keep nothing
    #[arg(long)]
    plain: bool,
    /// Pairs of clients that talk
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Content of a message, bytes; at least 16
    #[arg(long, default_value_t = 64)]
    content: usize,
    /// Messages in a second, all pairs together; at most 200 for each
    #[arg(long, value_name = "PER_SECOND", default_value_t = TRAFFIC_RATE,
          value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    #[command(flatten)]
    beside: BesideArgs,
}

/// Messages in a second unless something else is asked for.
const TRAFFIC_RATE: u64 = 1_000;

/// What goes on beside the messages of churn, slow and mixed.
#[derive(Args)]
pub(crate) struct BesideArgs {
    /// churn, slow, mixed: seconds that are measured; a fifth more warms up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// churn, mixed: who stand beside the pairs
    #[arg(long, default_value_t = 1_000)]
    crowd: u32,
    /// churn, mixed: of 1,000 in the crowd, those cut off in a second
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=1_000))]
    reconnects: u32,
    /// mixed: pings of the crowd in a second
    #[arg(long, default_value_t = 200)]
    pings: u64,
    /// slow: of 100 receivers, those that never read
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=100))]
    slow: u32,
}

impl TrafficArgs {
    pub(crate) fn scenario(&self, kind: Kind) -> Scenario {
        let Self { plain, pairs, content, rate, beside } = self;
        beside.scenario(kind, form(*plain), *pairs, *content, *rate)
    }
}

impl BesideArgs {
    fn scenario(
        &self,
        kind: Kind,
        form: Form,
        pairs: u32,
        content_bytes: usize,
        rate: u64,
    ) -> Scenario {
        let only = |these: &[Kind], value: u32| if these.contains(&kind) { value } else { 0 };
        Scenario::Traffic(traffic::Shape {
            kind,
            form,
            pairs,
            rate,
            content_bytes,
            seconds: self.seconds,
            crowd: only(&[Kind::Churn, Kind::Mixed], self.crowd),
            reconnects_per_mille: only(&[Kind::Churn, Kind::Mixed], self.reconnects),
            pings: if kind == Kind::Mixed { self.pings } else { 0 },
            slow_percent: only(&[Kind::Slow], self.slow),
        })
    }
}

fn form(plain: bool) -> Form {
    if plain { Form::Plain } else { Form::Full }
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

    /// The same numbers, for churn, slow and mixed.
    pub(crate) fn traffic(&self, kind: Kind, beside: &BesideArgs) -> Scenario {
        let rate = self.rate.unwrap_or(TRAFFIC_RATE);
        beside.scenario(kind, form(self.plain), self.pairs, self.content, rate)
    }

    pub(crate) fn scenario(&self) -> Scenario {
        Scenario::Relay(Shape {
            form: form(self.plain),
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
            to_all: false,
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
