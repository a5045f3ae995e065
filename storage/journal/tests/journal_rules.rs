//! Each rule of the journal, on a disk in memory, by the test that would break it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::{io::ErrorKind, time::Duration};

use ringpost_journal::{
    Action, BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Config, Done, Mark, PREPARE_RETRY,
    RecoveryError, Refused,
};
use support::{
    JOURNAL_ID, MemoryDisk, Operated, World, device_error, payload, record, small_config,
};

const BLOCK: u64 = BLOCK_BYTES as u64;

fn ready() -> World {
    let mut world = World::new(small_config());
    world.settle();
    world
}

#[test]
fn a_single_record_on_an_idle_journal_goes_out_at_once() {
    let mut world = ready();
    world.submit(b"one").unwrap();
    assert!(matches!(world.begin(), Some(Action::Write { offset: 0, bytes: BLOCK_BYTES, .. })));
    world.finish(Ok(()));
    assert!(matches!(world.begin(), Some(Action::Sync { .. })));
    assert_eq!(world.journal.durable_position(), 0, "written is not durable");
    world.finish(Ok(()));
    assert_eq!(world.journal.durable_position(), 1);
    assert_eq!(world.durable[0].entries[0].record, record(b"one"));
}

#[test]
fn while_a_batch_is_in_flight_the_next_one_gathers_up_to_its_bytes() {
    let mut world = ready();
    world.submit(b"first").unwrap();
    world.begin();
    for _ in 0..20 {
        world.submit(&payload(1, 1000)).unwrap();
        assert_eq!(world.begin(), None, "one batch in flight");
    }
    world.settle();
    let batches: Vec<_> = world.durable.iter().map(|batch| batch.entries.len()).collect();
    // Four blocks hold the header and 15 records of 1,028 bytes.
    assert_eq!(batches, [1, 15, 5]);
    assert!(world.durable.iter().all(|batch| batch.bytes <= small_config().batch_bytes_max));
    let positions = world.durable.iter().flat_map(|batch| &batch.entries).map(|e| e.position);
    assert!(positions.eq(1..=21), "in order, without a gap");
}

#[test]
fn the_more_records_a_batch_had_the_longer_the_next_one_gathers() {
    let at = Duration::from_micros;
    for (records, gathers) in [(1, at(200)), (2, at(400)), (9, at(500))] {
        let mut world = World::new(Config { gather_max: at(500), ..small_config() });
        world.settle();
        world.now += Duration::from_secs(1);
        for _ in 0..records {
            world.submit(b"first").unwrap();
        }
        let began_at = world.now;
        world.settle();
        assert_eq!(world.durable.len(), 1, "an idle journal gathers nothing");
        assert_eq!(world.journal.gathers_until(), None, "nothing waits");
        world.now += at(199);
        world.submit(b"second").unwrap();
        world.settle();
        assert_eq!(world.durable.len(), 1, "a batch of {records} buys its successor more time");
        assert_eq!(world.journal.deadline(), Some(began_at + gathers));
        world.now = began_at + gathers - at(1);
        world.submit(b"third").unwrap();
        world.settle();
        assert_eq!(world.durable.len(), 1, "not earlier");
        world.now += at(1);
        world.settle();
        assert_eq!(world.durable[1].entries.len(), 2, "both in one batch");
    }
}

#[test]
fn what_fills_a_batch_or_is_the_last_does_not_wait_for_more() {
    let config = Config { gather_max: Duration::from_millis(20), ..small_config() };
    let mut world = World::new(config);
    world.settle();
    for _ in 0..9 {
        world.submit(b"first").unwrap();
    }
    world.settle();
    for _ in 0..3 {
        world.submit(b"second").unwrap();
        world.settle();
    }
    assert_eq!(world.durable.len(), 1, "three blocks gather");
    world.submit(b"fourth").unwrap();
    world.settle();
    assert_eq!(world.durable.len(), 2, "a batch has four");
    world.submit(b"last").unwrap();
    world.settle();
    assert_eq!(world.durable.len(), 2);
    world.journal.close();
    world.settle();
    assert!(world.journal.is_finished(), "a stop waits for nothing");
    assert_eq!(world.journal.durable_position(), 14);
}

#[test]
fn a_record_above_the_batch_size_goes_out_alone() {
    let mut config = small_config();
    config.batch_bytes_max = BLOCK;
    let mut world = World::new(config);
    world.settle();
    for _ in 0..3 {
        world.submit(&payload(1, 6000)).unwrap();
    }
    world.settle();
    assert_eq!(world.durable.len(), 3);
}

#[test]
fn every_batch_starts_on_a_fresh_block_and_no_durable_block_is_written_again() {
    let mut world = ready();
    let mut written: std::collections::BTreeMap<u32, u64> = Default::default();
    for round in 0..200 {
        let position = world.commit(&payload(round, 1 + (round as usize * 37) % 6000));
        if round % 10 == 0 {
            world.journal.trim(position - 1);
        }
        world.settle();
    }
    let mut prepared = Vec::new();
    for operated in &world.disk.log {
        match *operated {
            Operated::Prepare { slot } => prepared.push(slot),
            Operated::Write { slot, offset, bytes } => {
                assert!(prepared.contains(&slot), "only prewritten segments are written to");
                assert_eq!((offset % BLOCK, bytes as u64 % BLOCK), (0, 0));
                let end = written.entry(slot).or_default();
                // Offset 0 is the next use of the segment, after it was trimmed.
                assert!(offset == *end || offset == 0, "slot {slot}: {offset} after {end}");
                *end = offset + bytes as u64;
            }
            _ => {}
        }
    }
    assert!(prepared.len() < 8, "segments are recycled, not created for each use: {prepared:?}");
    assert!(written.len() >= 3);
}

#[test]
fn what_a_recycled_segment_held_before_is_never_replayed() {
    let mut world = ready();
    for round in 0..100 {
        let position = world.commit(&payload(round, 3000));
        world.journal.trim(position - 1);
        world.settle();
        let mut later = World::open(world.disk.clone(), small_config(), position - 1).unwrap();
        let found = later.read(position - 1).unwrap();
        assert_eq!(found.len(), 1, "round {round}");
        assert_eq!(found[0].payload, payload(round, 3000));
        assert_eq!(found[0].head_bytes, 1000);
        // Also after the next generation has begun behind it.
        later.settle();
        later.commit(b"next");
        let again = later.reopen(position - 1).unwrap();
        assert_eq!(again.read(position - 1).unwrap().len(), 2);
    }
}

#[test]
fn recovery_syncs_a_segment_before_it_reads_it() {
    let mut world = ready();
    world.commit(b"durable");
    world.submit(b"written, not synced").unwrap();
    world.begin();
    world.disk.kill_process();
    world.disk.log.clear();
    let mut world = world.reopen(0).unwrap();
    let mut synced = Vec::new();
    for operated in &world.disk.log {
        match operated {
            Operated::Sync { slot } => synced.push(*slot),
            Operated::Read { slot } => assert!(synced.contains(slot), "read before sync: {slot}"),
            other => panic!("recovery must not do {other:?}"),
        }
    }
    // It was whole, so it is replayed; and it survives the power cut that follows.
    assert_eq!(world.read(0).unwrap().len(), 2);
    world.disk.lose_power(&mut support::Random::new(1));
    assert_eq!(world.reopen(0).unwrap().read(0).unwrap().len(), 2);
}

#[test]
fn a_failed_fdatasync_or_write_ends_the_journal_and_nothing_is_acknowledged_after_it() {
    for fail_at_sync in [true, false] {
        let mut world = ready();
        world.commit(b"good");
        world.submit(b"lost").unwrap();
        world.begin();
        world.submit(b"behind it").unwrap();
        if fail_at_sync {
            world.finish(Ok(()));
            world.begin();
        }
        world.finish(Err(device_error(ErrorKind::Other)));
        assert_eq!(world.begin(), None, "a failed fdatasync is not tried again");
        assert_eq!(world.durable.len(), 1);
        assert_eq!(world.journal.durable_position(), 1);
        assert_eq!(world.submit(b"later"), Err(Refused::Failed));
        assert!(world.journal.is_finished());
        assert_eq!(world.journal.failure().unwrap().durable, 1);
    }
}

#[test]
fn writing_goes_on_in_a_fresh_segment_after_a_restart() {
    let mut world = ready();
    world.commit(b"before");
    world.disk.log.clear();
    let mut world = world.reopen(0).unwrap();
    world.settle();
    assert_eq!(world.commit(b"after"), 2);
    let written = world.disk.log.iter().find_map(|operated| match operated {
        Operated::Write { slot, offset, .. } => Some((*slot, *offset)),
        _ => None,
    });
    assert_eq!(written, Some((1, 0)), "slot 0 holds what was found");
    assert_eq!(world.reopen(0).unwrap().read(0).unwrap().len(), 2);
}

#[test]
fn trimming_frees_only_whole_segments_below_the_checkpoint() {
    let mut world = ready();
    let mut lasts = Vec::new(); // last position of each segment
    let mut offset_before = 0;
    for round in 0..40 {
        let position = world.submit(&payload(round, 3000)).unwrap();
        let Some(Action::Write { offset, .. }) = world.begin() else { panic!("idle") };
        if offset < offset_before {
            lasts.push(position - 1);
        }
        offset_before = offset;
        world.settle();
    }
    assert!(lasts.len() >= 2);
    let live = world.journal.live_segments();
    world.journal.trim(lasts[0] - 1);
    assert_eq!(world.journal.live_segments(), live, "its last record is still needed");
    world.journal.trim(lasts[0]);
    assert_eq!(world.journal.live_segments(), live - 1);
    world.journal.trim(3);
    assert_eq!(world.journal.live_segments(), live - 1, "a lower checkpoint changes nothing");
    world.journal.trim(40);
    assert_eq!(world.journal.live_segments(), 1, "the tip carries the chain");
    let world = world.reopen(40).unwrap();
    assert_eq!(world.recovery.report.next_position, 41);
    assert!(world.read(40).unwrap().is_empty());
}

#[test]
#[should_panic(expected = "the store is ahead of the journal")]
fn a_checkpoint_beyond_the_durable_position_is_a_bug() {
    let mut world = ready();
    world.submit(b"not durable").unwrap();
    world.journal.trim(1);
}

#[test]
fn the_disk_budget_refuses_and_trimming_opens_again() {
    let mut world = ready();
    let refusal = loop {
        match world.submit(&payload(9, 3000)) {
            Ok(_) => world.settle(),
            Err(reason) => break reason,
        }
    };
    assert_eq!(refusal, Refused::DiskBudget);
    assert_eq!(world.journal.disk_bytes(), small_config().disk_budget_bytes);
    assert!(world.journal.durable_position() > 80, "the budget was put to use");
    let next = world.journal.next_position();
    assert_eq!(world.submit(&payload(9, 3000)), Err(Refused::DiskBudget));
    assert_eq!(world.journal.next_position(), next, "a refusal takes no position");
    world.journal.trim(next - 1);
    world.settle();
    assert_eq!(world.commit(b"again"), next);
    assert!(
        world.journal.disk_bytes() < small_config().disk_budget_bytes,
        "what a backlog took is given back"
    );
}

#[test]
fn what_was_accepted_always_fits() {
    // Submit without ever running until refused, for sizes around the boundaries of blocks.
    for bytes in [0, 1, 2000, 3972, 3973, 5000, 6000] {
        let mut world = ready();
        let accepted = loop {
            let before = world.journal.next_position();
            while world.submit(&payload(7, bytes)).is_ok() {}
            world.settle();
            let accepted = world.journal.next_position();
            assert_eq!(world.journal.durable_position(), accepted - 1, "{bytes} bytes");
            if accepted == before {
                break accepted - 1;
            }
        };
        assert!(accepted >= 35, "{accepted} records of {bytes} bytes in eight segments");
        assert_eq!(world.reopen(0).unwrap().read(0).unwrap().len() as u64, accepted);
    }
}

#[test]
fn what_was_accepted_fits_although_segments_do_not_divide_by_it() {
    // Three blocks for each record, alone in its batch: every segment of 16 leaves one unused.
    let mut config = small_config();
    config.batch_bytes_max = BLOCK;
    config.record_bytes_max = 12_000;
    config.spare_segments = 3;
    let mut world = World::new(config);
    world.settle();
    while world.submit(&payload(7, 12_000)).is_ok() {}
    let accepted = world.journal.next_position() - 1;
    world.settle();
    assert_eq!((accepted, world.journal.durable_position()), (13, 13));
}

#[test]
fn a_full_file_system_refuses_and_is_tried_again_at_a_pace() {
    let mut world = World::new(small_config());
    let fail = |world: &mut World| {
        let Some(Action::Prepare { slot, .. }) = world.journal.poll_action(world.now) else {
            panic!("a segment is wanted")
        };
        let full = Err(device_error(ErrorKind::StorageFull));
        world.journal.complete(Done::Prepared(slot, full), world.now);
    };
    assert_eq!(world.submit(b"too early"), Err(Refused::SegmentPending));
    fail(&mut world);
    assert_eq!(world.submit(b"no room"), Err(Refused::DiskFull));
    assert!(world.journal.prepare_error().unwrap().is_full());
    assert_eq!(world.begin(), None, "not at once");
    assert_eq!(world.journal.deadline(), Some(PREPARE_RETRY));
    world.now = PREPARE_RETRY - Duration::from_nanos(1);
    assert_eq!(world.begin(), None);
    world.now = PREPARE_RETRY;
    fail(&mut world);
    world.now *= 2;
    world.settle();
    assert_eq!(world.journal.deadline(), None);
    assert!(world.journal.prepare_error().is_none());
    assert_eq!(world.commit(b"room"), 1);
}

#[test]
fn memory_in_flight_is_bounded() {
    let mut config = small_config();
    config.inflight_bytes_max = 6 * BLOCK;
    let mut world = World::new(config);
    world.settle();
    for _ in 0..6 {
        world.submit(b"small").unwrap();
    }
    assert_eq!(world.submit(b"small"), Err(Refused::InFlight));
    assert_eq!(world.submit(&payload(1, 6001)), Err(Refused::RecordTooLarge));
    world.settle();
    world.submit(b"small").unwrap();
}

#[test]
fn damage_below_the_durable_mark_is_reported_by_segment_and_offset() {
    let mut world = ready();
    for round in 0..3 {
        world.commit(&payload(round, 1000));
    }
    for batch in 0..2 {
        let mut disk = world.disk.clone();
        disk.flip(0, batch * BLOCK + 200, 3);
        let Err(RecoveryError::Damage(damage)) = World::open(disk, small_config(), 0) else {
            panic!("batch {batch} was durable")
        };
        assert_eq!((damage.slot, damage.offset), (0, batch * BLOCK));
        assert_eq!(damage.position, batch + 1);
        assert!(damage.to_string().contains("segment-00000000"), "{damage}");
    }
    // The last batch is vouched for by nobody: there it cannot be told from a torn write.
    let mut disk = world.disk.clone();
    disk.flip(0, 2 * BLOCK + 200, 3);
    let torn = World::open(disk, small_config(), 0).unwrap();
    assert_eq!(torn.read(0).unwrap().len(), 2);
    assert_eq!(torn.recovery.report.torn_bytes, 1000 + 96 + 28);
}

#[test]
fn a_lost_first_write_of_a_segment_is_damage() {
    let mut world = ready();
    for round in 0..3 {
        world.commit(&payload(round, 1000));
    }
    let zeros = vec![0; BLOCK_BYTES];
    world.disk.overwrite(0, 0, &zeros);
    let Err(RecoveryError::Damage(damage)) = world.reopen(0) else { panic!("it was durable") };
    assert_eq!((damage.slot, damage.offset, damage.position), (0, 0, 1));
}

#[test]
fn a_torn_first_batch_of_a_segment_vouches_for_the_batch_before_it() {
    let mut world = ready();
    let (mut last, mut records) = (None, 0);
    let torn = loop {
        world.submit(&payload(records, 1000)).unwrap();
        let Some(Action::Write { slot, offset, .. }) = world.begin() else { panic!("a write") };
        if last.is_some() && offset == 0 {
            break slot;
        }
        last = Some((slot, offset));
        records += 1;
        world.settle();
    };
    // The power went: the header came to the disk, the record behind it did not.
    world.disk.overwrite(torn, 200, &[0; 400]);
    let whole = World::open(world.disk.clone(), small_config(), 0).unwrap();
    assert_eq!(whole.read(0).unwrap().len() as u64, records);
    let (slot, offset) = last.expect("a segment takes more than one batch");
    world.disk.flip(slot, offset + 200, 3);
    let Err(RecoveryError::Damage(damage)) = world.reopen(0) else { panic!("it was durable") };
    assert_eq!((damage.slot, damage.offset), (slot, offset));
}

#[test]
fn a_clean_stop_vouches_for_its_last_batch() {
    let mut world = ready();
    world.commit(b"one");
    world.submit(b"two").unwrap();
    world.journal.close();
    assert_eq!(world.submit(b"three"), Err(Refused::Closed));
    world.settle();
    assert!(world.journal.is_finished());
    assert_eq!(world.durable.last().unwrap().through, 2);
    let mut disk = world.disk.clone();
    disk.flip(0, BLOCK + 110, 0);
    let Err(RecoveryError::Damage(damage)) = World::open(disk, small_config(), 0) else {
        panic!("the seal says that it was durable")
    };
    assert_eq!(damage.offset, BLOCK);
    let mut world = world.reopen(0).unwrap();
    assert_eq!(world.read(0).unwrap().len(), 2);
    world.settle();
    assert_eq!(world.commit(b"three"), 3);
}

#[test]
fn a_torn_batch_that_was_given_up_never_comes_back() {
    let mut world = ready();
    world.commit(b"kept");
    world.submit(b"torn").unwrap();
    world.begin();
    // Power is lost before a byte of it arrives, and the write comes back from the dead later:
    // a disk that reads differently from one boot to the next.
    let torn = world.disk.clone();
    let mut disk = world.disk.clone();
    disk.overwrite(0, BLOCK, &vec![0; BLOCK_BYTES]);
    let mut world = World::open(disk, small_config(), 0).unwrap();
    world.settle();
    assert_eq!(world.commit(b"new"), 2);
    world.disk.overwrite(0, BLOCK, &torn.bytes_of(0)[BLOCK_BYTES..2 * BLOCK_BYTES]);
    let found = world.reopen(0).unwrap().read(0).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(&found[1].payload[..], b"new");
}

#[test]
fn a_store_that_does_not_fit_the_journal_is_told_so() {
    let mut world = ready();
    for round in 0..30 {
        world.commit(&payload(round, 3000));
    }
    let ahead = World::open(world.disk.clone(), small_config(), 31);
    assert!(matches!(
        ahead.err(),
        Some(RecoveryError::CheckpointAhead { checkpoint: 31, last: 30 })
    ));
    world.journal.trim(25);
    for round in 0..30 {
        world.commit(&payload(round, 3000));
        world.journal.trim(25);
    }
    let mut oldest = None;
    for checkpoint in (0..=25).rev() {
        match World::open(world.disk.clone(), small_config(), checkpoint) {
            Ok(world) => {
                assert_eq!(world.read(checkpoint).unwrap().len() as u64, 60 - checkpoint);
            }
            Err(RecoveryError::CheckpointBehind { oldest: found, .. }) => oldest = Some(found),
            Err(other) => panic!("checkpoint {checkpoint}: {other}"),
        }
    }
    assert!(oldest.is_some_and(|oldest| oldest > 1 && oldest <= 26), "{oldest:?}");
}

#[test]
fn another_segment_size_is_taken_over() {
    let mut world = ready();
    for round in 0..20 {
        world.commit(&payload(round, 3000));
    }
    let mut config = small_config();
    config.segment_bytes *= 2;
    config.disk_budget_bytes *= 4;
    let mut world = World::open(world.disk, config, 10).unwrap();
    world.settle();
    for round in 20..60 {
        world.commit(&payload(round, 3000));
    }
    world.journal.trim(50);
    world.settle();
    let world = world.reopen(50).unwrap();
    assert_eq!(world.read(50).unwrap().len(), 10);
    let sizes = world.disk.slot_numbers().into_iter().map(|slot| world.disk.bytes_of(slot).len());
    assert!(sizes.into_iter().all(|bytes| bytes == 32 * BLOCK_BYTES), "old ones are deleted");
}

#[test]
fn a_segment_that_names_itself_as_the_one_before_it_is_not_followed() {
    let mark = Mark { generation: 3, slot: 0, end: BLOCK_BYTES as u64 };
    let header = BatchHeader {
        journal_id: JOURNAL_ID,
        generation: 3,
        sequence: 1,
        first_position: 5,
        previous: mark,
        slot: 0,
        offset: 0,
        trimmed_through: 4,
        records: 0,
        payload_bytes: 0,
        digest: 0,
    };
    let mut bytes = [0; BATCH_HEADER_BYTES];
    header.encode(&mut bytes);
    let mut disk = MemoryDisk::default();
    disk.prepare(0, small_config().segment_bytes);
    disk.overwrite(0, 0, &bytes);
    let world =
        World::open(disk, small_config(), 0).expect("no writer wrote it, so nothing is lost");
    assert!(world.recovery.chain.is_empty());
}
