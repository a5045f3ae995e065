//! Every limit of a shard is driven to its end: a table of all of them, with what happens there.
//!
//! Setup: a world in which one limit is small. Action: it is passed. Expectation: what the table
//! says, and the number that an operator sees has moved. Where another file of this suite drives a
//! limit, the row names its test. A limit without a row fails, and so does a row without a limit or
//! with a test that is not there.

use std::time::Duration;

use ringpost_shard::bound::Bound;
use ringpost_shard::event::ConnectionKey;
use ringpost_shard::{Event, Rate, ShardLimits};
use ringpost_wire::command::{ClientStatus, Named};
use ringpost_wire::{ErrorCode, UserId};

use crate::world::{World, device, message_id};

/// How a limit is driven to its end.
enum Driven {
    /// Here: how often its counter moved, after the answer was looked at.
    Here(fn() -> u64),
    /// By this test of that file, which makes it small and looks at a counter.
    By(&'static str, &'static str),
    /// By this test of that file, at its default; it looks at a counter as well.
    AtDefault(&'static str, &'static str),
}

use Driven::{AtDefault, By, Here};

const DEVICES: &str = include_str!("devices.rs");
const GAPS: &str = include_str!("gaps.rs");
const IDEMPOTENCY: &str = include_str!("idempotency.rs");
const QUEUES: &str = include_str!("queue_limits.rs");
const REFUSALS: &str = include_str!("refusals.rs");
const RESIDENCE: &str = include_str!("residence.rs");
const SIGN_IN: &str = include_str!("sign_in.rs");
const SLOW: &str = include_str!("slow_reader.rs");

const SHARE: Driven = By(QUEUES, "room_on_the_way_counts_in_a_senders_share");
const IN_FLIGHT: Driven = By(REFUSALS, "sends_in_flight_are_bounded_per_device_and_in_all");
const LINE: Driven =
    By(IDEMPOTENCY, "sends_behind_a_look_up_wait_in_a_bounded_line_and_keep_their_order");
const WINDOWS: Driven =
    By(SLOW, "a_full_outbox_stops_pushes_until_it_is_writable_and_bodies_come_from_the_store");

/// Each limit, in the order of [`ShardLimits`].
const LIMITS: [(&str, Driven); 40] = [
    (
        "message_bytes_max",
        By(REFUSALS, "a_message_over_the_limit_is_refused_and_one_at_the_limit_passes"),
    ),
    ("sessions_max", By(SIGN_IN, "sessions_are_bounded")),
    ("devices_per_user_max", By(SIGN_IN, "devices_per_user_are_bounded")),
    (
        "device_absence_max",
        By(DEVICES, "a_device_that_was_absent_for_too_long_frees_its_place_wherever_it_matters"),
    ),
    (
        "resident_bytes_max",
        By(RESIDENCE, "a_send_to_an_absent_user_is_refused_when_nobody_can_be_let_go"),
    ),
    ("loads_max", Here(loads)),
    ("loading_line_max", By(RESIDENCE, "events_for_a_loading_user_wait_in_a_bounded_line")),
    (
        "loading_records_max",
        By(
            RESIDENCE,
            "records_that_arrive_during_a_load_are_folded_on_top_and_too_many_repeat_the_load",
        ),
    ),
    ("eviction_scan_max", Here(eviction_scan)),
    ("waiting_bytes_max", Here(waiting_bytes)),
    ("in_flight_max", IN_FLIGHT),
    ("in_flight_bytes_max", IN_FLIGHT),
    ("in_flight_per_device_max", IN_FLIGHT),
    ("answers_per_send_max", By(IDEMPOTENCY, "answers_owed_for_one_send_are_bounded")),
    ("look_up_line_max", LINE),
    ("accepted_cache_max", LINE),
    ("unknown_users_max", Here(unknown_users)),
    ("unknown_user_for", Here(unknown_user_for)),
    ("queue_entries_max", By(QUEUES, "a_queue_that_is_full_or_has_a_gap_refuses_nobody")),
    ("queue_bytes_max", Here(queue_bytes)),
    ("queue_sender_share", SHARE),
    ("queue_sender_entries_min", SHARE),
    ("queue_receipts_max", By(QUEUES, "receipts_of_an_absent_device_are_bounded")),
    (
        "queue_ttl",
        By(GAPS, "what_grows_too_old_is_a_gap_and_nothing_is_called_empty_before_it_is_one"),
    ),
    ("window_pushes_default", Here(window_pushes_default)),
    ("window_pushes_max", Here(window_pushes)),
    ("window_bytes_default", Here(window_bytes_default)),
    ("window_bytes_max", Here(window_bytes)),
    ("named_pushes_max", Here(named_pushes)),
    ("read_rows_max", WINDOWS),
    ("read_bytes_max", Here(read_bytes)),
    ("reads_per_device_max", Here(reads_per_device)),
    ("ack_items_max", Here(ack_items)),
    ("recent_bytes_max", WINDOWS),
    ("user_sends", By(REFUSALS, "rates_refuse_with_the_time_to_wait_and_let_go_on_after_it")),
    ("user_bytes", Here(user_bytes)),
    ("revocations_max", Here(revocations)),
    ("overloaded_retry", Here(overloaded_retry)),
    ("quota_retry", AtDefault(QUEUES, "a_refusal_by_quota_says_when_to_repeat")),
    ("store_retry", AtDefault(SLOW, "a_store_that_fails_is_asked_again_after_a_pause")),
];

/// The fields of the limits, as their `Debug` writes them.
fn fields() -> Vec<String> {
    let text = format!("{:#?}", ShardLimits::default());
    let own = text.lines().filter_map(|line| line.strip_prefix("    "));
    let named = own.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(':'));
    named.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_limit_is_driven_to_its_end() {
    let rows: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
    assert_eq!(rows, fields(), "a row for each limit, in their order");
    for (name, driven) in &LIMITS {
        match driven {
            Here(drive) => assert!(drive() > 0, "{name}: nobody counts it"),
            By(file, test) => {
                assert!(file.contains(name), "{name} is not small where {test} is");
                check_counts(name, file, test);
            }
            AtDefault(file, test) => check_counts(name, file, test),
        }
    }
}

/// The test is there, and what it looks at is counted.
fn check_counts(name: &str, file: &str, test: &str) {
    let begin = file.find(&format!("#[test]\nfn {test}("));
    let body = &file[begin.unwrap_or_else(|| panic!("{name}: {test} is not there"))..];
    let body = &body[..body.find("\n}\n").expect("a test ends")];
    assert!(body.contains("counters()"), "{name}: {test} looks at no counter");
}

/// Alice, connected, and Bob, who is too where his connection is asked for.
fn pair(limits: ShardLimits) -> (World, ConnectionKey, UserId) {
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let a = world.sign_in(alice, 1);
    world.sign_in(bob, 1);
    world.settle();
    world.told(a);
    (world, a, bob)
}

fn hits(world: &World, bound: Bound) -> u64 {
    world.shards[0].counters().hits.count(bound)
}

/// Sends to users who are absent, all before the store answers; what the second was answered.
fn two_to_absent_users(limits: ShardLimits, second: usize) -> (World, Vec<(u16, ErrorCode)>) {
    let (mut world, a, _) = pair(limits);
    for (tag, nth) in [(1, 2), (2, second)] {
        let absent = world.user(0, nth);
        world.send(a, tag, tag.into(), absent, &[0; 10]);
    }
    let errors = world.errors(a);
    (world, errors)
}

fn loads() -> u64 {
    let limits = ShardLimits { loads_max: 1, ..ShardLimits::default() };
    let (world, errors) = two_to_absent_users(limits, 3);
    assert_eq!(errors, [(2, ErrorCode::Overloaded)]);
    hits(&world, Bound::Loads)
}

/// Where a look at one user finds nobody who may leave, there is no room; later events look on.
fn eviction_scan() -> u64 {
    assert_eq!(refused_users(256), 0, "all are looked at");
    refused_users(1)
}

/// How many of thirty users were not created at the first time, in a memory that holds few.
fn refused_users(eviction_scan_max: u32) -> u64 {
    let limits =
        ShardLimits { resident_bytes_max: 7_000, eviction_scan_max, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    for ticket in 0..30 {
        let user = world.user(0, ticket as usize);
        // Ends: each one that is refused has looked on.
        while world.truth.image(user).is_none() {
            world.handle(0, Event::CreateUser { user, ticket });
            world.settle();
        }
    }
    let refused = world.requests_done.iter().filter(|(_, created)| !created).count();
    assert_eq!(world.shards[0].counters().loads_refused, refused as u64);
    refused as u64
}

fn waiting_bytes() -> u64 {
    let limits = ShardLimits { waiting_bytes_max: 15, ..ShardLimits::default() };
    let (world, errors) = two_to_absent_users(limits, 2);
    assert_eq!(errors, [(2, ErrorCode::Overloaded)]);
    hits(&world, Bound::Waiting)
}

fn overloaded_retry() -> u64 {
    let wait = Duration::from_millis(1_234);
    let limits = ShardLimits { loads_max: 1, overloaded_retry: wait, ..ShardLimits::default() };
    let (mut world, a, _) = pair(limits);
    for (tag, nth) in [(1, 2), (2, 3)] {
        let absent = world.user(0, nth);
        world.send(a, tag, tag.into(), absent, b"x");
    }
    let told = world.told(a);
    let [(2, ringpost_wire::Event::Error(error))] = &told[..] else { panic!("{told:?}") };
    assert_eq!(error.retry_after_ms, 1_234);
    world.shards[0].counters().refused(ErrorCode::Overloaded)
}

/// Asks for nobody twice, with something between; how often the store was asked more than once.
fn asked_again(limits: ShardLimits, between: fn(&mut World, ConnectionKey)) -> u64 {
    let (mut world, a, _) = pair(limits);
    let nobody = world.user(0, 2);
    let ask = |world: &mut World, number: u64| {
        let before = world.shards[0].counters().loads;
        world.send(a, number as u16, number, nobody, b"x");
        world.settle();
        assert_eq!(world.errors(a), [(number as u16, ErrorCode::UnknownRecipient)]);
        world.shards[0].counters().loads - before
    };
    assert_eq!((ask(&mut world, 1), ask(&mut world, 2)), (1, 0), "remembered");
    between(&mut world, a);
    world.errors(a);
    ask(&mut world, 3)
}

fn unknown_users() -> u64 {
    let limits = ShardLimits { unknown_users_max: 1, ..ShardLimits::default() };
    asked_again(limits, |world, a| {
        let other = world.user(0, 3);
        world.send(a, 9, 9, other, b"x");
        world.settle();
    })
}

fn unknown_user_for() -> u64 {
    let limits = ShardLimits { unknown_user_for: Duration::from_secs(3), ..ShardLimits::default() };
    asked_again(limits, |world, _| world.pass(Duration::from_secs(4)))
}

fn queue_bytes() -> u64 {
    let limits = ShardLimits { queue_bytes_max: 25, ..ShardLimits::default() };
    let (mut world, a, bob) = pair(limits);
    for number in 1..=3 {
        world.send(a, number as u16, number, bob, &[0; 10]);
        world.settle();
    }
    hits(&world, Bound::QueueBytes)
}

/// How many of five messages a connection is pushed that asks for such windows, as it is counted.
fn pushed(limits: ShardLimits, (pushes, bytes): (u32, u32), body: &[u8]) -> u64 {
    let (mut world, a, _) = pair(limits);
    let carol = world.user(0, 2);
    let c = world.sign_in_as(carol, 1, |sign_in| {
        (sign_in.window_pushes, sign_in.window_bytes) = (pushes, bytes);
    });
    world.settle();
    for number in 1..=5 {
        world.send(a, 0, number, carol, body);
        world.settle();
    }
    let pushed = world.shards[0].counters().pushes;
    assert_eq!(pushed, world.messages(c).len() as u64);
    pushed
}

fn window_pushes_default() -> u64 {
    let limits = ShardLimits { window_pushes_default: 2, ..ShardLimits::default() };
    let pushed = pushed(limits, (0, 0), b"x");
    assert_eq!(pushed, 2);
    pushed
}

fn window_pushes() -> u64 {
    let limits = ShardLimits { window_pushes_max: 3, ..ShardLimits::default() };
    let pushed = pushed(limits, (100, 0), b"x");
    assert_eq!(pushed, 3);
    pushed
}

fn window_bytes_default() -> u64 {
    let limits = ShardLimits { window_bytes_default: 4096, ..ShardLimits::default() };
    let pushed = pushed(limits, (0, 0), &[0; 2000]);
    assert_eq!(pushed, 2);
    pushed
}

fn window_bytes() -> u64 {
    let limits = ShardLimits { window_bytes_max: 4096, ..ShardLimits::default() };
    let pushed = pushed(limits, (0, 1 << 20), &[0; 2000]);
    assert_eq!(pushed, 2);
    pushed
}

/// A receiver of `count` messages, who acks them all.
fn acked(limits: ShardLimits, count: u64) -> (World, ConnectionKey, u64) {
    let (mut world, a, _) = pair(limits);
    let carol = world.user(0, 2);
    let c = world.sign_in(carol, 1);
    world.settle();
    for number in 1..=count {
        world.send(a, 0, number, carol, &[0; 1000]);
        world.settle();
    }
    assert_eq!(world.messages(c).len() as u64, count);
    let commits = world.shards[0].counters().commits;
    world.ack(c, count);
    world.settle();
    let commits = world.shards[0].counters().commits - commits;
    (world, c, commits)
}

fn named_pushes() -> u64 {
    let limits = ShardLimits { named_pushes_max: 1, ..ShardLimits::default() };
    let (mut world, c, _) = acked(limits, 2);
    for (tag, number) in [(1, 1), (2, 2)] {
        world.receipt(c, tag, Named::MessageId(message_id(number)), ClientStatus::Read);
        world.settle();
    }
    assert_eq!(world.errors(c), [(1, ErrorCode::UnknownMessage)], "the last one has its name");
    world.shards[0].counters().refused(ErrorCode::UnknownMessage)
}

fn ack_items() -> u64 {
    let limits = ShardLimits { ack_items_max: 2, ..ShardLimits::default() };
    let (_, _, commits) = acked(limits, 5);
    assert!(commits >= 3, "{commits} records for five entries");
    commits - 1
}

fn read_bytes() -> u64 {
    let limits = ShardLimits { read_bytes_max: 1500, ..ShardLimits::default() };
    let (mut world, a, _) = pair(limits);
    let carol = world.user(0, 2);
    let c = world.sign_in(carol, 1);
    world.settle();
    world.hang_up(c);
    for number in 1..=4 {
        world.send(a, 0, number, carol, &[0; 1000]);
        world.settle();
    }
    let c = world.sign_in(carol, 1);
    world.settle();
    assert_eq!(world.messages(c).len(), 4);
    let reads = world.shards[0].counters().message_reads;
    assert!(reads >= 4, "{reads} reads of one message each");
    reads - 1
}

fn reads_per_device() -> u64 {
    let limits = ShardLimits { reads_per_device_max: 1, ..ShardLimits::default() };
    let (mut world, c, _) = acked(limits, 3);
    let ids: Vec<_> = world.truth.messages.keys().copied().collect();
    for (tag, &id) in (1..).zip(&ids) {
        world.receipt(c, tag, Named::Id(id), ClientStatus::Read);
    }
    let errors = world.errors(c);
    assert!(errors.iter().all(|(_, code)| *code == ErrorCode::Overloaded), "{errors:?}");
    hits(&world, Bound::Reads)
}

fn user_bytes() -> u64 {
    let user_bytes = Rate { per_second: 10, burst: 15 };
    let (mut world, a, bob) = pair(ShardLimits { user_bytes, ..ShardLimits::default() });
    for number in 1..=2 {
        world.send(a, number as u16, number, bob, &[0; 10]);
        world.settle();
    }
    assert_eq!(world.errors(a), [(2, ErrorCode::RateLimited)]);
    hits(&world, Bound::UserRate)
}

fn revocations() -> u64 {
    let limits = ShardLimits { revocations_max: 1, ..ShardLimits::default() };
    let (mut world, _, bob) = pair(limits);
    for number in [1, 2] {
        let before_ms = world.now.wall_ms;
        world.handle(0, Event::Revoke { user: bob, device: device(number), before_ms });
    }
    world.shards[0].counters().revocations_forgotten
}
