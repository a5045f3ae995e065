//! Whether the times of a run mean anything. A void run still tells bytes, enters and faults.

use crate::ledger::Faults;
use crate::measure::Spent;

/// Share of sends that may be late.
pub(crate) const LATE_SHARE_MAX: f64 = 0.001;
/// A send that leaves so much after its intended time is late, nanoseconds.
pub(crate) const LATE_NS: u64 = 1_000_000;
/// A generator that uses more of its core may have been what was measured.
const GENERATOR_SHARE_MAX: f64 = 0.95;
/// A server below this share of its core was not at its limit.
const SERVER_SHARE_MIN: f64 = 0.95;
/// Share of the machine's cores that others may use.
const OTHERS_SHARE_MAX: f64 = 0.05;

/// How the load was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Loop {
    /// By what came back.
    Closed,
    /// By a schedule, of which this share left late.
    Open {
        /// Share of sends that were late.
        late_share: f64,
    },
}

/// Why the run is void, or `None`.
pub(crate) fn void(spent: &Spent, cores: usize, made: Loop, faults: Faults) -> Option<String> {
    let share = |time: std::time::Duration| time.as_secs_f64() / spent.wall.as_secs_f64();
    let mut why = Vec::new();
    if !faults.none() {
        why.push(format!(
            "{} messages were lost, {} duplicated, {} reordered",
            faults.lost, faults.duplicated, faults.reordered
        ));
    }
    why.extend(busy(spent, cores));
    match made {
        Loop::Open { late_share } if late_share > LATE_SHARE_MAX => {
            why.push(format!("{:.2} % of the sends were late", late_share * 100.0));
        }
        Loop::Closed
            if share(spent.own) > GENERATOR_SHARE_MAX && share(spent.server) < SERVER_SHARE_MIN =>
        {
            why.push("the generator was the bottleneck".to_owned());
        }
        _ => {}
    }
    (!why.is_empty()).then(|| why.join("; "))
}

/// Why a run is void that has no times, and measures what all of the machine has a part in.
pub(crate) fn busy(spent: &Spent, cores: usize) -> Option<String> {
    let others = spent.others.as_secs_f64() / spent.wall.as_secs_f64() / cores as f64;
    (others > OTHERS_SHARE_MAX)
        .then(|| format!("the machine was busy: others used {:.0} % of it", others * 100.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Loop, void};
    use crate::ledger::Faults;
    use crate::measure::Spent;

    const FINE: Spent = Spent {
        wall: Duration::from_secs(10),
        server: Duration::from_secs(10),
        own: Duration::from_secs(5),
        others: Duration::ZERO,
        enters: None,
        own_enters: 0,
    };

    #[test]
    fn a_run_is_void_for_each_reason_alone() {
        let check = |spent: Spent, made, faults, expected: Option<&str>| {
            let why = void(&spent, 2, made, faults);
            match expected {
                None => assert_eq!(why, None),
                Some(word) => assert!(why.clone().is_some_and(|why| why.contains(word)), "{why:?}"),
            }
        };
        let none = Faults::default();
        check(FINE, Loop::Closed, none, None);
        check(FINE, Loop::Closed, Faults { lost: 1, ..none }, Some("lost"));
        let busy = Spent { others: Duration::from_millis(1_100), ..FINE };
        check(busy, Loop::Closed, none, Some("busy"));
        check(FINE, Loop::Open { late_share: 0.0011 }, none, Some("late"));
        check(FINE, Loop::Open { late_share: 0.0009 }, none, None);
        let behind =
            Spent { own: Duration::from_millis(9_900), server: Duration::from_secs(8), ..FINE };
        check(behind, Loop::Closed, none, Some("bottleneck"));
    }
}
