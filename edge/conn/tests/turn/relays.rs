//! Setup: users at home at one worker who come back together, and write to one another right behind
//! their `hello`, while one who stayed writes to them all the time. Action: any order that the seed
//! gives. Expectation: an ephemeral message, which is written while its bytes are still where they
//! arrived, overtakes nothing that was to be said before it: each is welcomed first.

use ringpost_wire::command::Credential;
use ringpost_wire::{Event, UserId};

use crate::client::{ephemeral, hello};
use crate::world::World;

const SEEDS: u64 = 200;
const RETURNING: usize = 4;
const ROUNDS: u64 = 60;

/// Signs in and leaves; answers the ticket to come back with, which is checked at once.
fn leave(world: &mut World, user: UserId) -> Vec<u8> {
    let client = world.greet(0, user, 1);
    world.settle();
    let told = world.clients[client].take();
    let [Event::Welcome(welcome), ..] = &told[..] else { panic!("{told:?}") };
    world.clients[client].hang_up();
    welcome.ticket.to_vec()
}

#[test]
fn an_ephemeral_message_overtakes_no_welcome() {
    let mut came = 0;
    for seed in 1..=SEEDS {
        let mut world = World::new(1, seed);
        let users: Vec<_> = (0..=RETURNING).map(|nth| world.user_at(0, nth)).collect();
        let (stayed, returning) = users.split_first().expect("somebody stays");
        let writer = world.sign_in(0, *stayed, 1);
        let tickets: Vec<_> = returning.iter().map(|&user| leave(&mut world, user)).collect();
        world.settle();
        let mut clients = Vec::new();
        for (nth, ticket) in tickets.into_iter().enumerate() {
            let client = world.connect(0);
            clients.push(client);
            world.clients[client].write(&hello(Credential::Ticket(ticket.into()), 1, 0));
            for &to in returning.iter().cycle().skip(nth + 1).take(RETURNING - 1) {
                world.say(client, &ephemeral(1, to));
            }
        }
        for number in 0..ROUNDS {
            let to = returning[number as usize % RETURNING];
            world.say(writer, &ephemeral(2 + number, to));
            world.round();
        }
        world.settle();
        for (&client, user) in clients.iter().zip(returning) {
            let told = world.clients[client].take();
            let welcome = matches!(told.first(), Some(Event::Welcome(_)));
            assert!(welcome, "seed {seed}: {user} is welcomed first: {told:?}");
            came += told.iter().filter(|event| matches!(event, Event::NewMessage(_))).count();
        }
    }
    assert!(came > 0, "some found their receiver");
}
