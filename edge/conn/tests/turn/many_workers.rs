//! Setup: as many workers as a node may have. Action: people at home on the first, a middle and the
//! last one write to each other. Expectation: each record comes back to its homes: all is answered
//! and delivered.

use ringpost_conn::WORKERS_MAX;
use ringpost_wire::Event;
use ringpost_wire::event::Status;

use crate::client::message;
use crate::world::World;

#[test]
fn a_record_comes_back_to_its_homes_however_many_workers_there_are() {
    let mut world = World::new(WORKERS_MAX, 5);
    let last = usize::from(WORKERS_MAX) - 1;
    let homes = [0, last / 2, last];
    let users = homes.map(|worker| world.user_at(worker, 0));
    let clients = users.map(|user| world.sign_in(0, user, 1));
    for (from, client) in clients.into_iter().enumerate() {
        for (to, user) in users.into_iter().enumerate().filter(|(to, _)| *to != from) {
            world.say(client, &message(10 * from as u64 + to as u64, user, b"x"));
        }
    }
    world.settle();
    for client in clients {
        let told = world.clients[client].take();
        let count = |of: fn(&Event) -> bool| told.iter().filter(|&event| of(event)).count();
        let sent = count(|it| matches!(it, Event::Receipt(it) if it.status == Status::Sent));
        let heard = count(|it| matches!(it, Event::NewMessage(_)));
        assert_eq!((sent, heard), (2, 2), "{told:?}");
    }
}
