//! A deadline that passes at an idle connection and is looked at: out of the wheel, and in again for
//! the next interval. Nothing else of a silent connection costs anything while time goes on.

use std::time::Duration;

use ringpost_conn::timer::{TICK, TimerWheel};

const CONNECTIONS: u32 = 100_000;
/// From one look at a silent connection to the next.
const INTERVAL: Duration = Duration::from_secs(120);

pub(crate) fn run(iterations: u64) {
    let mut now = INTERVAL;
    let mut wheel = TimerWheel::new(CONNECTIONS, now);
    let ticks = (INTERVAL.as_millis() / TICK.as_millis()) as u32;
    for connection in 0..CONNECTIONS {
        wheel.schedule(connection, now + TICK * (1 + connection % ticks));
    }
    let mut visits = 0;
    while visits < iterations {
        now += TICK;
        while visits < iterations
            && let Some(connection) = wheel.poll_expired(now)
        {
            wheel.schedule(connection, now + INTERVAL);
            visits += 1;
        }
    }
}
