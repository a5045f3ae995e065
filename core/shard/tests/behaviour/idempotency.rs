//! The same message id again: the same answer, one delivery; another content: conflict. In
//! flight, from the cache, from the store, and after a restart.

use ringpost_shard::event::ConnectionKey;
use ringpost_shard::{Bound, Event, ShardLimits};
use ringpost_wire::{Command, ErrorCode, Event as WireEvent, ServerId, UserId};

use crate::world::{World, message, message_id};

fn pair(workers: u16, limits: ShardLimits) -> (World, ConnectionKey, ConnectionKey, UserId) {
    let mut world = World::with_limits(workers, limits);
    let (alice, bob) = (world.user(0, 0), world.user(workers - 1, 1));
    let (a, b) = (world.sign_in(alice, 1), world.sign_in(bob, 1));
    world.settle();
    world.told(a);
    world.told(b);
    (world, a, b, bob)
}

#[test]
fn abuse_row_22_a_repetition_in_flight_waits_for_the_same_answer() {
    let (mut world, a, b, bob) = pair(2, ShardLimits::default());
    world.send(a, 1, 1, bob, b"x");
    world.send(a, 2, 1, bob, b"x");
    world.settle();
    let sent = world.receipts(a);
    assert_eq!(sent.iter().map(|sent| sent.3).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(sent[0].2, sent[1].2);
    assert_eq!(world.messages(b).len(), 1);
}

/// The refusals told since the last look: tag, code, and the id that a conflict names.
fn refused(world: &mut World, connection: ConnectionKey) -> Vec<(u16, ErrorCode, ServerId)> {
    let told = world.told(connection).into_iter();
    told.filter_map(|(tag, event)| match event {
        WireEvent::Error(error) => Some((tag, error.code, error.id)),
        _ => None,
    })
    .collect()
}

#[test]
fn a_conflict_waits_for_the_first_and_names_it_and_later_sends_wait_behind() {
    for workers in [1, 2] {
        let (mut world, a, b, bob) = pair(workers, ShardLimits::default());
        world.send(a, 1, 1, bob, b"x");
        world.send(a, 2, 1, bob, b"other content");
        world.send(a, 3, 2, bob, b"later");
        world.send(a, 4, 1, bob, b"third content");
        assert!(world.told(a).is_empty(), "nothing is known yet");
        world.settle();
        let told = world.told(a);
        let tags: Vec<_> = told.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, [1, 2, 4, 3], "answers come as they are known");
        let accepted: Vec<ServerId> = told
            .iter()
            .filter_map(|(_, event)| match event {
                WireEvent::Receipt(receipt) => Some(receipt.id),
                WireEvent::Error(error) => {
                    assert_eq!(error.code, ErrorCode::Conflict);
                    Some(error.id)
                }
                _ => None,
            })
            .collect();
        assert_eq!(accepted[..3], [accepted[0]; 3], "each conflict names the first");
        let bodies: Vec<_> = world.messages(b).into_iter().map(|it| it.body).collect();
        assert_eq!(bodies, [&b"x"[..], b"later"]);
        assert_eq!(world.shards[0].gauges().waiting_bytes, 0);
    }
}

#[test]
fn where_the_first_is_refused_the_second_is_judged_anew() {
    let (mut world, a, b, bob) = pair(2, ShardLimits::default());
    let nobody = world.user(1, 9);
    world.send(a, 1, 1, nobody, b"x");
    world.send(a, 2, 1, bob, b"to somebody who exists");
    world.send(a, 3, 2, bob, b"later");
    world.settle();
    let told = world.told(a);
    assert!(
        matches!(&told[..], [(1, WireEvent::Error(error)), (2, _), (3, _)]
            if error.code == ErrorCode::UnknownRecipient),
        "{told:?}"
    );
    let bodies: Vec<_> = world.messages(b).into_iter().map(|it| it.body).collect();
    assert_eq!(bodies, [&b"to somebody who exists"[..], b"later"]);
}

#[test]
fn what_waits_for_the_first_is_bounded_and_answered_when_the_journal_fails() {
    let limits = ShardLimits { look_up_line_max: 2, ..ShardLimits::default() };
    let (mut world, a, _, bob) = pair(1, limits);
    world.send(a, 1, 1, bob, b"x");
    for tag in 2..=4 {
        world.send(a, tag, 1, bob, b"other content");
    }
    let nil = ServerId::default();
    assert_eq!(refused(&mut world, a), [(4, ErrorCode::Overloaded, nil)]);
    world.handle(0, Event::JournalFailed);
    let told = refused(&mut world, a);
    let unavailable = |tag| (tag, ErrorCode::Unavailable, nil);
    assert_eq!(told, [unavailable(1), unavailable(2), unavailable(3)]);
    assert_eq!(world.shards[0].gauges().waiting_bytes, 0);
}

#[test]
fn answers_owed_for_one_send_are_bounded() {
    let limits = ShardLimits { answers_per_send_max: 2, ..ShardLimits::default() };
    let (mut world, a, _, bob) = pair(1, limits);
    for tag in 1..=3 {
        world.send(a, tag, 1, bob, b"x");
    }
    assert_eq!(world.errors(a), [(3, ErrorCode::Overloaded)]);
    assert_eq!(world.shards[0].counters().hits.count(Bound::Answers), 1);
}

#[test]
fn abuse_row_22_a_repetition_of_what_was_accepted_gets_the_same_answer_from_cache_and_store() {
    let limits = ShardLimits { accepted_cache_max: 1, ..ShardLimits::default() };
    let (mut world, a, b, bob) = pair(2, limits);
    for number in 1..=2 {
        world.send(a, number as u16, number, bob, b"x");
        world.settle();
    }
    let sent = world.receipts(a);
    world.send(a, 12, 2, bob, b"x");
    assert_eq!(world.receipts(a), [(0, sent[1].1, sent[1].2, 12)], "cached: at once");
    world.send(a, 11, 1, bob, b"x");
    assert!(world.told(a).is_empty(), "the store is asked");
    world.settle();
    assert_eq!(world.receipts(a), [(0, sent[0].1, sent[0].2, 11)]);
    assert_eq!(world.messages(b).len(), 2);
    let counters = world.shards[0].counters();
    assert_eq!((counters.duplicates_answered, counters.look_ups), (2, 1));
}

#[test]
fn abuse_row_22_a_conflict_names_what_was_accepted() {
    let (mut world, a, _, bob) = pair(1, ShardLimits::default());
    world.send(a, 1, 1, bob, b"x");
    world.settle();
    let id = world.receipts(a)[0].2;
    let answered = |world: &mut World, tag| {
        let told = world.told(a);
        let [(told_tag, WireEvent::Error(error))] = &told[..] else { panic!("{told:?}") };
        assert_eq!((*told_tag, error.code, error.id), (tag, ErrorCode::Conflict, id));
        assert_eq!(error.message_id, message_id(1));
    };
    world.send(a, 2, 1, bob, b"other content");
    answered(&mut world, 2);
    let elsewhere = world.user(0, 7);
    world.send(a, 3, 1, elsewhere, b"x");
    answered(&mut world, 3);
    let reply =
        ringpost_wire::command::SendMessage { reply_to: Some([1; 16]), ..message(1, bob, b"x") };
    world.command(a, 4, Command::SendMessage(reply));
    answered(&mut world, 4);
    // The client's clock is not part of the content.
    let later =
        ringpost_wire::command::SendMessage { client_timestamp_ms: 99, ..message(1, bob, b"x") };
    world.command(a, 5, Command::SendMessage(later));
    assert_eq!(world.receipts(a)[0].2, id);
}

#[test]
fn abuse_row_23_a_repetition_after_a_restart_is_found_in_the_store() {
    let (mut world, a, _, bob) = pair(2, ShardLimits::default());
    world.send(a, 1, 5, bob, b"x");
    world.settle();
    let id = world.receipts(a)[0].2;
    world.crash(3, 0);
    let alice = world.truth.users().find(|&user| user != bob).expect("two users");
    let (a, b) = (world.resume(alice, 1), world.resume(bob, 1));
    world.send(a, 8, 5, bob, b"x");
    world.send(a, 9, 5, bob, b"y");
    world.send(a, 10, 6, bob, b"z");
    world.settle();
    let told = world.told(a);
    let receipts: Vec<_> = told
        .iter()
        .filter_map(|(tag, event)| match event {
            WireEvent::Receipt(receipt) => Some((*tag, receipt.id == id)),
            _ => None,
        })
        .collect();
    assert_eq!(receipts, [(8, true), (10, false)]);
    assert!(told.iter().any(|(tag, event)| {
        *tag == 9 && matches!(event, WireEvent::Error(error) if error.code == ErrorCode::Conflict)
    }));
    assert_eq!(world.messages(b).len(), 2, "the queue's one and the new one, no copy");
}

#[test]
fn abuse_row_23_the_same_id_from_another_device_is_a_message_of_its_own() {
    let (mut world, a, b, bob) = pair(1, ShardLimits::default());
    let alice = world.user(0, 0);
    let second = world.sign_in(alice, 2);
    world.settle();
    world.send(a, 1, 1, bob, b"x");
    world.send(second, 1, 1, bob, b"y");
    world.settle();
    assert_eq!(world.messages(b).len(), 2);
}

#[test]
fn what_was_accepted_stays_accepted_when_a_rate_or_a_limit_changed_its_mind() {
    let (mut world, a, _, bob) = pair(1, ShardLimits::default());
    world.send(a, 1, 1, bob, &[7; 1000]);
    world.settle();
    let id = world.receipts(a)[0].2;
    world.config.limits.message_bytes_max = 10;
    world.crash(1, 0);
    let alice = world.user(0, 0);
    let a = world.sign_in(alice, 1);
    world.settle();
    world.told(a);
    world.send(a, 2, 1, bob, &[7; 1000]);
    world.send(a, 3, 2, bob, &[7; 1000]);
    world.settle();
    let errors = world.errors(a);
    assert_eq!(errors, [(3, ErrorCode::TooLarge)]);
    assert_eq!(world.receipts(a)[0].2, id);
}

#[test]
fn sends_behind_a_look_up_wait_in_a_bounded_line_and_keep_their_order() {
    let limits =
        ShardLimits { accepted_cache_max: 1, look_up_line_max: 3, ..ShardLimits::default() };
    let (mut world, a, b, bob) = pair(2, limits);
    for number in [5, 6] {
        world.send(a, 0, number, bob, b"x");
        world.settle();
    }
    world.told(a);
    world.messages(b);
    for number in [5, 7, 8, 9] {
        world.send(a, number as u16, number, bob, b"x");
    }
    assert_eq!(world.errors(a), [(9, ErrorCode::Overloaded)]);
    assert!(world.told(a).is_empty(), "the later ones wait");
    world.settle();
    assert_eq!(world.receipts(a).iter().map(|sent| sent.3).collect::<Vec<_>>(), [5, 7, 8]);
    let new: Vec<_> = world.messages(b).iter().map(|message| message.message_id).collect();
    assert_eq!(new, [7, 8].map(message_id));
    assert_eq!(world.shards[0].gauges().waiting_bytes, 0);
    let counters = world.shards[0].counters();
    assert_eq!((counters.hits.count(Bound::LookUpLine), counters.look_ups), (1, 1));
}
