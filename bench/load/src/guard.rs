//! What a gate can hold on a machine that does other things as well: bytes for each connection,
//! system calls for each message as a ratio to the floor of the same invocation, and that nothing
//! is lost, duplicated or reordered. Never a time.

use crate::exit::Outcome;
use crate::peer::{Form, Name, Setting};
use crate::report::Run;
use crate::scenario::relay::Shape;
use crate::scenario::{idle, relay};

/// User-space bytes of an idle signed-in connection, at most.
const USER_BYTES_MAX: f64 = 256.0;
/// The server's end in the kernel, at most, as a ratio to the floor's, which waits by one poll.
const KERNEL_RATIO_MAX: f64 = 1.05;
/// `io_uring_enter` for each message as a ratio to the floor's, at most, and what is allowed
/// beside it: on a busy machine batches are large and both numbers small.
const ENTERS_RATIO_MAX: f64 = 2.0;
const ENTERS_SLACK: f64 = 0.02;
/// The same for the full form, absolute: there is no floor that keeps anything.
const FULL_ENTERS_MAX: f64 = 2.0;

const OUTSTANDING: [u32; 2] = [1, 16];

/// How the guard is run.
pub(crate) struct Plan {
    /// Connections of `idle`.
    pub(crate) connections: u32,
    /// Messages of each relay.
    pub(crate) messages: u64,
}

/// What was found, and which bounds were missed.
pub(crate) struct Found {
    pub(crate) runs: Vec<Run>,
    pub(crate) missed: Vec<String>,
}

impl Found {
    /// For the shell.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.runs.iter().any(|run| !run.faults().none()) {
            Outcome::Faulty
        } else if self.missed.is_empty() {
            Outcome::Good
        } else {
            Outcome::Missed
        }
    }
}

/// Runs idle and relay against the floor and ringpost.
///
/// # Errors
/// When a server does not start, or refuses a client.
pub(crate) fn run(plan: &Plan, setting: &Setting, cores: usize) -> anyhow::Result<Found> {
    let mut found = Found { runs: Vec::new(), missed: Vec::new() };
    for outstanding in OUTSTANDING {
        let shape = shape(plan, Form::Plain, outstanding);
        let floor = relay::run(&Name::FLOOR, setting, &shape, cores)?;
        let ours = relay::run(&Name::RINGPOST, setting, &shape, cores)?;
        let most = floor.enters_per_message.unwrap_or_default() * ENTERS_RATIO_MAX + ENTERS_SLACK;
        found.check("enters per message", &ours, ours.enters_per_message, most);
        found.runs.extend([floor, ours]);
    }
    let shape = shape(plan, Form::Full, 16);
    let full = relay::run(&Name::RINGPOST, setting, &shape, cores)?;
    found.check("enters per message", &full, full.enters_per_message, FULL_ENTERS_MAX);
    found.runs.push(full);
    let setting = Setting { clients: plan.connections, ..setting.clone() };
    let (floor, ours) = idle::with_floor(&Name::RINGPOST, &setting, cores)?;
    found.check("user bytes per connection", &ours, ours.user_bytes_per_connection, USER_BYTES_MAX);
    let most = floor.kernel_bytes_per_connection.unwrap_or_default() * KERNEL_RATIO_MAX;
    let kernel = ours.kernel_bytes_per_connection;
    found.check("kernel bytes per connection", &ours, kernel, most);
    found.runs.extend([floor, ours]);
    for run in &found.runs {
        if !run.faults().none() {
            let faults = run.faults();
            found.missed.push(format!("{} against {}: {faults:?}", run.scenario, run.peer));
        }
    }
    Ok(found)
}

impl Found {
    fn check(&mut self, what: &str, run: &Run, value: Option<f64>, most: f64) {
        // A number that is not there holds no bound.
        if !value.is_some_and(|value| value <= most) {
            let value = value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:.3}"));
            let scenario = &run.scenario;
            self.missed.push(format!("{scenario}: {value} {what}, at most {most:.3}"));
        }
    }
}

fn shape(plan: &Plan, form: Form, outstanding: u32) -> Shape {
    Shape {
        form,
        pairs: 100,
        outstanding,
        content_bytes: 64,
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
        let mut found = Found { runs: Vec::new(), missed: Vec::new() };
        found.check("bytes", &Run::default(), Some(400.0), 400.0);
        assert_eq!(found.outcome(), Outcome::Good);
        found.check("bytes", &Run::default(), Some(400.1), 400.0);
        found.check("bytes", &Run::default(), None, 400.0);
        assert_eq!((found.missed.len(), found.outcome()), (2, Outcome::Missed));
        found.runs.push(Run { lost: 1, ..Run::default() });
        assert_eq!(found.outcome(), Outcome::Faulty);
    }
}
