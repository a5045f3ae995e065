//! A line on standard error while something long goes on.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines: often where a person looks, seldom in a log.
const ON_TERMINAL: Duration = Duration::from_millis(250);
const IN_LOG: Duration = Duration::from_secs(10);

/// How far something has got.
pub(crate) struct Progress {
    what: &'static str,
    whole: u64,
    begun: Instant,
    told: Instant,
    on_terminal: bool,
    wrote: bool,
}

impl Progress {
    /// Of `whole` things nothing is done yet.
    pub(crate) fn new(what: &'static str, whole: u64) -> Self {
        let now = Instant::now();
        let on_terminal = std::io::stderr().is_terminal();
        Self { what, whole, begun: now, told: now, on_terminal, wrote: false }
    }

    /// So many are done.
    pub(crate) fn at(&mut self, done: u64) {
        let every = if self.on_terminal { ON_TERMINAL } else { IN_LOG };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        self.wrote = true;
        let seconds = self.begun.elapsed().as_secs_f64();
        let (before, after) = if self.on_terminal { ("\r", "") } else { ("", "\n") };
        let Self { what, whole, .. } = self;
        // Nobody who cannot be told of progress misses it.
        let _ = write!(
            std::io::stderr(),
            "{before}{done} of {whole} {what}, {seconds:.0} s, {:.0}/s   {after}",
            done as f64 / seconds
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal && self.wrote {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}
