//! Setup: sessions, handshakes and moves of two workers. Action: both are told to drain.
//! Expectation: sessions hear `goaway` and are kept until their slot, newcomers hear it in place of a
//! `welcome`, and by the deadline nobody is left, also nobody who was on the way from one worker to
//! the other.

use std::time::Duration;

use ringpost_conn::{ConnectionConfig, Letter};
use ringpost_wire::command::Credential;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::{CloseCode, Command, Event};

use crate::client::{End, hello, message};
use crate::world::World;

const REQUEST: &str = "GET /v1/messages HTTP/1.1\r\nHost: here\r\n\r\n";
const UPGRADE: &str = "GET /v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const SEEDS: u64 = 15;

/// What a drain may take.
const WITHIN: Duration = Duration::from_secs(16);

fn drain(world: &mut World) {
    for mailbox in &mut world.mailboxes {
        mailbox.letters.push_back(Letter::Drain { within: WITHIN });
    }
    world.settle();
}

fn deadline() -> Duration {
    WITHIN + ConnectionConfig::default().close_deadline + Duration::from_millis(500)
}

/// What a client was told of the drain: when to come back.
fn slot(told: &[Event]) -> Duration {
    let [Event::GoAway { code, reconnect_after_ms }] = told else { panic!("{told:?}") };
    assert_eq!(*code, CloseCode::GoingAway);
    Duration::from_millis(u64::from(*reconnect_after_ms))
}

fn check_drained(world: &World) {
    world.check_nothing_is_left();
    assert!(world.drivers.iter().all(|driver| driver.worker().is_drained()));
}

#[test]
fn sessions_are_told_and_may_finish_and_nobody_new_comes_in() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let (a, b) = (world.sign_in(1, alice, 1), world.sign_in(1, bob, 1));
        let waiting = world.connect(0);
        world.clients[waiting].write(&PREAMBLE);
        world.settle();
        drain(&mut world);
        for client in [a, b] {
            assert!(slot(&world.clients[client].take()) <= WITHIN / 2, "seed {seed}");
        }
        let code = world.clients[waiting].close_code();
        assert_eq!(code, Some(CloseCode::GoingAway), "who has no session is closed at once");
        // Sessions go on until they leave.
        world.say(a, &message(1, bob, b"a last one"));
        world.settle();
        assert!(matches!(world.clients[a].take()[..], [Event::Receipt(_)]), "seed {seed}");
        assert!(matches!(world.clients[b].take()[..], [Event::NewMessage(_)]), "seed {seed}");
        world.say(a, &Command::Bye);
        world.settle();
        assert_eq!(world.clients[a].close_code(), Some(CloseCode::Normal));
        [a, waiting].iter().for_each(|&client| world.clients[client].hang_up());
        world.pass(WITHIN * 3 / 4 + Duration::from_millis(500));
        let code = world.clients[b].close_code();
        assert_eq!(code, Some(CloseCode::GoingAway), "who stays is closed at the deadline");
        world.pass(ConnectionConfig::default().close_deadline);
        check_drained(&world);
    }
}

/// Nobody is closed before the slot that it was told, and the last slot leaves time for who is late.
#[test]
fn slots_are_kept_and_fit_into_the_time() {
    let mut world = World::new(2, 1);
    let clients: Vec<_> = (0..40)
        .map(|nth| {
            let user = world.user_at(nth % 2, nth / 2);
            world.sign_in(nth % 2, user, 1)
        })
        .collect();
    drain(&mut world);
    let slots: Vec<_> = clients.iter().map(|&it| slot(&world.clients[it].take())).collect();
    let (first, last) = (slots.iter().min().unwrap(), slots.iter().max().unwrap());
    assert!(*last <= WITHIN / 2, "{last:?}");
    assert!(*last - *first > WITHIN / 4, "they are spread: {slots:?}");
    let step = WITHIN / 32;
    for passed in (1..).map(|steps| step * steps).take_while(|passed| *passed < WITHIN * 3 / 4) {
        world.pass(step);
        for (&client, slot) in clients.iter().zip(&slots) {
            assert!(world.clients[client].is_connected(), "at {passed:?}, told {slot:?}");
        }
    }
    world.pass(step * 2);
    for &client in &clients {
        assert_eq!(world.clients[client].close_code(), Some(CloseCode::GoingAway));
    }
    world.pass(ConnectionConfig::default().close_deadline);
    check_drained(&world);
}

/// Who comes while others are waited for hears when to come back, and not before it has said how it
/// speaks; a request of REST is answered as always.
#[test]
fn newcomers_are_told_when_to_come_back() {
    for seed in 0..SEEDS {
        let mut world = World::new(1, seed);
        let (alice, bob) = (world.user_at(0, 0), world.user_at(0, 1));
        let stays = world.sign_in(0, alice, 1);
        let early = world.connect(0);
        world.settle();
        drain(&mut world);
        let left = WITHIN / 4;
        world.pass(WITHIN / 2 - left);
        world.clients[early].write(&PREAMBLE);
        let newcomer = world.greet(0, bob, 1);
        let upgrade = world.connect(0);
        let rest = world.connect(0);
        for (client, request) in [(upgrade, UPGRADE), (rest, REQUEST)] {
            world.clients[client].raw = Some(Vec::new());
            world.clients[client].write(request.as_bytes());
        }
        world.settle();
        for client in [early, newcomer] {
            let told = world.clients[client].take();
            let (last, before) = told.split_last().expect("told something");
            let slot = slot(before);
            assert!(slot >= left && slot <= left + WITHIN / 2, "seed {seed}: {slot:?}");
            assert!(matches!(last, Event::Close { code: CloseCode::GoingAway, .. }));
        }
        let told = world.clients[upgrade].raw.take().expect("raw bytes are kept");
        let told = String::from_utf8_lossy(&told).into_owned();
        let (head, frames) = told.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 101"), "seed {seed}: {told}");
        let places = ["\"type\":\"goaway\"", "\u{3}\u{fffd}"].map(|it| frames.find(it));
        assert!(places[0].is_some() && places[0] < places[1], "then 1001: {frames:?}");
        assert_eq!(world.drivers[0].handed_over.len(), 1);
        assert!(world.clients[stays].is_connected());
        // Who comes does not keep the worker when the last session has left.
        world.clients[stays].hang_up();
        world.settle();
        let late = world.connect(0);
        world.settle();
        assert_eq!(world.clients[late].end, Some(End::Reset), "seed {seed}");
        [early, newcomer, upgrade, rest].iter().for_each(|&it| world.clients[it].hang_up());
        world.settle();
        check_drained(&world);
    }
}

/// The kernel lets newcomers come to any worker: all go on accepting while one has sessions, and
/// none does any more when none has.
#[test]
fn a_worker_without_sessions_answers_newcomers_as_long_as_another_has_some() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let alice = world.user_at(0, 0);
        let stays = world.sign_in(0, alice, 1);
        drain(&mut world);
        for (worker, nth) in [(1, 1), (0, 2), (1, 3)] {
            let user = world.user_at(worker, nth);
            let newcomer = world.greet(worker, user, 1);
            world.settle();
            let told = world.clients[newcomer].take();
            let (last, before) = told.split_last().expect("told something");
            assert!(slot(before) >= WITHIN / 4, "seed {seed}");
            assert!(matches!(last, Event::Close { code: CloseCode::GoingAway, .. }));
            world.clients[newcomer].hang_up();
            world.pass(Duration::from_secs(1));
        }
        world.clients[stays].hang_up();
        // The other one looks now and then.
        world.pass(Duration::from_millis(100));
        let late = [0, 1].map(|worker| world.connect(worker));
        world.settle();
        for client in late {
            assert_eq!(world.clients[client].end, Some(End::Reset), "seed {seed}");
        }
        check_drained(&world);
    }
}

#[test]
fn who_had_come_to_a_worker_without_sessions_hears_it_too() {
    let mut world = World::new(1, 1);
    let (early, silent) = (world.connect(0), world.connect(0));
    world.settle();
    drain(&mut world);
    let late = world.connect(0);
    world.settle();
    assert_eq!(world.clients[late].end, Some(End::Reset), "nobody accepts any more");
    world.clients[early].write(&PREAMBLE);
    world.settle();
    let told = world.clients[early].take();
    slot(&told[..1]);
    assert!(matches!(told[1], Event::Close { code: CloseCode::GoingAway, .. }));
    world.clients[early].hang_up();
    world.settle();
    assert!(!world.drivers[0].worker().is_drained());
    world.pass(ConnectionConfig::default().handshake_deadline + Duration::from_millis(500));
    assert!(!world.clients[silent].is_connected(), "who says nothing is not waited for longer");
    check_drained(&world);
}

#[test]
fn a_drain_ends_as_soon_as_the_last_client_has_left() {
    let mut world = World::new(2, 3);
    let user = world.user_at(0, 0);
    let client = world.sign_in(1, user, 1);
    drain(&mut world);
    assert!(!world.drivers[0].worker().is_drained());
    world.clients[client].hang_up();
    world.settle();
    check_drained(&world);
}

/// In every moment of its way a connection is found by the drain, or by its end.
#[test]
fn who_is_on_the_move_is_gone_by_the_deadline() {
    for seed in 0..4 * SEEDS {
        for rounds in 0..25 {
            let mut world = World::new(2, seed);
            let user = world.user_at(1, 0);
            let client = world.greet(0, user, 1);
            for _ in 0..rounds {
                world.round();
            }
            drain(&mut world);
            world.pass(deadline());
            let told = world.clients[client].take();
            assert!(
                !world.clients[client].is_connected(),
                "seed {seed}, drained after {rounds} rounds: {told:?}"
            );
            check_drained(&world);
        }
    }
}

#[test]
fn a_connection_that_comes_home_after_the_drain_is_sent_away() {
    for seed in 0..SEEDS {
        let mut world = World::new(2, seed);
        let user = world.user_at(1, 0);
        world.mailboxes[1].held = true;
        let client = world.greet(0, user, 1);
        world.settle();
        world.mailboxes[1].letters.push_front(Letter::Drain { within: WITHIN });
        world.mailboxes[0].letters.push_back(Letter::Drain { within: WITHIN });
        world.mailboxes[1].held = false;
        world.settle();
        assert_eq!(world.clients[client].close_code(), Some(CloseCode::GoingAway), "seed {seed}");
        world.clients[client].hang_up();
        world.pass(deadline());
        check_drained(&world);
    }
}

/// The shard takes a sign-in in one turn and is told of the end in the same turn: what it answered
/// must not open the connection again.
#[test]
fn a_sign_in_that_meets_the_drain_is_welcomed_or_ended_and_never_both() {
    let (mut welcomed, mut ended) = (0, 0);
    for seed in 0..SEEDS {
        for rounds in 0..12 {
            let mut world = World::new(1, seed);
            let user = world.user_at(0, 0);
            let first = world.greet(0, user, 1);
            world.settle();
            let told = world.clients[first].take();
            let [Event::Welcome(welcome), ..] = &told[..] else { panic!("{told:?}") };
            let client = world.connect(0);
            let ticket = Credential::Ticket(welcome.ticket.to_vec().into());
            world.clients[client].write(&hello(ticket, 1, 0));
            for _ in 0..rounds {
                world.round();
            }
            drain(&mut world);
            let is_welcome = |(_, event): &(u16, Event)| matches!(event, Event::Welcome(_));
            let heard = &world.clients[client].heard;
            if heard.iter().any(is_welcome) {
                assert!(heard.iter().any(|(_, event)| matches!(event, Event::GoAway { .. })));
                welcomed += 1;
            } else {
                let end = world.clients[client].end;
                assert!(end.is_some(), "seed {seed}, drained after {rounds} rounds: still open");
                ended += 1;
            }
        }
    }
    assert!(welcomed > 0 && ended > 0, "{welcomed} welcomed, {ended} ended");
}
