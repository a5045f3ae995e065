//! What is refused, with which code, and that nothing is left of it.

use std::time::Duration;

use ringpost_shard::event::ConnectionKey;
use ringpost_shard::{Bound, Overload, Rate, ShardLimits};
use ringpost_wire::command::{Content, SendMessage};
use ringpost_wire::{CloseReason, Command, ErrorCode, Event as WireEvent, UserId};

use crate::world::{World, message, message_id};

#[test]
fn a_message_over_the_limit_is_refused_and_one_at_the_limit_passes() {
    let limits = ShardLimits { message_bytes_max: 100, ..ShardLimits::default() };
    let mut world = World::with_limits(1, limits);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.send(a, 1, 1, bob, &[0; 101]);
    world.send(a, 2, 2, bob, &[0; 100]);
    world.settle();
    assert_eq!(world.errors(a), [(1, ErrorCode::TooLarge)]);
    assert_eq!(world.messages(b).len(), 1);
    assert_eq!(world.shards[0].counters().refused(ErrorCode::TooLarge), 1);
}

#[test]
fn plain_text_is_refused_unless_the_configuration_takes_it() {
    for allowed in [false, true] {
        let mut world = World::with(1, ShardLimits::default(), |config| {
            config.plaintext_allowed = allowed;
        });
        let (alice, bob) = (world.user(0, 0), world.user(0, 1));
        let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
        world.settle();
        let plain = SendMessage { content: Content::Plain("hello".into()), ..message(1, bob, b"") };
        world.command(a, 1, Command::SendMessage(plain));
        world.settle();
        let refused: &[_] = if allowed { &[] } else { &[(1, ErrorCode::PlaintextRefused)] };
        assert_eq!(world.errors(a), refused);
        let told = world.messages(b);
        assert_eq!(told.len(), usize::from(allowed));
        assert!(told.iter().all(|message| message.plain && &message.body[..] == b"hello"));
    }
}

#[test]
fn an_unknown_recipient_is_refused_and_remembered_for_a_while() {
    let mut world = World::new(2);
    let (alice, nobody) = (world.user(0, 0), world.user(1, 0));
    let a = world.sign_in(alice, 1);
    world.settle();
    for number in 1..=3 {
        world.send(a, number as u16, number, nobody, b"x");
        world.settle();
    }
    assert_eq!(world.errors(a), [1, 2, 3].map(|tag| (tag, ErrorCode::UnknownRecipient)));
    assert_eq!(world.shards[1].counters().loads, 1, "the store is asked once");
    // Whoever signs in is known at once.
    let b = world.sign_in(nobody, 1);
    world.settle();
    world.send(a, 4, 4, nobody, b"x");
    world.settle();
    assert_eq!(world.messages(b).len(), 1);
    assert_eq!(world.shards[0].gauges().in_flight, 0);
}

#[test]
fn a_user_without_a_device_is_written_to_and_finds_it_in_history() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    world.handle(0, ringpost_shard::Event::CreateUser { user: bob, ticket: 1 });
    let a = world.sign_in(alice, 1);
    world.settle();
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    let id = world.receipts(a)[0].2;
    assert!(world.truth.messages[&id].head.recipient_devices.is_empty());
}

#[test]
fn a_note_to_oneself_reaches_the_other_devices_or_is_refused_where_there_is_none() {
    let mut world = World::new(1);
    let alice = world.user(0, 0);
    let a = world.sign_in(alice, 1);
    world.settle();
    world.send(a, 1, 1, alice, b"note");
    world.settle();
    assert_eq!(world.errors(a), [(1, ErrorCode::NoRecipientDevice)]);
    let other = world.sign_in(alice, 2);
    world.settle();
    world.told(a);
    world.send(a, 2, 1, alice, b"note");
    world.settle();
    let told = world.messages(other);
    assert_eq!((told.len(), told[0].from, told[0].to), (1, alice, alice));
    world.ack(other, 1);
    world.settle();
    let statuses: Vec<_> = world.receipts(a).iter().map(|receipt| receipt.1).collect();
    use ringpost_wire::event::Status;
    assert_eq!(statuses, [Status::Sent, Status::Delivered]);
    assert!(world.receipts(other).is_empty(), "who acked is not told");
}

#[test]
fn rates_refuse_with_the_time_to_wait_and_let_go_on_after_it() {
    let slow = Rate { per_second: 10, burst: 2 };
    for limits in [
        ShardLimits { user_sends: slow, ..ShardLimits::default() },
        ShardLimits { user_bytes: slow, ..ShardLimits::default() },
    ] {
        let is_of_content = limits.user_bytes.burst == slow.burst;
        let mut world = World::with_limits(1, limits);
        let (alice, bob) = (world.user(0, 0), world.user(0, 1));
        let a = world.sign_in(alice, 1);
        world.sign_in(bob, 1);
        world.settle();
        world.told(a);
        for number in 1..=3 {
            world.send(a, number as u16, number, bob, b"x");
        }
        let told = world.told(a);
        let [(3, WireEvent::Error(error))] = &told[..] else { panic!("{told:?}") };
        assert_eq!((error.code, error.retry_after_ms), (ErrorCode::RateLimited, 100));
        assert_eq!(error.message_id, message_id(3));
        assert_eq!(error.detail.contains("content"), is_of_content, "{}", error.detail);
        assert_eq!(world.shards[0].counters().hits.count(Bound::UserRate), 1);
        world.pass(Duration::from_millis(100));
        world.send(a, 4, 3, bob, b"x");
        world.settle();
        assert_eq!(world.receipts(a).len(), 3);
    }
}

#[test]
fn sends_in_flight_are_bounded_per_device_and_in_all() {
    let limits = ShardLimits::default;
    for (limits, bound) in [
        (ShardLimits { in_flight_per_device_max: 2, ..limits() }, Bound::DeviceInFlight),
        (ShardLimits { in_flight_max: 2, ..limits() }, Bound::InFlight),
        (ShardLimits { in_flight_bytes_max: 25, ..limits() }, Bound::InFlight),
    ] {
        let mut world = World::with_limits(2, limits);
        let (alice, bob) = (world.user(0, 0), world.user(1, 0));
        let a = world.sign_in(alice, 1);
        world.sign_in(bob, 1);
        world.settle();
        for number in 1..=3 {
            world.send(a, number as u16, number, bob, &[0; 10]);
        }
        assert_eq!(world.errors(a), [(3, ErrorCode::Overloaded)]);
        assert_eq!(world.shards[0].counters().hits.count(bound), 1);
        world.settle();
        world.send(a, 4, 3, bob, &[0; 10]);
        world.settle();
        assert_eq!(world.receipts(a).len(), 3, "the places are free again");
    }
}

/// What `overloaded` says.
fn detail(world: &mut World, connection: ConnectionKey) -> String {
    let told = world.told(connection);
    let details = told.iter().filter_map(|(_, event)| match event {
        WireEvent::Error(error) if error.code == ErrorCode::Overloaded => Some(&error.detail),
        _ => None,
    });
    details.last().expect("a refusal").clone().into_owned()
}

#[test]
fn overloaded_says_which_limit_it_was_also_from_another_worker() {
    let limits = ShardLimits::default;
    for (limits, bound, sends) in [
        (ShardLimits { in_flight_per_device_max: 2, ..limits() }, Bound::DeviceInFlight, [1, 2, 3]),
        (ShardLimits { in_flight_max: 2, ..limits() }, Bound::InFlight, [1, 2, 3]),
        (ShardLimits { answers_per_send_max: 2, ..limits() }, Bound::Answers, [1, 1, 1]),
        // The recipients live at another worker, which has nobody resident.
        (ShardLimits { loads_max: 1, ..limits() }, Bound::Loads, [1, 2, 3]),
        (ShardLimits { loading_line_max: 2, ..limits() }, Bound::Line, [1, 2, 3]),
    ] {
        let mut world = World::with_limits(2, limits);
        let (alice, bob) = (world.user(0, 0), world.user(1, 0));
        let a = world.sign_in(alice, 1);
        world.settle();
        world.told(a);
        for (tag, number) in (1..).zip(sends) {
            let to = if bound == Bound::Loads { world.user(1, number as usize) } else { bob };
            world.send(a, tag, number, to, b"x");
        }
        world.settle_without_commits();
        let told = detail(&mut world, a);
        assert_eq!(Some(told.as_str()), Overload::At(bound).detail(), "{bound:?}");
    }
}

const PROTOCOL: &str = include_str!("../../../wire/PROTOCOL.md");

#[test]
fn the_specification_lists_what_overloaded_says() {
    let section = PROTOCOL.split("\n### Overloaded\n").nth(1).expect("it is there");
    let listed: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with("Two limits"))
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .skip(1)
        .collect();
    let bounds = Bound::ALL.into_iter().map(Overload::At);
    let said: Vec<_> = bounds.chain([Overload::Store]).filter_map(Overload::detail).collect();
    for text in &said {
        assert!(listed.contains(text), "{text:?} is not listed");
    }
    // That of a token presented in place is not of the shard.
    let others: Vec<_> = listed.iter().filter(|text| !said.contains(text)).collect();
    assert_eq!(others, [&CloseReason::TokensCrowded.text()]);
}

/// A client that keeps to 64 sends without an answer meets no limit of its own, whatever its ids.
#[test]
fn the_two_limits_of_one_device_stand_where_the_specification_says() {
    let limits = ShardLimits::default();
    let (in_flight, line) = (limits.in_flight_per_device_max, limits.look_up_line_max);
    let words: Vec<_> = PROTOCOL.split_whitespace().collect();
    let said = format!("{in_flight} sends without an answer, and {line} sends that wait while");
    assert!(words.join(" ").contains(&said));

    for (recent, max, bound) in
        [(true, in_flight, Bound::DeviceInFlight), (false, line, Bound::LookUpLine)]
    {
        let mut world = World::new(1);
        let (alice, bob) = (world.user(0, 0), world.user(0, 1));
        let a = world.sign_in(alice, 1);
        world.sign_in(bob, 1);
        world.settle();
        world.send(a, 0, 10_000, bob, b"x");
        world.settle();
        world.told(a);
        let first = if recent { 10_001 } else { 1 };
        for number in first..=first + u64::from(max) {
            assert!(world.errors(a).is_empty(), "{} before", number - first);
            world.send(a, 7, number, bob, b"x");
        }
        assert_eq!(Some(detail(&mut world, a).as_str()), Overload::At(bound).detail());
    }
}

#[test]
fn a_failed_journal_answers_everything_in_flight_and_all_that_comes() {
    let mut world = World::new(2);
    let (alice, bob) = (world.user(0, 0), world.user(1, 0));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    world.told(a);
    world.send(a, 2, 2, bob, b"y");
    world.settle_without_commits();
    world.send(a, 3, 3, bob, b"z");
    for worker in [0, 1] {
        world.handle(worker, ringpost_shard::Event::JournalFailed);
        world.handle(worker, ringpost_shard::Event::JournalFailed);
    }
    assert_eq!(world.errors(a), [2, 3].map(|tag| (tag, ErrorCode::Unavailable)), "once each");
    world.settle_without_commits();
    world.send(a, 4, 4, bob, b"z");
    world.send(a, 5, 1, bob, b"x");
    world.ack(b, 1);
    world.handle(0, ringpost_shard::Event::CreateUser { user: UserId([9; 16]), ticket: 3 });
    assert_eq!(world.errors(a), [(4, ErrorCode::Unavailable)]);
    assert_eq!(world.receipts(a).len(), 1, "what was accepted is still known");
    assert_eq!(world.requests_done, [(3, false)]);
    assert_eq!(world.shards[0].gauges().in_flight, 0);
}

#[test]
fn what_was_durable_before_the_failure_is_delivered_though_its_outcome_was_unknown() {
    let mut world = World::new(1);
    let (alice, bob) = (world.user(0, 0), world.user(0, 1));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.send(a, 1, 1, bob, b"x");
    world.step(crate::world::Step::Commit);
    world.handle(0, ringpost_shard::Event::JournalFailed);
    world.settle();
    assert_eq!(world.errors(a), [(1, ErrorCode::Unavailable)]);
    assert!(world.receipts(a).is_empty());
    assert_eq!(world.messages(b).len(), 1);
    world.send(a, 2, 1, bob, b"x");
    world.settle();
    assert_eq!(world.receipts(a).len(), 1, "repeated, it is found in the store");
}

#[test]
fn presence_is_not_offered_and_says_so() {
    let mut world = World::new(1);
    let alice = world.user(0, 0);
    let a = world.sign_in(alice, 1);
    world.settle();
    world.command(a, 1, Command::PresenceSubscribe { users: vec![alice] });
    world.command(a, 2, Command::PresenceUnsubscribe { users: vec![alice] });
    world.command(a, 3, Command::ClientState { active: false });
    assert_eq!(world.errors(a), [1, 2].map(|tag| (tag, ErrorCode::NotSupported)));
}
