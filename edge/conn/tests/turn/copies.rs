//! Setup: a sender and a recipient, at home at different workers or at one, on a ring whose receive
//! buffers hold a whole message. Action: messages of several sizes, kept or not. Expectation: the
//! ledger of copies has ephemeral content once, from where it arrived into the send, and one that is
//! kept once as it leaves the receive buffer (the journal's one copy is counted by the journal).
//! Small content that is kept, or goes to another worker, is copied once more to leave in one piece
//! with what is before it; and nothing else, whatever is done with a message.

use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_wire::Command;
use ringpost_wire::command::SendMessage;

use crate::client::message;
use crate::world::{Setup, World};

/// Below this a body is copied into the send; see `ringpost_conn::outbox`.
const SHARED: usize = ringpost_conn::outbox::SHARED_BODY_BYTES_MIN;

/// Put together of pieces, copied into messages, copied into sends; of both workers.
fn ledger(world: &World) -> [u64; 3] {
    let mut sum = [0; 3];
    for (number, driver) in world.drivers.iter().enumerate() {
        let edge = world.counters(number);
        let copied = driver.worker().shard().counters().copied_bytes;
        let of_one = [edge.assembled_bytes, copied, edge.gathered_bytes];
        sum.iter_mut().zip(of_one).for_each(|(sum, bytes)| *sum += bytes);
    }
    sum
}

fn setup(workers: u16, buffer_bytes: usize) -> Setup {
    let sizes = FakeSizes { socket_bytes: 1 << 17, buffer_bytes, ..FakeSizes::default() };
    Setup { faults: Faults::none(), sizes, ..Setup::new(workers, 1) }
}

/// What one message adds to the ledger, from its bytes to the last ack.
fn copies(workers: u16, buffer_bytes: usize, content_bytes: usize, ephemeral: bool) -> [u64; 3] {
    let mut world = World::with(&setup(workers, buffer_bytes));
    let home_of_bob = usize::from(workers) - 1;
    let (alice, bob) = (world.user_at(0, 0), world.user_at(home_of_bob, 1));
    let (sender, recipient) = (world.sign_in(0, alice, 1), world.sign_in(home_of_bob, bob, 1));
    let before = ledger(&world);
    let content = vec![7; content_bytes];
    let Command::SendMessage(send) = message(1, bob, &content) else { unreachable!() };
    world.say(sender, &Command::SendMessage(SendMessage { ephemeral, ..send }));
    world.settle();
    assert_eq!(world.clients[recipient].take().len(), 1, "it came");
    if !ephemeral {
        world.say(recipient, &Command::Ack { push: 1 });
        world.settle();
        world.say(sender, &Command::Ack { push: 1 });
        world.settle();
    }
    let after = ledger(&world);
    std::array::from_fn(|place| after[place] - before[place])
}

/// Holds what a message adds to the ledger: one with a body below the size that is sent from where
/// it lies, and one from there on.
fn check(workers: u16, ephemeral: bool, small: fn(u64) -> [u64; 3], large: fn(u64) -> [u64; 3]) {
    for (bytes, expected) in [(64, small), (SHARED - 1, small), (SHARED, large), (60_000, large)] {
        let found = copies(workers, 1 << 17, bytes, ephemeral);
        assert_eq!(found, expected(bytes as u64), "{bytes} bytes, {workers} workers, {ephemeral}");
    }
}

#[test]
fn ephemeral_content_is_copied_once_from_where_it_arrived_into_its_send() {
    check(1, true, |bytes| [0, 0, bytes], |bytes| [0, 0, bytes]);
}

#[test]
fn other_content_is_copied_once_and_a_small_body_once_more_into_its_send() {
    check(1, false, |bytes| [0, bytes, bytes], |bytes| [0, bytes, 0]);
    for ephemeral in [true, false] {
        check(2, ephemeral, |bytes| [0, bytes, bytes], |bytes| [0, bytes, 0]);
    }
}

#[test]
fn a_frame_that_came_in_pieces_is_put_together_once() {
    for (ephemeral, once) in [(true, (0, 60_000)), (false, (60_000, 0))] {
        let [assembled, copied, gathered] = copies(1, 4_096, 60_000, ephemeral);
        assert_eq!((copied, gathered), once);
        // The content and the few fields before it.
        assert!((60_000..60_200).contains(&assembled), "{assembled}");
    }
}
