//! Setup: sessions and handshakes of two workers. Action: an operator asks. Expectation: every
//! connection is in exactly one page, filters hold, and asking changes nothing.

use std::sync::mpsc;
use std::time::Duration;

use ringpost_conn::Letter;
use ringpost_conn::connection::Speech;
use ringpost_conn::question::{
    Answer, ConnectionFilter, ConnectionPage, ConnectionView, Question, Reply, Stage,
};
use ringpost_shard::inspect::Residence;
use ringpost_wire::Command;
use ringpost_wire::frame::PREAMBLE;

use crate::world::World;

fn ask(world: &mut World, worker: usize, question: Question) -> Answer {
    let (sender, answers) = mpsc::channel();
    let reply = Reply::new(move |answer| sender.send(answer).expect("the test waits"));
    world.mailboxes[worker].letters.push_back(Letter::Ask { question: Box::new(question), reply });
    world.settle();
    answers.try_recv().expect("answered in the turn that read it")
}

fn page(
    world: &mut World,
    worker: usize,
    from: u32,
    rows_max: usize,
    filter: ConnectionFilter,
) -> ConnectionPage {
    match ask(world, worker, Question::Connections { from, rows_max, filter }) {
        Answer::Connections(page) => page,
        other => panic!("{other:?}"),
    }
}

fn all(world: &mut World, worker: usize, filter: ConnectionFilter) -> Vec<ConnectionView> {
    let (mut connections, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let page = page(world, worker, at, 2, filter);
        assert!(page.connections.len() <= 2);
        connections.extend(page.connections);
        from = page.next;
    }
    connections
}

#[test]
fn every_connection_is_in_one_page_and_filters_hold() {
    for seed in 0..10 {
        let mut world = World::new(2, seed);
        let users = [0, 1, 2].map(|nth| world.user_at(0, nth));
        let other = world.user_at(1, 0);
        let signed: Vec<usize> = users.map(|user| world.sign_in(1, user, 3)).to_vec();
        world.sign_in(0, other, 1);
        let waiting = world.connect(0);
        world.clients[waiting].write(&PREAMBLE);
        world.connect(0);
        world.settle();
        let any = ConnectionFilter::default();
        let found = all(&mut world, 0, any);
        assert_eq!(found.len(), 5, "seed {seed}: {found:?}");
        assert_eq!(all(&mut world, 1, any).len(), 1);
        let stages = [(Stage::SignedIn, 3), (Stage::SignIn, 1), (Stage::Handshake, 1)];
        for (stage, count) in stages {
            let filter = ConnectionFilter { stage: Some(stage), ..any };
            assert_eq!(all(&mut world, 0, filter).len(), count, "{stage:?}");
        }
        let mine = ConnectionFilter { user: Some(users[1]), device: None, ..any };
        let found = all(&mut world, 0, mine);
        assert_eq!((found.len(), found[0].device.map(|it| it.number())), (1, Some(3)));
        assert_eq!((found[0].user, found[0].speech), (Some(users[1]), Speech::Binary));
        let filter = ConnectionFilter { speech: Some(Speech::WebSocketJson), ..any };
        assert_eq!(all(&mut world, 0, filter), []);

        // Two say something, one is silent.
        world.now.mono += Duration::from_secs(2);
        world.say(signed[0], &Command::Ping { nonce: 1 });
        world.say(signed[2], &Command::Ping { nonce: 1 });
        world.settle();
        let silent = ConnectionFilter {
            stage: Some(Stage::SignedIn),
            silent_min: Duration::from_secs(1),
            ..any
        };
        assert_eq!(all(&mut world, 0, silent).len(), 1);
    }
}

#[test]
fn a_page_from_beyond_the_table_is_empty_and_a_question_changes_nothing() {
    let mut world = World::new(1, 5);
    let user = world.user_at(0, 0);
    world.sign_in(0, user, 1);
    world.settle();
    let before = (world.drivers[0].worker().gauges(), world.drivers[0].worker().next_deadline());
    for from in [64, 100_000, u32::MAX] {
        let page = page(&mut world, 0, from, 10, ConnectionFilter::default());
        assert_eq!(page, ConnectionPage::default());
    }
    let Answer::User(view) = ask(&mut world, 0, Question::User(user)) else { panic!("a user") };
    assert_eq!((view.residence, view.sessions.len()), (Residence::Resident, 1));
    let after = (world.drivers[0].worker().gauges(), world.drivers[0].worker().next_deadline());
    assert_eq!(before, after);
}
