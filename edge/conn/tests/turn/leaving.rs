//! A client ends its direction, or says `bye`, right behind what it asked.
//!
//! Setup: signed in, cold or hot, alone or far from home. Action: a send, and the end, in one write
//! or apart. Expectation: the answer comes, then the last word, then the end; nothing is left over;
//! what is never answered holds the connection for `leaving_deadline` at most.

use std::time::Duration;

use ringpost_conn::config::ConnectionConfig;
use ringpost_wire::{CloseCode, Command, ErrorCode, Event};

use crate::client::{End, message};
use crate::world::World;

/// What a client that left was told: the answer, then the last word. Who had its answer before it
/// ended its direction is owed nothing, and hears no word.
fn is_answered(told: &[Event], is_bye: bool) -> bool {
    match told {
        [Event::Receipt(_), Event::Close { code: CloseCode::Normal, .. }] => true,
        [Event::Receipt(_)] => !is_bye,
        _ => false,
    }
}

#[test]
fn a_half_close_or_a_bye_behind_a_send_leaves_the_answer() {
    for seed in 0..60 {
        let (is_bye, is_hot, is_apart) = (seed % 2 == 0, seed % 4 < 2, seed % 8 < 4);
        let mut world = World::new(2, seed);
        let (alice, bob) = (world.user_at(0, 0), world.user_at(1, 0));
        let (a, b) = (world.sign_in(seed as usize / 8 % 2, alice, 1), world.sign_in(1, bob, 1));
        if is_hot {
            for nonce in 0..3 {
                world.say(a, &Command::Ping { nonce });
                world.settle();
            }
        }
        world.clients[a].take();
        world.say(a, &message(1, bob, b"the last word"));
        for _ in 0..if is_apart { 4 } else { 0 } {
            world.round();
        }
        match is_bye {
            true => world.say(a, &Command::Bye),
            false => {
                while world.clients[a].has_unsent() {
                    world.round();
                }
                world.clients[a].shutdown_write();
            }
        }
        world.settle();
        let told = world.clients[a].take();
        assert!(is_answered(&told, is_bye), "seed {seed}: {told:?}");
        assert_eq!(world.clients[a].end, Some(End::Orderly), "seed {seed}");
        world.clients[a].hang_up();
        assert!(world.clients[b].take().iter().any(|it| matches!(it, Event::NewMessage(_))));
        world.clients[b].hang_up();
        world.settle();
        world.pass(ConnectionConfig::default().close_deadline);
        world.check_nothing_is_left();
    }
}

#[test]
fn nothing_said_behind_the_end_is_a_command() {
    for seed in 0..20 {
        let mut world = World::new(1, seed);
        let (alice, bob) = (world.user_at(0, 0), world.user_at(0, 1));
        let (a, b) = (world.sign_in(0, alice, 1), world.sign_in(0, bob, 1));
        world.clients[b].take();
        for (number, command) in
            [&message(1, bob, b"x"), &Command::Bye, &message(2, bob, b"y")].into_iter().enumerate()
        {
            world.clients[a].say(number as u16, command);
        }
        world.settle();
        let told = world.clients[a].take();
        assert!(told.iter().filter(|it| matches!(it, Event::Receipt(_))).count() == 1, "{told:?}");
        let shown = world.clients[b].take();
        assert_eq!(shown.iter().filter(|it| matches!(it, Event::NewMessage(_))).count(), 1);
    }
}

#[test]
fn who_is_owed_what_never_comes_is_let_go_at_the_deadline() {
    let mut world = World::new(1, 1);
    let (alice, bob) = (world.user_at(0, 0), world.user_at(0, 1));
    let a = world.sign_in(0, alice, 1);
    world.sign_in(0, bob, 1);
    world.clients[a].take();
    world.journal.held = true;
    world.say(a, &message(1, bob, b"x"));
    world.say(a, &Command::Bye);
    let deadline = ConnectionConfig::default().leaving_deadline;
    world.pass(deadline - Duration::from_secs(1));
    assert!(world.clients[a].take().is_empty() && world.clients[a].is_connected());
    world.pass(Duration::from_secs(2));
    assert_eq!(world.clients[a].close_code(), Some(CloseCode::TryLater));
    assert_eq!(world.counters(0).leavings_late, 1);
}

#[test]
fn a_second_auth_takes_no_tag_and_both_are_answered_before_the_end() {
    for seed in 0..20 {
        let mut world = World::new(1, seed);
        let alice = world.user_at(0, 0);
        let a = world.sign_in(0, alice, 1);
        world.clients[a].heard.clear();
        let (good, bad) = (world.token(alice, 1, 60_000), "not a token".to_owned());
        let tokens = if seed % 2 == 0 { [good, bad] } else { [bad, good] };
        for (tag, token) in [(5, &tokens[0]), (6, &tokens[1])] {
            world.clients[a].say(tag, &Command::Auth { token: token.as_str().into() });
        }
        world.clients[a].say(7, &Command::Bye);
        world.checks_held = true;
        world.settle();
        world.checks_held = false;
        world.settle();
        let told: Vec<_> = world.clients[a].heard.drain(..).collect();
        let [(6, Event::Error(second)), (5, first), (0, Event::Close { code, .. })] = &told[..]
        else {
            panic!("seed {seed}: {told:?}");
        };
        assert_eq!((second.code, *code), (ErrorCode::RateLimited, CloseCode::Normal));
        match first {
            Event::Welcome(_) => assert_eq!(seed % 2, 0),
            Event::Error(error) => {
                assert_eq!((error.code, seed % 2), (ErrorCode::TokenRefused, 1));
            }
            other => panic!("{other:?}"),
        }
    }
}
