//! Running one seed, once or twice, and what is said of a run that failed.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::checkers::Violation;
use crate::options::Options;
use crate::trace::Trace;
use crate::world::{Met, World};

thread_local! {
    /// The run of this thread, for a panic that does not unwind.
    static RUNNING: RefCell<Option<(String, Trace)>> = const { RefCell::new(None) };
}

/// A run without a broken promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What it met.
    pub met: Met,
    /// Digest and number of the lines of its trace: equal for equal runs.
    pub digest: (u64, u64),
}

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was broken.
    pub violation: Violation,
    /// The last lines of the trace.
    pub last_lines: Vec<String>,
    /// The options of the run.
    pub options: Options,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last_lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "\n{:?}", self.options)?;
        writeln!(f, "\n{}: {}", self.violation.checker, self.violation.what)?;
        write!(f, "seed {}; replay it by: {}", self.options.seed, self.options.command())
    }
}

/// Runs a world to its end.
///
/// # Errors
/// The first broken promise, or a panic of the code under test where panics unwind.
pub fn run(options: &Options) -> Result<Outcome, Box<Failure>> {
    let trace = Trace::new(options.lines_max);
    RUNNING.set(Some((options.command(), trace.clone())));
    let world = AssertUnwindSafe(|| World::new(options.clone(), trace.clone()).run());
    let violation = match catch_unwind(world) {
        Ok(Ok(met)) => return Ok(Outcome { met, digest: trace.digest() }),
        Ok(Err(violation)) => violation,
        Err(panic) => Violation { checker: "panic", what: text_of(panic.as_ref()) },
    };
    let last_lines = trace.last_lines();
    Err(Box::new(Failure { violation, last_lines, options: options.clone() }))
}

/// Runs a world twice: any difference is a choice that the seed did not make.
///
/// # Errors
/// As [`run`], and if the runs differ.
pub fn doublecheck(options: &Options) -> Result<Outcome, Box<Failure>> {
    let (first, second) = (run(options)?, run(options)?);
    if first == second {
        return Ok(first);
    }
    let what = format!("{first:?} and then {second:?}");
    let violation = Violation { checker: "determinism", what };
    Err(Box::new(Failure { violation, last_lines: Vec::new(), options: options.clone() }))
}

/// What is known of the run of this thread: its command and its last lines.
#[must_use]
pub fn running() -> Option<(String, Vec<String>)> {
    let (command, trace) = RUNNING.take()?;
    Some((command, trace.last_lines()))
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
