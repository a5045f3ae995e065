//! Setup: a sender and a recipient at home at different workers. Action: many messages come in one
//! turn. Expectation: they travel as one letter for each peer and turn, in the order of sending.

use ringpost_conn::Letter;
use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_shard::mail::Mail;

use crate::client::{message, message_id};
use crate::world::{Setup, World};

const MESSAGES: u64 = 60;

#[test]
fn the_mail_of_a_turn_is_one_letter_for_each_peer() {
    let sizes = FakeSizes { buffer_bytes: 16 << 10, ..FakeSizes::default() };
    let mut world = World::with(&Setup { faults: Faults::none(), sizes, ..Setup::new(3, 1) });
    let sender = world.user_at(0, 0);
    let recipients = [world.user_at(1, 0), world.user_at(2, 0)];
    let client = world.sign_in(0, sender, 1);
    for user in recipients {
        world.sign_in(0, user, 1);
    }
    world.mailboxes.iter_mut().skip(1).for_each(|mailbox| mailbox.held = true);
    for number in 1..=MESSAGES {
        let to = recipients[number as usize % 2];
        world.say(client, &message(number, to, b"x"));
    }
    world.settle();
    for (worker, parity) in [(1, 0), (2, 1)] {
        let letters: Vec<_> = world.mailboxes[worker].letters.drain(..).collect();
        let [Letter::Mail { from, mail }] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!(from.0, 0);
        let sent = mail.iter().map(|mail| match mail {
            Mail::Send(request) => request.message_id,
            other => panic!("only sends were asked for: {other:?}"),
        });
        let expected = (1..=MESSAGES).filter(|number| number % 2 == parity).map(message_id);
        assert!(sent.eq(expected), "worker {worker} gets its own, in order");
    }
}
