//! Something is not in a device's queue: it is told behind the last push, with a number and the
//! cursor of history, and again until the device says that it has read it.
//!
//! Setup: a queue of three messages, a device that is away. Action: it overflows, grows old, its
//! device comes, closes, comes too late. Expectation: what was left out lies behind the cursor,
//! and no gap closes that has grown since it was told.

use std::time::Duration;

use ringpost_shard::event::ConnectionKey;
use ringpost_shard::{Position, ShardLimits};
use ringpost_wire::event::{Gap, Status};
use ringpost_wire::{Command, ErrorCode, Event as WireEvent, HistoryCursor, UserId};

use crate::world::{Step, World, device};

fn three() -> ShardLimits {
    ShardLimits { queue_entries_max: 3, ..ShardLimits::default() }
}

/// Alice writes to Bob; Bob's first device acks all, his second is away.
struct Scene {
    world: World,
    bob: UserId,
    a: ConnectionKey,
    b: ConnectionKey,
    acked: u64,
    number: u64,
}

impl Scene {
    fn new(limits: ShardLimits) -> Self {
        let mut world = World::with_limits(2, limits);
        let (alice, bob) = (world.user(0, 0), world.user(1, 0));
        let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
        let late = world.sign_in(bob, 2);
        world.settle();
        world.hang_up(late);
        Self { world, bob, a, b, acked: 0, number: 0 }
    }

    /// One more message, which the first device acks. Answers the position of its record.
    fn send(&mut self) -> Position {
        self.ask();
        self.world.settle();
        let position = self.last_message();
        self.acked += 1;
        self.world.ack(self.b, self.acked);
        self.world.settle();
        position
    }

    fn ask(&mut self) {
        self.number += 1;
        self.world.send(self.a, 0, self.number, self.bob, b"x");
    }

    fn last_message(&self) -> Position {
        let rows = self.world.truth.messages.values();
        rows.map(|row| row.position).max().expect("something was sent")
    }

    /// The second device comes.
    fn come(&mut self) -> ConnectionKey {
        let late = self.world.sign_in(self.bob, 2);
        self.world.settle();
        late
    }

    /// What a connection was told: how many messages, then each `queue_empty`.
    fn told(&mut self, connection: ConnectionKey) -> (usize, Vec<Option<Gap>>) {
        let (mut messages, mut empties) = (0, Vec::new());
        for (_, event) in self.world.told(connection) {
            match event {
                WireEvent::NewMessage(_) => messages += 1,
                WireEvent::QueueEmpty { gap } => empties.push(gap),
                WireEvent::Receipt(receipt) if receipt.status != Status::Sent => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
        (messages, empties)
    }

    fn close(&mut self, connection: ConnectionKey, gap: u64) {
        self.world.command(connection, 9, Command::GapClosed { gap });
    }

    fn is_closed(&self) -> bool {
        self.world.truth.gap(self.bob, device(2)).is_none()
    }
}

fn gap(number: Position, first: Position) -> Option<Gap> {
    let after = HistoryCursor(first.0 - 1).to_text();
    Some(Gap { number: number.0, after })
}

#[test]
fn a_gap_is_told_behind_the_last_push_without_an_ack_and_history_has_what_it_left_out() {
    let mut scene = Scene::new(three());
    let sent: Vec<_> = (0..6).map(|_| scene.send()).collect();
    let late = scene.come();
    let (messages, told) = scene.told(late);
    assert_eq!((messages, &told[..]), (3, &[gap(sent[5], sent[3])][..]));
    let after = told[0].as_ref().expect("a gap").after.clone();
    let missing = scene.world.truth.history(scene.bob, &after);
    assert_eq!(missing.iter().map(|row| row.position).collect::<Vec<_>>(), sent[3..]);
}

#[test]
fn live_messages_go_on_beside_a_gap_and_no_ack_closes_it() {
    let mut scene = Scene::new(three());
    let sent: Vec<_> = (0..4).map(|_| scene.send()).collect();
    let late = scene.come();
    scene.told(late);
    scene.world.ack(late, 3);
    scene.world.settle();
    scene.send();
    scene.world.ack(late, 4);
    scene.world.settle();
    assert_eq!(scene.told(late), (1, vec![]), "pushed, and not told again");
    for _ in 0..2 {
        scene.world.hang_up(late);
        let late = scene.come();
        assert_eq!(scene.told(late), (0, vec![gap(sent[3], sent[3])]), "at each sign-in");
        scene.world.hang_up(late);
    }
    // Away with a gap, its queue takes no more, although it is empty: the gap grows.
    let next = scene.send();
    let late = scene.come();
    assert_eq!(scene.told(late), (0, vec![gap(next, sent[3])]));
    scene.close(late, next.0);
    scene.world.settle();
    assert!(scene.is_closed());
    scene.world.hang_up(late);
    scene.send();
    let late = scene.come();
    assert_eq!(scene.told(late), (1, vec![None]), "queued again, and no gap");
}

#[test]
fn a_gap_that_was_not_told_on_this_connection_is_not_closed() {
    let mut scene = Scene::new(three());
    let sent: Vec<_> = (0..4).map(|_| scene.send()).collect();
    let number = sent[3].0;
    // The first device has no gap; its user is in memory.
    let b = scene.b;
    scene.close(b, number);
    assert_eq!(scene.world.errors(b), [(9, ErrorCode::UnknownGap)]);
    let late = scene.come();
    scene.told(late);
    for unknown in [0, number + 1, u64::MAX] {
        scene.close(late, unknown);
        assert_eq!(scene.world.errors(late), [(9, ErrorCode::UnknownGap)], "{unknown}");
    }
    for lower in [1, number - 1] {
        scene.close(late, lower);
        scene.world.settle();
        assert!(!scene.is_closed(), "a lower number closes nothing");
    }
    for _ in 0..3 {
        scene.close(late, number);
    }
    scene.world.settle();
    assert!(scene.is_closed());
    scene.close(late, number);
    scene.world.settle();
    assert_eq!(scene.world.told(late), [], "once more does nothing");
    let closed = scene.world.shards.iter().map(|it| it.counters().gaps_closed).sum::<u64>();
    assert_eq!(closed, 1, "one record");
}

#[test]
fn a_gap_that_grows_is_told_again_and_the_lower_number_leaves_it() {
    let mut scene = Scene::new(three());
    let sent: Vec<_> = (0..4).map(|_| scene.send()).collect();
    let late = scene.come();
    assert_eq!(scene.told(late).1, [gap(sent[3], sent[3])]);
    // The device acks nothing: there is no room for the next one either.
    let next = scene.send();
    assert_eq!(scene.told(late), (0, vec![gap(next, sent[3])]));
    scene.close(late, sent[3].0);
    scene.world.settle();
    assert!(!scene.is_closed());
    scene.close(late, next.0);
    scene.world.settle();
    assert!(scene.is_closed());
    assert_eq!(scene.told(late), (0, vec![]));
}

#[test]
fn an_overflow_on_the_way_when_the_gap_is_closed_leaves_a_gap_whichever_comes_first() {
    for is_closed_first in [false, true] {
        let mut scene = Scene::new(three());
        let sent: Vec<_> = (0..4).map(|_| scene.send()).collect();
        let late = scene.come();
        scene.told(late);
        if is_closed_first {
            scene.close(late, sent[3].0);
        }
        scene.ask();
        scene.world.settle_without_commits();
        if !is_closed_first {
            scene.close(late, sent[3].0);
        }
        scene.world.settle();
        let next = scene.last_message();
        let first = if is_closed_first { next } else { sent[3] };
        assert_eq!(scene.told(late), (0, vec![gap(next, first)]), "{is_closed_first}");
        assert!(!scene.is_closed());
    }
}

#[test]
fn a_gap_whose_closing_is_on_the_way_is_not_told_to_the_next_connection() {
    let mut scene = Scene::new(three());
    let sent: Vec<_> = (0..4).map(|_| scene.send()).collect();
    let late = scene.come();
    scene.told(late);
    scene.world.ack(late, 3);
    scene.world.settle();
    scene.close(late, sent[3].0);
    scene.world.hang_up(late);
    let late = scene.world.sign_in(scene.bob, 2);
    scene.world.settle_without_commits();
    assert_eq!(scene.told(late), (0, vec![]));
    scene.world.settle();
    assert_eq!(scene.told(late), (0, vec![None]));
}

#[test]
fn what_is_on_the_way_into_a_gap_when_the_connection_comes_is_told_with_the_first_word() {
    let mut scene = Scene::new(three());
    for _ in 0..3 {
        scene.send();
    }
    scene.ask();
    scene.world.settle_without_commits();
    let late = scene.world.sign_in(scene.bob, 2);
    scene.world.settle_without_commits();
    assert_eq!(scene.told(late), (3, vec![]), "its sender may be told `sent` any moment");
    scene.world.settle();
    let last = scene.last_message();
    assert_eq!(scene.told(late), (0, vec![gap(last, last)]));
}

#[test]
fn a_gap_waits_for_room_in_the_outbox_and_is_told_as_it_is_then() {
    let mut scene = Scene::new(three());
    let sent: Vec<_> = (0..4).map(|_| scene.send()).collect();
    // Room for three messages, and then for nothing.
    let late = scene.world.sign_in_as(scene.bob, 2, |sign_in| sign_in.room_bytes = 1200);
    scene.world.slow.insert(late);
    scene.world.settle();
    assert_eq!(scene.told(late), (3, vec![]));
    let next = scene.send();
    assert_eq!(scene.told(late), (0, vec![]));
    scene.world.slow.remove(&late);
    scene.world.settle();
    assert_eq!(scene.told(late), (0, vec![gap(next, sent[3])]));
}

#[test]
fn what_grows_too_old_is_a_gap_and_nothing_is_called_empty_before_it_is_one() {
    let hour = Duration::from_secs(3600);
    let limits = ShardLimits { queue_ttl: hour, ..ShardLimits::default() };
    let mut scene = Scene::new(limits);
    let old: Vec<_> = (0..2).map(|_| scene.send()).collect();
    scene.world.pass(hour / 2);
    let young = scene.send();
    scene.world.pass(hour / 2 + Duration::from_secs(1));
    let late = scene.world.sign_in(scene.bob, 2);
    scene.world.settle_without_commits();
    assert_eq!(scene.told(late), (0, vec![]), "the record of the gap is on its way");
    scene.world.settle();
    let (messages, told) = scene.told(late);
    assert_eq!(messages, 1);
    let told = told[0].clone().expect("a gap");
    assert_eq!(told.after, HistoryCursor(old[0].0 - 1).to_text());
    let behind = scene.world.truth.history(scene.bob, &told.after);
    assert_eq!(behind.iter().map(|row| row.position).collect::<Vec<_>>(), [old[0], old[1], young]);
    scene.close(late, told.number);
    scene.world.settle();
    assert!(scene.is_closed());
    assert_eq!(scene.world.shards[1].counters().entries_expired, 2);
}

#[test]
fn what_grows_too_old_behind_its_push_is_a_gap_before_anything_is_called_empty() {
    let hour = Duration::from_secs(3600);
    let mut scene = Scene::new(ShardLimits { queue_ttl: hour, ..three() });
    let old: Vec<_> = (0..2).map(|_| scene.send()).collect();
    // One that is on the way when the connection comes, and one that finds no room later on.
    scene.ask();
    scene.world.settle_without_commits();
    let late = scene.world.sign_in(scene.bob, 2);
    scene.world.settle_without_commits();
    assert_eq!(scene.told(late), (2, vec![]));
    scene.world.pass(2 * hour);
    scene.ask();
    scene.world.settle_without_commits();
    scene.world.step(Step::Commit);
    scene.world.settle_without_commits();
    assert_eq!(scene.told(late), (1, vec![]), "the first two leave unacked");
    scene.world.settle();
    let last = scene.last_message();
    let by_age = gap(Position(last.0 - 1), old[0]);
    assert_eq!(scene.told(late), (0, vec![by_age, gap(last, old[0])]));
}

#[test]
fn what_is_too_old_and_then_is_not_comes_before_what_was_written_after_it() {
    let hour = Duration::from_secs(3600);
    let mut scene = Scene::new(ShardLimits { queue_ttl: hour, ..ShardLimits::default() });
    scene.send();
    scene.world.pass(2 * hour);
    scene.send();
    let late = scene.world.sign_in(scene.bob, 2);
    scene.world.settle_without_commits();
    assert_eq!(scene.told(late), (0, vec![]), "not the second, while the first is leaving");
    // The record that removes it is lost, and the clock goes back.
    scene.world.crash(2, 0);
    scene.world.now.wall_ms -= 2 * hour.as_millis() as u64;
    let late = scene.come();
    assert_eq!(scene.told(late), (2, vec![None]));
}

#[test]
fn a_gap_survives_a_crash_and_so_does_one_whose_closing_did_not() {
    let mut scene = Scene::new(three());
    let sent: Vec<_> = (0..4).map(|_| scene.send()).collect();
    let late = scene.come();
    scene.told(late);
    scene.close(late, sent[3].0);
    // The process dies between `gap_closed` and its record.
    scene.world.crash(2, 0);
    let late = scene.come();
    assert_eq!(scene.told(late), (3, vec![gap(sent[3], sent[3])]));
    scene.close(late, sent[3].0);
    scene.world.crash(1, 1);
    let late = scene.come();
    assert_eq!(scene.told(late), (3, vec![None]));
}

#[test]
fn what_was_told_is_remembered_over_an_eviction_and_can_be_closed_after_it() {
    let limits = ShardLimits { resident_bytes_max: 9 << 10, ..three() };
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.hang_up(b);
    (1..=4).for_each(|number| world.send(a, 0, number, bob, b"x"));
    world.settle();
    let b = world.sign_in(bob, 1);
    world.settle();
    world.ack(b, 3);
    world.settle();
    let told = world.told(b);
    let Some((_, WireEvent::QueueEmpty { gap: Some(gap) })) = told.last() else {
        panic!("a gap is told: {told:?}")
    };
    // Others come and go until there is no room for who rests.
    let mut nth = 2;
    while world.shards[0].residents().any(|user| user == bob) {
        let other = world.user(0, nth);
        let connection = world.sign_in(other, 1);
        world.settle();
        world.hang_up(connection);
        world.pass(Duration::from_secs(10));
        nth += 1;
        assert!(nth < 200, "an idle session does not keep its user in memory");
    }
    assert_eq!(world.told(b), []);
    world.command(b, 9, Command::GapClosed { gap: gap.number + 1 });
    world.settle();
    assert_eq!(world.errors(b), [(9, ErrorCode::UnknownGap)]);
    assert_eq!(world.told(b), [], "loaded again, and not told again");
    world.command(b, 9, Command::GapClosed { gap: gap.number });
    world.settle();
    assert_eq!(world.told(b), []);
    assert_eq!(world.truth.gap(bob, device(1)), None);
}

#[test]
fn copies_for_the_senders_other_devices_meet_the_same_rule() {
    let mut world = World::with_limits(2, three());
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    let other = world.sign_in(alice, 2);
    let b = world.sign_in(bob, 1);
    world.settle();
    world.told(other);
    for number in 1..=4 {
        world.send(a, 0, number, bob, b"x");
        world.settle();
        world.ack(b, number);
        world.settle();
    }
    let told = world.told(other);
    let copies = told.iter().filter(|(_, event)| matches!(event, WireEvent::NewMessage(_)));
    assert_eq!(copies.count(), 3);
    let mark = world.truth.gap(alice, device(2)).expect("the fourth copy lies in it");
    let expected = gap(mark.number, mark.number);
    let empties = told.iter().filter_map(|(_, event)| match event {
        WireEvent::QueueEmpty { gap } => Some(gap.clone()),
        _ => None,
    });
    assert_eq!(empties.collect::<Vec<_>>(), [expected]);
}
