//! Setup: two users on one worker, then on two. Action: one writes to the other, who acks.
//! Expectation: `sent`, the push, the `delivered` receipt, and an empty queue at the end.

use ringpost_wire::Event as WireEvent;
use ringpost_wire::event::Status;

use crate::world::World;

fn check(workers: u16) {
    let mut world = World::new(workers);
    let (alice, bob) = (world.user(0, 0), world.user(workers - 1, 1));
    let a = world.sign_in(alice, 1);
    let b = world.sign_in(bob, 1);
    world.settle();
    assert_eq!(world.told(b), [(0, WireEvent::QueueEmpty { gap: None })]);
    world.told(a);

    world.send(a, 42, 1, bob, b"ciphertext");
    world.settle_without_commits();
    assert!(world.told(a).is_empty() && world.told(b).is_empty(), "nothing before it is durable");
    world.settle();
    let sent = world.receipts(a);
    let [(0, Status::Sent, id, 42)] = sent[..] else { panic!("{sent:?}") };
    let pushed = world.messages(b);
    assert_eq!(pushed.len(), 1);
    assert_eq!((pushed[0].push, pushed[0].id, pushed[0].from), (1, id, alice));
    assert_eq!(&pushed[0].body[..], b"ciphertext");

    world.ack(b, 1);
    world.settle();
    assert_eq!(world.receipts(a), [(1, Status::Delivered, id, 0)]);
    world.ack(a, 1);
    world.settle();
    for user in [alice, bob] {
        let image = world.truth.image(user).expect("the user exists");
        assert!(image.devices[0].entries.is_empty() && image.devices[0].receipts.is_empty());
    }
}

#[test]
fn a_message_goes_from_sent_to_delivered_on_one_worker() {
    check(1);
}

#[test]
fn a_message_goes_from_sent_to_delivered_between_workers() {
    check(2);
    check(3);
}
