//! What a gate can hold on a machine that does other things as well: bytes for each connection,
//! system calls for each message as a ratio to the floor of the same invocation, and that nothing
//! is lost, duplicated or reordered. Never a time.

use crate::exit::Outcome;
use crate::measure::Environment;
use crate::peer::{Form, Name, Setting};
use crate::report::Run;
use crate::scenario::relay::Shape;
use crate::scenario::{idle, relay};

/// User-space bytes of an idle signed-in connection, at most, as resident memory grows: 111 that it
/// has, some 16 that were seen beside them, and room for 2.3 MB among 25,000 that the allocator keeps
/// at one time and not at another. What it gives out is held to the byte by a test of `edge/conn`;
/// this is for what no test there sees.
const USER_BYTES_MAX: f64 = 220.0;
/// The server's end in the kernel, at most, as a ratio to the floor's, which waits by one poll. A
/// receive in the place of the poll would be 1.15; what others do to the kernel's memory meanwhile
/// is some hundredths.
const KERNEL_RATIO_MAX: f64 = 1.1;
/// `io_uring_enter` for each message as a ratio to the floor's, at most.
const ENTERS_RATIO_MAX: f64 = 2.0;
/// The same for the full form, absolute: there is no floor that keeps anything.
const FULL_ENTERS_MAX: f64 = 2.0;

/// Messages outstanding, and the enters for each message that are good whatever the floor has. How
/// many messages one enter carries depends on who is faster just then, server or generator: with one
/// outstanding the floor itself was seen with 8 and with 38. A call that each message costs, or each
/// send, is far beyond.
const OUTSTANDING: [(u32, f64); 2] = [(1, 0.125), (16, 0.03)];
const PAIRS: u32 = 100;
const CONTENT_BYTES: usize = 64;

/// How the guard is run.
pub(crate) struct Plan {
    /// Connections of `idle`.
    pub(crate) connections: u32,
    /// Messages of each relay.
    pub(crate) messages: u64,
}

/// What was found, and which bounds were missed.
#[derive(Default)]
pub(crate) struct Found {
    rows: Vec<Row>,
    pub(crate) missed: Vec<String>,
}

/// A run with the name of its line.
struct Row {
    title: String,
    run: Run,
}

impl Found {
    /// For the shell.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.runs().any(|run| !run.faults().none()) {
            Outcome::Faulty
        } else if self.missed.is_empty() {
            Outcome::Good
        } else {
            Outcome::Missed
        }
    }
}

/// Runs idle and relay against the floor and ringpost, and the full relay without a journal too:
/// no bound holds it, it tells what the journal costs.
///
/// # Errors
/// When a server does not start, or refuses a client.
pub(crate) fn run(plan: &Plan, setting: &Setting, cores: usize) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for (outstanding, always_good) in OUTSTANDING {
        let shape = shape(plan, Form::Plain, outstanding);
        let floor = relay::run(&Name::FLOOR, setting, &shape, cores)?;
        let ours = relay::run(&Name::RINGPOST, setting, &shape, cores)?;
        let of_floor = floor.enters_per_message.unwrap_or_default();
        let most = (of_floor * ENTERS_RATIO_MAX).max(always_good);
        found.check("enters per message", &ours, ours.enters_per_message, most);
        let title = format!("plain, {outstanding} outstanding");
        found.push(&title, floor);
        found.push(&title, ours);
    }
    let shape = shape(plan, Form::Full, 16);
    let full = relay::run(&Name::RINGPOST, setting, &shape, cores)?;
    found.check("enters per message", &full, full.enters_per_message, FULL_ENTERS_MAX);
    found.push("full, 16 outstanding", full);
    let unkept = relay::run(&Name::RINGPOST_NO_JOURNAL, setting, &shape, cores)?;
    found.push("full, 16 outstanding", unkept);
    let setting = Setting { clients: plan.connections, ..setting.clone() };
    let (floor, ours) = idle::with_floor(&Name::RINGPOST, &setting, cores)?;
    found.check("user bytes per connection", &ours, ours.user_bytes_per_connection, USER_BYTES_MAX);
    let most = floor.kernel_bytes_per_connection.unwrap_or_default() * KERNEL_RATIO_MAX;
    let kernel = ours.kernel_bytes_per_connection;
    found.check("kernel bytes per connection", &ours, kernel, most);
    found.push("idle", floor);
    found.push("idle", ours);
    Ok(found)
}

impl Found {
    /// The runs, in their order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.rows.iter().map(|row| &row.run)
    }

    /// A line for each run, with what it was measured with.
    pub(crate) fn text(&self) -> String {
        let mut text = self.runs().next().map_or_else(String::new, heading);
        text.push_str(
            "                                              messages  per server  io_uring_enter\n\
             relay                   against             per second  CPU second     per message\n",
        );
        self.rows.iter().for_each(|row| text.push_str(&row.line()));
        text
    }

    fn push(&mut self, title: &str, run: Run) {
        let faults = run.faults();
        if !faults.none() {
            self.missed.push(format!("{title} against {}: {faults:?}", run.peer));
        }
        self.rows.push(Row { title: title.to_owned(), run });
    }

    fn check(&mut self, what: &str, run: &Run, value: Option<f64>, most: f64) {
        // A number that is not there holds no bound.
        if !value.is_some_and(|value| value <= most) {
            let value = value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:.3}"));
            let scenario = &run.scenario;
            self.missed.push(format!("{scenario}: {value} {what}, at most {most:.3}"));
        }
    }
}

impl Row {
    fn line(&self) -> String {
        let (title, run) = (&self.title, &self.run);
        if let Some(user) = run.user_bytes_per_connection {
            let kernel = run.kernel_bytes_per_connection.unwrap_or_default();
            return format!(
                "{title:<23} {:<19} {user:.0} B of user space, {kernel:.0} B of the kernel each: {}\n",
                run.peer, run.shape
            );
        }
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        format!(
            "{title:<23} {:<19} {:>10} {:>11} {:>15}{}\n",
            run.peer,
            number(run.messages_per_second, 0),
            number(run.messages_per_server_cpu_second, 0),
            number(run.enters_per_message, 4),
            run.void.as_ref().map_or_else(String::new, |why| format!("  ({why})")),
        )
    }
}

fn heading(run: &Run) -> String {
    let Environment { commit, kernel, processor, load_average, .. } = &run.environment;
    format!(
        "ringpost-bench guard (commit {commit}, Linux {kernel}, {processor}, load average before \
         {load_average})\n{PAIRS} pairs, {CONTENT_BYTES} B, one worker; full: sent when durable, \
         pushed, acknowledged, receipt\n"
    )
}

fn shape(plan: &Plan, form: Form, outstanding: u32) -> Shape {
    Shape {
        form,
        pairs: PAIRS,
        outstanding,
        content_bytes: CONTENT_BYTES,
        messages: plan.messages,
        rate: None,
        random: false,
    }
}

#[cfg(test)]
mod tests {
    use super::Found;
    use crate::exit::Outcome;
    use crate::report::Run;

    #[test]
    fn a_bound_is_missed_above_it_and_when_nothing_was_measured() {
        let mut found = Found::default();
        found.check("bytes", &Run::default(), Some(400.0), 400.0);
        assert_eq!(found.outcome(), Outcome::Good);
        found.check("bytes", &Run::default(), Some(400.1), 400.0);
        found.check("bytes", &Run::default(), None, 400.0);
        assert_eq!((found.missed.len(), found.outcome()), (2, Outcome::Missed));
        found.push("idle", Run { lost: 1, ..Run::default() });
        assert_eq!((found.missed.len(), found.outcome()), (3, Outcome::Faulty));
    }
}
