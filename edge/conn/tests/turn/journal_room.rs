//! Setup: a journal that takes one record at a time, and a client with several messages. Action:
//! all of them are committed in one turn. Expectation: all are answered, in order: what waits for
//! the journal may be more than it ever takes at once, and must not wait for ever.

use ringpost_wire::Event;
use ringpost_wire::event::Status;

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
