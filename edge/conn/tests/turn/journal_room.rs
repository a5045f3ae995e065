//! Setup: a journal that takes one record at a time, or takes on no more work, and a client with
//! messages. Expectation: what waits for the journal may be more than it ever takes at once, and does
//! not wait for ever; what cannot be kept is refused at once, with when to come again.

use ringpost_shard::{Bound, Shortage};
use ringpost_wire::event::Status;
use ringpost_wire::{ErrorCode, Event};

use crate::client::message;
use crate::world::World;

const MESSAGES: u64 = 20;

#[test]
fn more_than_the_journal_takes_at_once_is_committed_in_parts() {
    let mut world = World::new(1, 3);
    let (alice, bob) = (world.user_at(0, 0), world.user_at(0, 1));
    let sender = world.sign_in(0, alice, 1);
    world.sign_in(0, bob, 1);
    world.journal.batch_records_max = 1;
    for number in 1..=MESSAGES {
        world.say(sender, &message(number, bob, b"x"));
    }
    world.settle();
    let told = world.clients[sender].take();
    let sent: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::Receipt(receipt) if receipt.status == Status::Sent => Some(receipt.id),
            _ => None,
        })
        .collect();
    assert_eq!(sent.len() as u64, MESSAGES, "{told:?}");
    assert!(sent.is_sorted(), "{sent:?}");
}

#[test]
fn a_send_that_cannot_be_kept_is_refused_at_once_and_taken_when_there_is_room() {
    let mut world = World::new(2, 3);
    let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
    let sender = world.sign_in(0, alice, 1);
    let recipient = world.sign_in(1, bob, 1);
    let reasons = [
        (Shortage::JournalBudget, Bound::JournalBudget),
        (Shortage::Unapplied, Bound::Unapplied),
        (Shortage::Disk, Bound::Disk),
    ];
    for (round, (shortage, own)) in reasons.into_iter().enumerate() {
        world.journal.shortage = Some(shortage);
        world.settle();
        world.say(sender, &message(1, bob, b"x"));
        world.settle();
        let told = world.clients[sender].take();
        let [.., Event::Error(error)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(error.code, ErrorCode::Overloaded);
        assert!(error.retry_after_ms > 0);
        let hits = world.drivers[0].worker().shard().counters().hits;
        assert_eq!(hits.count(own), 1, "{own:?} is what refused");
        let all: u64 = reasons.iter().map(|(_, bound)| hits.count(*bound)).sum();
        assert_eq!(all, round as u64 + 1, "each refused send is counted once");
    }

    world.journal.shortage = None;
    world.settle();
    world.say(sender, &message(1, bob, b"x"));
    world.settle();
    let told = world.clients[sender].take();
    let is_sent = |event: &Event| matches!(event, Event::Receipt(it) if it.status == Status::Sent);
    assert!(told.iter().any(is_sent), "{told:?}");
    assert!(world.clients[recipient].take().iter().any(|it| matches!(it, Event::NewMessage(_))));
}
