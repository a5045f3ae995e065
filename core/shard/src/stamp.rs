//! Server ids: UUIDv6 (RFC 9562 section 5.6) that rise strictly per shard, whatever the clock does.
//!
//! ```text
//!  time_high 32 | time_mid 16 | 6:4 | time_low 12 | 2:2 | clock_seq 14 | node 48
//! ```
//! The time is 60 bits of 100 ns since 1582-10-15. The node field has its two low bits of the
//! first octet set (multicast and local: not a card's address), then 14 bits of worker and 32
//! bits of node, so that no two stampers of a fleet share ids. `clock_seq` is 0: a clock that goes
//! back never lowers the time, so there is nothing to count.

use ringpost_wire::ServerId;

use crate::event::WorkerId;

/// 100 ns intervals between 1582-10-15 and 1970-01-01.
const GREGORIAN_TICKS: u64 = 0x01b2_1dd2_1381_4000;
/// 100 ns intervals per millisecond.
const TICKS_PER_MS: u64 = 10_000;
/// Largest time of a UUIDv6: the year 5236.
const TICKS_MAX: u64 = (1 << 60) - 1;

/// Workers that the node field can tell apart.
pub const STAMPERS_MAX: u16 = 1 << 14;

/// One shard's stamper.
#[derive(Debug)]
pub(crate) struct Stamper {
    last: u64,
    node: [u8; 6],
}

impl Stamper {
    /// A stamper whose ids all lie above `floor` in time, whoever stamped that.
    pub(crate) fn new(node: u32, worker: WorkerId, floor: ServerId) -> Self {
        assert!(worker.0 < STAMPERS_MAX, "14 bits of the node field name the worker");
        let [a, b, c, d] = node.to_be_bytes();
        let [high, low] = worker.0.to_be_bytes();
        let last = if floor.is_nil() { 0 } else { ticks(floor) };
        Self { last, node: [high << 2 | 0b11, low, a, b, c, d] }
    }

    /// Time of the newest id, ticks.
    pub(crate) const fn latest_ticks(&self) -> u64 {
        self.last
    }

    /// The next id, above all that another stamper had stamped at `floor_ticks`.
    pub(crate) fn stamp_above(&mut self, floor_ticks: u64, wall_ms: u64) -> ServerId {
        self.last = self.last.max(floor_ticks.min(TICKS_MAX - 1));
        self.stamp(wall_ms)
    }

    /// The next id: of now, or just above the last one if the clock is behind it.
    pub(crate) fn stamp(&mut self, wall_ms: u64) -> ServerId {
        let now = wall_ms.saturating_mul(TICKS_PER_MS).saturating_add(GREGORIAN_TICKS);
        self.last = now.min(TICKS_MAX - 1).max(self.last + 1);
        assert!(self.last <= TICKS_MAX, "60 bits of 100 ns last until the year 5236");
        let mut id = [0; 16];
        id[..6].copy_from_slice(&(self.last >> 12).to_be_bytes()[2..]);
        id[6..8].copy_from_slice(&(0x6000 | (self.last & 0xfff) as u16).to_be_bytes());
        id[8] = 0x80;
        id[10..].copy_from_slice(&self.node);
        ServerId(id)
    }
}

/// When `id` was stamped, milliseconds since 1970 by the server's clock (or a little later, where
/// the clock was behind). 0 for the nil id.
pub fn stamped_ms(id: ServerId) -> u64 {
    ticks(id).saturating_sub(GREGORIAN_TICKS) / TICKS_PER_MS
}

fn ticks(id: ServerId) -> u64 {
    let [high @ .., _, _, _, _, _, _, _, _] = id.0;
    let high = u64::from_be_bytes(high);
    (high >> 16) << 12 | (high & 0xfff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL_MS: u64 = 1_800_000_000_000;

    fn stamper(floor: ServerId) -> Stamper {
        Stamper::new(0xa1b2_c3d4, WorkerId(0x2abc), floor)
    }

    #[test]
    fn a_stamp_is_a_version_6_uuid_of_its_time_node_and_worker() {
        let id = stamper(ServerId::default()).stamp(WALL_MS);
        let uuid = id.uuid();
        assert_eq!(uuid.get_version_num(), 6);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = uuid.get_timestamp().expect("version 6 has a time").to_unix();
        assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, WALL_MS);
        assert_eq!(stamped_ms(id), WALL_MS);
        let node = &id.0[10..];
        assert_eq!(node[0] & 0b11, 0b11, "multicast and local");
        assert_eq!(u16::from(node[0] >> 2) << 8 | u16::from(node[1]), 0x2abc);
        assert_eq!(node[2..], 0xa1b2_c3d4_u32.to_be_bytes());
    }

    #[test]
    fn stamps_rise_within_a_millisecond_and_when_the_clock_jumps_back_or_forth() {
        let day = 24 * 3600 * 1000;
        let mut stamper = stamper(ServerId::default());
        let mut last = ServerId::default();
        let clock = [0, 0, 0, day, day, 0, 1, day - 1, day, day + 1, 0];
        for offset in clock {
            let id = stamper.stamp(WALL_MS + offset);
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }

    #[test]
    fn an_answer_lies_above_what_it_answers_although_another_worker_stamps_it() {
        let mut one = Stamper::new(9, WorkerId(1), ServerId::default());
        let mut other = Stamper::new(9, WorkerId(0), ServerId::default());
        let mut last = ServerId::default();
        for _ in 0..100 {
            let message = one.stamp_above(other.latest_ticks(), WALL_MS);
            let answer = other.stamp_above(one.latest_ticks(), WALL_MS);
            assert!(message > last && answer > message, "within one millisecond");
            last = answer;
        }
    }

    #[test]
    fn stamps_lie_above_the_floor_of_another_worker_of_the_run_before() {
        let floor = Stamper::new(9, WorkerId(9), ServerId::default()).stamp(WALL_MS + 60_000);
        let id = stamper(floor).stamp(WALL_MS);
        assert!(id > floor);
        assert_eq!(stamped_ms(id), WALL_MS + 60_000);
    }

    #[test]
    fn no_wall_clock_is_too_far_off_to_be_stamped() {
        let mut stamper = stamper(ServerId::default());
        let first = stamper.stamp(0);
        assert_eq!(stamped_ms(first), 0);
        assert!(stamper.stamp(u64::MAX) > first);
    }
}
