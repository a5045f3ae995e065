//! The wheel against a map of deadlines, and the cases that a map does not have.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(1_000_000);

fn expired(wheel: &mut TimerWheel, now: Duration) -> Vec<u32> {
    let mut keys: Vec<_> = std::iter::from_fn(|| wheel.poll_expired(now)).collect();
    keys.sort_unstable();
    keys
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_key_expires_at_the_first_tick_that_is_not_before_its_deadline() {
    let nano = Duration::from_nanos(1);
    for (ahead, expires) in [(TICK, TICK), (TICK + nano, 2 * TICK), (2 * TICK, 2 * TICK)] {
        let mut wheel = TimerWheel::new(1, START);
        wheel.schedule(0, START + ahead);
        assert_eq!(wheel.next_deadline(), Some(START + expires));
        assert_eq!(wheel.poll_expired(START + expires - nano), None);
        assert_eq!(wheel.poll_expired(START + expires), Some(0));
        assert_eq!(wheel.next_deadline(), None);
    }
}

#[test]
fn a_deadline_in_the_past_expires_in_the_coming_tick() {
    let mut wheel = TimerWheel::new(1, START);
    wheel.schedule(0, Duration::ZERO);
    assert_eq!(wheel.poll_expired(START), None);
    assert_eq!(wheel.poll_expired(START + TICK), Some(0));
}

#[test]
fn polling_ends_though_every_key_is_scheduled_again_at_once() {
    let mut wheel = TimerWheel::new(3, START);
    for key in 0..3 {
        wheel.schedule(key, START);
    }
    let now = START + TICK;
    for _ in 0..3 {
        let key = wheel.poll_expired(now).unwrap();
        wheel.schedule(key, now);
    }
    assert_eq!(wheel.poll_expired(now), None);
}

#[test]
fn a_busy_connection_costs_one_visit_per_deadline() {
    // The deadline moves on with each of 10,000 frames; the wheel is told only when it fires.
    let (silence, mut real_deadline) = (seconds(60), START + seconds(60));
    let mut wheel = TimerWheel::new(1, START);
    wheel.schedule(0, real_deadline);
    let mut visits = 0;
    for frame in 1..=10_000 {
        let now = START + frame * Duration::from_millis(100);
        real_deadline = now + silence;
        while let Some(key) = wheel.poll_expired(now) {
            visits += 1;
            wheel.schedule(key, real_deadline);
        }
    }
    assert_eq!(visits, 1000 / 60);
}

/// A million connections for an hour: half of them say nothing, the others ping once a minute. Time
/// that passes looks at each only when its interval may be over, and a ping at no wheel.
#[test]
fn an_hour_of_a_million_idle_connections_is_a_visit_for_each_interval() {
    const CONNECTIONS: u32 = 1_000_000;
    let (hour, interval, pinging) = (seconds(3_600), seconds(120), seconds(60));
    let first = |key: u32| START + Duration::from_millis(u64::from(key) * 7_919 % 120_000);
    let heard_at = |key: u32, now: Duration| {
        let pings = now.saturating_sub(first(key)).as_secs() / pinging.as_secs();
        first(key) + if key.is_multiple_of(2) { Duration::ZERO } else { pinging * pings as u32 }
    };
    let mut wheel = TimerWheel::new(CONNECTIONS, START);
    for key in 0..CONNECTIONS {
        wheel.schedule(key, first(key) + interval);
    }
    let mut visits = vec![0_u16; CONNECTIONS as usize];
    let mut now = START;
    while now < START + hour {
        now += TICK;
        while let Some(key) = wheel.poll_expired(now) {
            visits[key as usize] += 1;
            // Who is silent is asked for a sign of life, and gives it.
            let silent = now.saturating_sub(heard_at(key, now)) >= interval;
            let heard_at = if silent { now } else { heard_at(key, now) };
            wheel.schedule(key, heard_at + interval);
        }
    }
    for (kind, most) in [(0, 3_600 / 120), (1, 3_600 / 60)] {
        let visited = visits.iter().skip(kind).step_by(2).copied();
        let (least, highest) = visited.fold((u16::MAX, 0), |(a, b), it| (a.min(it), b.max(it)));
        assert!((1..=most).contains(&highest) && least > 0, "{kind}: {least} to {highest}");
    }
}

#[test]
fn an_earlier_deadline_replaces_a_later_one() {
    let mut wheel = TimerWheel::new(2, START);
    wheel.schedule(0, START + seconds(60));
    wheel.schedule(1, START + seconds(60));
    wheel.schedule(0, START + seconds(5));
    assert_eq!(expired(&mut wheel, START + seconds(5)), [0]);
    assert_eq!(expired(&mut wheel, START + seconds(60)), [1]);
    assert_eq!(wheel.poll_expired(START + seconds(600)), None);
}

#[test]
fn a_deadline_beyond_the_horizon_expires_at_the_horizon() {
    let mut wheel = TimerWheel::new(1, START);
    wheel.schedule(0, Duration::MAX);
    assert_eq!(wheel.next_deadline(), Some(START + HORIZON));
    assert_eq!(expired(&mut wheel, START + HORIZON), [0]);
}

#[test]
fn a_cancelled_key_does_not_expire_and_its_neighbours_do() {
    for cancelled in 0..3 {
        let mut wheel = TimerWheel::new(3, START);
        for key in 0..3 {
            wheel.schedule(key, START + seconds(1));
        }
        wheel.cancel(cancelled);
        wheel.cancel(cancelled);
        assert!(!wheel.is_scheduled(cancelled));
        let others: Vec<_> = (0..3).filter(|&key| key != cancelled).collect();
        assert_eq!(expired(&mut wheel, START + seconds(1)), others);
    }
}

#[test]
fn a_turn_with_a_small_budget_goes_on_where_it_stopped() {
    let mut wheel = TimerWheel::new(100, START);
    for key in 0..100 {
        wheel.schedule(key, START + seconds(u64::from(key % 3) + 1));
    }
    let mut keys = Vec::new();
    // Two keys in each turn, while time goes on.
    for turn in 0..50 {
        let now = START + seconds(3) + turn * TICK;
        assert!(wheel.next_deadline().is_some_and(|deadline| deadline <= now));
        keys.extend((0..2).filter_map(|_| wheel.poll_expired(now)));
    }
    keys.sort_unstable();
    assert_eq!(keys, (0..100).collect::<Vec<_>>());
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn after_a_jump_of_the_clock_every_key_is_due_and_is_scheduled_well_again() {
    for jump in [HORIZON, 2 * HORIZON, seconds(86_400 * 365)] {
        let mut wheel = TimerWheel::new(SLOTS as u32, START);
        for key in 0..SLOTS as u32 {
            wheel.schedule(key, START + (key + 1) * TICK);
        }
        let now = START + jump + TICK;
        let deadline = now + seconds(60);
        let mut visits = 0;
        while let Some(key) = wheel.poll_expired(now) {
            visits += 1;
            wheel.schedule(key, deadline);
        }
        assert!((SLOTS..=3 * SLOTS).contains(&visits), "{visits} visits after {jump:?}");
        // Those scheduled while the wheel was behind may be visited once more on the way.
        let mut on_time = 0;
        while let Some(next) = wheel.next_deadline() {
            assert!(next > now && next <= deadline);
            while let Some(key) = wheel.poll_expired(next) {
                if next < deadline {
                    wheel.schedule(key, deadline);
                } else {
                    on_time += 1;
                }
            }
        }
        assert_eq!(on_time, SLOTS);
    }
}

#[test]
fn the_clock_does_not_go_back() {
    let mut wheel = TimerWheel::new(1, START);
    assert_eq!(wheel.poll_expired(START + seconds(10)), None);
    wheel.schedule(0, START + seconds(5));
    assert_eq!(wheel.poll_expired(START), None);
    assert_eq!(wheel.poll_expired(START + seconds(10) + TICK), Some(0));
}

#[test]
fn a_key_costs_eight_bytes() {
    assert_eq!(TimerWheel::bytes(1_000_000) - TimerWheel::bytes(0), 8_000_000);
}

#[derive(Clone, Debug)]
enum Step {
    Schedule { key: u32, ahead_ms: u64 },
    Cancel { key: u32 },
    Advance { ms: u64, budget: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS;
    let ahead = prop_oneof![4 => 0..2_000u64, 2 => 0..120_000u64, 1 => 0..3_000_000u64];
    let step = prop_oneof![
        4 => (key(), ahead).prop_map(|(key, ahead_ms)| Step::Schedule { key, ahead_ms }),
        1 => key().prop_map(|key| Step::Cancel { key }),
        3 => (prop_oneof![0..1_000u64, 0..300_000u64, 0..4_000_000u64], 0..20usize)
            .prop_map(|(ms, budget)| Step::Advance { ms, budget }),
    ];
    prop::collection::vec(step, 1..300)
}

const KEYS: u32 = 12;

proptest! {
    /// The owner keeps the real deadlines, as it does in a worker, and answers each expiry.
    #[test]
    fn every_key_expires_once_and_in_time(steps in steps()) {
        let mut now = START;
        let mut wheel = TimerWheel::new(KEYS, now);
        let mut deadlines = BTreeMap::new();
        for step in steps {
            match step {
                Step::Schedule { key, ahead_ms } => {
                    let at = now + Duration::from_millis(ahead_ms);
                    wheel.schedule(key, at);
                    deadlines.insert(key, at);
                }
                Step::Cancel { key } => {
                    wheel.cancel(key);
                    deadlines.remove(&key);
                }
                Step::Advance { ms, budget } => {
                    now += Duration::from_millis(ms);
                    let mut exhausted = true;
                    for _ in 0..budget {
                        let Some(key) = wheel.poll_expired(now) else {
                            exhausted = false;
                            break;
                        };
                        let at = deadlines[&key];
                        if at <= now {
                            deadlines.remove(&key);
                        } else {
                            wheel.schedule(key, at);
                        }
                    }
                    if !exhausted {
                        // None is overdue by more than a tick.
                        for (key, at) in &deadlines {
                            prop_assert!(*at + TICK > now, "{} at {:?}, now {:?}", key, at, now);
                        }
                    }
                }
            }
            for key in 0..KEYS {
                prop_assert_eq!(wheel.is_scheduled(key), deadlines.contains_key(&key));
            }
            prop_assert_eq!(wheel.next_deadline().is_some(), !deadlines.is_empty());
        }
    }
}
