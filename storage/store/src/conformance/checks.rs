//! The checks of a store: each makes records, applies them in its own way, and compares.
#![allow(
    clippy::disallowed_methods,
    reason = "a check reads from one thread while another applies"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use ringpost_shard::Head;
use ringpost_shard::image::{MessageRow, UserImage};
use ringpost_shard::record::{Position, SharedRecord};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use super::{Model, Subject, World, batch_of};
use crate::store::{PAGE_ROWS_MAX, Store, StoreError, TIMELINE_SCAN_MAX};
use crate::trace::Named;

/// Runs every check, each on a fresh subject that `fresh` makes.
///
/// # Panics
/// If the store does something else than it must; the message names the seed.
pub fn check_all(fresh: &mut dyn FnMut() -> Box<dyn Subject>, seed: u64) {
    empty_store_knows_nothing(&*fresh());
    fold_equals_model(&*fresh(), seed);
    repeated_batch_changes_nothing(&*fresh(), seed);
    batch_out_of_order_is_refused(&*fresh(), seed);
    pages_begin_and_end_where_they_say(&*fresh());
    rare_peer_is_found_in_bounded_steps(&*fresh());
    one_client_id_of_several_devices_names_all_their_messages(&*fresh());
    reads_see_whole_batches(&*fresh(), seed);
    crash_keeps_what_was_persisted(&mut *fresh(), seed);
    restart_keeps_everything(&mut *fresh(), seed);
}

/// Compares everything that can be read.
///
/// # Panics
/// If the store differs from the model.
pub fn assert_equal(store: &dyn Store, model: &Model, seed: u64) {
    assert_eq!(store.applied(), model.applied(), "applied, seed {seed}");
    assert_eq!(store.highest_stamp(), model.stamp(), "highest stamp, seed {seed}");
    for user in World::users() {
        let image = answer(store.user(user));
        assert_eq!(image, model.user(user), "image of {user}, seed {seed}");
        assert_eq!(timeline(store, user, None, 3), model.timeline(user, None), "seed {seed}");
        for peer in World::users() {
            let history = history(store, user, peer, 3);
            assert_eq!(history, model.conversation(user, peer), "history, seed {seed}");
            let timeline = timeline(store, user, Some(peer), 2);
            assert_eq!(timeline, model.timeline(user, Some(peer)), "timeline, seed {seed}");
            for status in [Status::Delivered, Status::Read] {
                let cursor = answer(store.cursor(user, peer, status));
                assert_eq!(cursor, model.cursor(user, peer, status), "cursor, seed {seed}");
            }
        }
    }
    for (&(user, device, message_id), accepted) in model.accepted() {
        let found = answer(store.accepted(user, device, message_id));
        assert_eq!(found.as_ref(), Some(accepted), "accepted {message_id}, seed {seed}");
        for sender in [None, Some(user)] {
            let named = answer(store.named(message_id, sender, PAGE_ROWS_MAX));
            let expected = Named { ids: model.named(message_id, sender), has_more: false };
            assert_eq!(named, expected, "named {message_id}, seed {seed}");
        }
    }
    for row in model.messages() {
        let id = row.head.id;
        assert_eq!(answer(store.trace(id)), model.trace(id), "trace of {id}, seed {seed}");
        assert_eq!(answer(store.received(id)), model.received(id), "received {id}, seed {seed}");
    }
    let rows: Vec<_> = model.messages().cloned().collect();
    let ids: Vec<_> = rows.iter().map(|row| row.head.id).collect();
    let found: Option<Vec<_>> = answer(store.messages(&ids)).into_iter().collect();
    assert_eq!(found, Some(rows), "messages, seed {seed}");
}

fn answer<T>(answer: Result<T, StoreError>) -> T {
    answer.unwrap_or_else(|error| panic!("the store must answer: {error}"))
}

/// A whole conversation, read page by page.
fn history(store: &dyn Store, user: UserId, peer: UserId, limit: usize) -> Vec<MessageRow> {
    let mut rows: Vec<MessageRow> = Vec::new();
    loop {
        let page = answer(store.history(user, peer, rows.last().map(|row| row.head.id), limit));
        assert!(page.rows.len() == limit || !page.has_more, "a page with more to come is full");
        rows.extend(page.rows);
        if !page.has_more {
            return rows;
        }
    }
}

/// A whole timeline, read page by page.
fn timeline(
    store: &dyn Store,
    user: UserId,
    peer: Option<UserId>,
    limit: usize,
) -> Vec<MessageRow> {
    let (mut rows, mut after) = (Vec::new(), Position::default());
    loop {
        let page = answer(store.timeline(user, after, peer, limit));
        rows.extend(page.rows);
        if !page.has_more {
            assert_eq!(page.next, store.applied(), "the end of a timeline is where the store is");
            return rows;
        }
        assert!(page.next > after, "a page with more to come goes forward");
        after = page.next;
    }
}

fn apply(store: &dyn Store, model: &mut Model, records: &[SharedRecord]) {
    answer(store.apply(&batch_of(model.applied(), records)));
    records.iter().for_each(|record| model.apply(record));
}

fn empty_store_knows_nothing(subject: &dyn Subject) {
    let store = subject.store();
    assert_equal(store, &Model::new(), 0);
    assert_eq!(store.persisted(), Position::default());
    assert_eq!(answer(store.messages(&[ServerId([1; 16])])), [None]);
    let (user, device) = (World::users()[0], DeviceId::new(1).expect("1 is a device"));
    assert_eq!(answer(store.accepted(user, device, MessageId([1; 16]))), None);
}

fn fold_equals_model(subject: &dyn Subject, seed: u64) {
    let (mut world, mut model) = (World::new(seed), Model::new());
    for _ in 0..12 {
        let count = 1 + world.below(60) as usize;
        apply(subject.store(), &mut model, &world.records(count));
        assert_equal(subject.store(), &model, seed);
    }
}

fn repeated_batch_changes_nothing(subject: &dyn Subject, seed: u64) {
    let (mut world, mut model) = (World::new(seed), Model::new());
    let first = world.records(40);
    apply(subject.store(), &mut model, &first);
    apply(subject.store(), &mut model, &world.records(40));
    answer(subject.store().apply(&batch_of(Position(0), &first)));
    assert_equal(subject.store(), &model, seed);
}

fn batch_out_of_order_is_refused(subject: &dyn Subject, seed: u64) {
    let (mut world, mut model) = (World::new(seed), Model::new());
    apply(subject.store(), &mut model, &world.records(10));
    for after in [9, 11] {
        let refused = subject.store().apply(&batch_of(Position(after), &world.records(5)));
        assert_eq!(refused, Err(StoreError::OutOfOrder { applied: 10, after }));
    }
    assert_equal(subject.store(), &model, seed);
}

/// Five messages between two users, with one to a third in between.
fn pages_begin_and_end_where_they_say(subject: &dyn Subject) {
    let store = subject.store();
    let users = World::users();
    let records: Vec<_> = [1, 1, 1, 2, 1, 1].map(|to| message_to(users[0], users[to])).into();
    let mut model = Model::new();
    apply(store, &mut model, &number_messages(records));
    let all = model.conversation(users[0], users[1]);
    let page = |before, limit| answer(store.history(users[1], users[0], before, limit));

    assert_eq!((page(None, 5).rows, page(None, 5).has_more), (all.clone(), false));
    assert!(page(None, 4).has_more);
    assert_eq!(page(None, 0).rows, all[..1], "a limit of nothing is one");
    assert_eq!(page(None, usize::MAX).rows, all);
    assert_eq!(page(Some(all[1].head.id), 5).rows, all[2..], "before is exclusive");
    assert_eq!(page(Some(all[4].head.id), 5).rows, []);
    assert_eq!(page(Some(ServerId([0xff; 16])), 5).rows, all, "before need not be a message");

    let page = |after, limit| answer(store.timeline(users[0], Position(after), None, limit));
    assert_eq!(page(0, 2).rows.len(), 2);
    assert_eq!((page(0, 2).next, page(0, 2).has_more), (Position(2), true));
    assert_eq!((page(4, 2).next, page(4, 2).has_more), (Position(6), false));
    assert_eq!(page(6, 2).rows, []);
    let ahead = answer(store.timeline(users[0], Position(99), None, 2));
    assert_eq!((ahead.rows.len(), ahead.next), (0, Position(99)), "a cursor never goes back");
}

/// A timeline with one message of a rare peer behind more rows than one page may look at.
fn rare_peer_is_found_in_bounded_steps(subject: &dyn Subject) {
    let store = subject.store();
    let users = World::users();
    let mut records = vec![message_to(users[0], users[1]); TIMELINE_SCAN_MAX + 1];
    records.push(message_to(users[0], users[2]));
    let mut model = Model::new();
    apply(store, &mut model, &number_messages(records));

    let first = answer(store.timeline(users[0], Position(0), Some(users[2]), PAGE_ROWS_MAX));
    assert_eq!((first.rows.len(), first.has_more), (0, true));
    assert_eq!(first.next, Position(TIMELINE_SCAN_MAX as u64));
    let second = answer(store.timeline(users[0], first.next, Some(users[2]), PAGE_ROWS_MAX));
    assert_eq!((second.rows.len(), second.has_more), (1, false));
    let full = answer(store.timeline(users[0], Position(0), None, usize::MAX));
    assert_eq!(full.rows.len(), PAGE_ROWS_MAX, "a page is never longer than its bound");
}

/// Three devices that chose the same id: each message is listed, up to the limit.
fn one_client_id_of_several_devices_names_all_their_messages(subject: &dyn Subject) {
    let store = subject.store();
    let users = World::users();
    let mut records = number_messages((0..3).map(|at| message_to(users[at], users[3])).collect());
    let message_id = MessageId([0xff; 16]);
    for record in &mut records {
        let record = std::sync::Arc::make_mut(record);
        let Head::Message(head) = &mut record.head else { unreachable!("they are messages") };
        head.message_id = message_id;
    }
    let mut model = Model::new();
    apply(store, &mut model, &records);
    assert_eq!(answer(store.named(message_id, None, 3)).ids.len(), 3);
    assert!(!answer(store.named(message_id, None, 3)).has_more);
    let two = answer(store.named(message_id, None, 2));
    assert_eq!((two.ids, two.has_more), (model.named(message_id, None)[..2].to_vec(), true));
    for user in &users[..4] {
        let theirs = answer(store.named(message_id, Some(*user), 3));
        assert_eq!(theirs.ids, model.named(message_id, Some(*user)), "of one sender");
    }
    assert_eq!(answer(store.named(message_id, None, 0)).ids.len(), 1, "a limit of nothing is one");
    assert_eq!(answer(store.named(MessageId([0xfe; 16]), None, 3)), Named::default());
    assert_eq!(answer(store.trace(ServerId([0xff; 16]))), None);
}

fn message_to(from: UserId, to: UserId) -> ringpost_shard::record::MessageHead {
    ringpost_shard::record::MessageHead {
        id: ServerId::default(),
        accepted_ms: 0,
        message_id: MessageId::default(),
        from,
        from_device: DeviceId::new(1).expect("1 is a device"),
        to,
        reply_to: None,
        client_timestamp_ms: 0,
        plain: false,
        digest: [0; 16],
        recipient_devices: Default::default(),
        recipient_gaps: Default::default(),
        sender_devices: Default::default(),
        copy_devices: Default::default(),
        copy_gaps: Default::default(),
    }
}

/// Records of the heads, each with ids of its own.
fn number_messages(heads: Vec<ringpost_shard::record::MessageHead>) -> Vec<SharedRecord> {
    let numbered = (1_u128..).zip(heads).map(|(number, mut head)| {
        head.id = ServerId(number.to_be_bytes());
        head.message_id = MessageId(number.to_be_bytes());
        let body = vec![number as u8; 10].into();
        let head = Head::Message(head);
        SharedRecord::new(ringpost_shard::Record { head, body })
    });
    numbered.collect()
}

/// While batches are applied, readers see the state after one of them and nothing in between.
fn reads_see_whole_batches(subject: &dyn Subject, seed: u64) {
    let (mut world, mut model) = (World::new(seed), Model::new());
    let mut batches = Vec::new();
    let mut images: BTreeMap<Position, Vec<Option<UserImage>>> = BTreeMap::new();
    let images_of = |model: &Model| World::users().iter().map(|&user| model.user(user)).collect();
    for _ in 0..60 {
        let count = 1 + world.below(20) as usize;
        let records = world.records(count);
        batches.push(batch_of(model.applied(), &records));
        records.iter().for_each(|record| model.apply(record));
        images.insert(model.applied(), images_of(&model));
    }
    let store = subject.store();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                let before = store.applied();
                for (index, &user) in World::users().iter().enumerate() {
                    let Some(image) = answer(store.user(user)) else { continue };
                    assert!(image.applied >= before, "a read is not older than its beginning");
                    let expected = &images[&image.applied][index];
                    assert_eq!(Some(&image), expected.as_ref(), "seed {seed}");
                }
            }
        });
        batches.iter().for_each(|batch| answer(store.apply(batch)));
        is_done.store(true, Ordering::Release);
    });
    assert_equal(store, &model, seed);
}

fn crash_keeps_what_was_persisted(subject: &mut dyn Subject, seed: u64) {
    let (mut world, mut journal) = (World::new(seed), Vec::new());
    for round in 0..4 {
        let applied = subject.store().applied().0 as usize;
        while journal.len() < applied + 80 {
            journal.push(world.record());
        }
        // Replays from wherever the store is, as recovery does.
        let middle = applied + 40;
        let after = Position(applied as u64);
        answer(subject.store().apply(&batch_of(after, &journal[applied..middle])));
        let persisted = answer(subject.store().persist());
        assert_eq!(persisted, Position(middle as u64));
        assert_eq!(subject.store().persisted(), persisted);
        answer(subject.store().apply(&batch_of(persisted, &journal[middle..])));
        assert_eq!(subject.store().persisted(), persisted, "only a persist persists");
        subject.crash();

        let found = subject.store().applied();
        assert!(found >= persisted, "round {round}: {found:?} after a crash at {persisted:?}");
        assert_eq!(subject.store().persisted(), found, "what is found after a crash is kept");
        let mut model = Model::new();
        journal[..found.0 as usize].iter().for_each(|record| model.apply(record));
        assert_equal(subject.store(), &model, seed);
    }
}

fn restart_keeps_everything(subject: &mut dyn Subject, seed: u64) {
    let (mut world, mut model) = (World::new(seed), Model::new());
    for _ in 0..3 {
        apply(subject.store(), &mut model, &world.records(50));
        subject.restart();
        assert_equal(subject.store(), &model, seed);
        assert_eq!(subject.store().persisted(), model.applied());
    }
}
