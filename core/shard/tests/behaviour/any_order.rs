//! Anything, in any order: what clients, the journal, the applier and the machine may do next is
//! drawn from dice, and every promise is checked, as it is told and at the end.
//!
//! A few users with up to three devices each, on one to three workers with small limits, a slow
//! journal, a slow applier, outboxes that fill up. Sends, repetitions, contradictions, acks,
//! receipts, reconnects, crashes, a store that is down. The dice follow from a seed, or from a
//! script of bytes that a fuzzer writes.

use std::collections::VecDeque;
use std::time::Duration;

use ringpost_shard::image::MessageRow;
use ringpost_shard::record::{SharedRecord, status_number};
use ringpost_shard::{Bound, Head, Rate, ShardLimits};
use ringpost_wire::command::{ClientStatus, Named};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, UserId};

use super::client::Client;
use super::world::{Step, World};

/// SplitMix64, small and the same everywhere; or a script, and behind its end SplitMix64.
pub(crate) struct Dice {
    seed: u64,
    script: Option<VecDeque<u8>>,
}

impl Dice {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { seed, script: None }
    }

    /// Each choice is a byte of the script, or two where there are more than 256 ways: a small
    /// change of the script is a small change of what happens.
    pub(crate) fn from_script(script: &[u8]) -> Self {
        Self { seed: 0, script: Some(script.iter().copied().collect()) }
    }

    /// Whether the script is at its end; without one there is none.
    fn is_spent(&self) -> bool {
        self.script.as_ref().is_some_and(VecDeque::is_empty)
    }

    fn roll(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let Some(script) = self.script.as_mut().filter(|script| !script.is_empty()) else {
            return (self.roll() % bound as u64) as usize;
        };
        let bytes = if bound > 256 { 2 } else { 1 };
        let choice = script.drain(..bytes.min(script.len()));
        choice.fold(0, |number, byte| number << 8 | usize::from(byte)) % bound
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.below(from.len())])
    }
}

/// Limits so small that each of them is met in a run.
fn small_limits(dice: &mut Dice) -> ShardLimits {
    let endless = Rate { per_second: 1_000_000, burst: 100_000_000 };
    ShardLimits {
        resident_bytes_max: [16 << 10, 40 << 10, 1 << 20][dice.below(3)],
        loads_max: 2,
        loading_line_max: 3,
        loading_records_max: 1,
        eviction_scan_max: 8,
        waiting_bytes_max: 4096,
        in_flight_max: 12,
        in_flight_bytes_max: 16 << 10,
        in_flight_per_device_max: 5,
        answers_per_send_max: 2,
        look_up_line_max: 3,
        accepted_cache_max: 2,
        queue_entries_max: 6,
        queue_bytes_max: 8192,
        message_bytes_max: 3200,
        queue_sender_share: 2,
        queue_sender_entries_min: 1,
        queue_ttl: Duration::from_secs([30 * 24 * 3600, 12][dice.below(2)]),
        read_rows_max: 3,
        read_bytes_max: 1500,
        reads_per_device_max: 3,
        ack_items_max: 3,
        named_pushes_max: 3,
        recent_bytes_max: 4096,
        user_sends: endless,
        user_bytes: endless,
        ..ShardLimits::default()
    }
}

/// The place of the expired entries among what is counted.
const EXPIRED: usize = 9;

struct Run {
    dice: Dice,
    world: World,
    users: Vec<UserId>,
    clients: Vec<Client>,
    counted: [u64; 12],
}

impl Run {
    fn new(mut dice: Dice) -> Self {
        let limits = small_limits(&mut dice);
        let workers = 1 + dice.below(3) as u16;
        let mut world = World::with_limits(workers, limits);
        world.room_bytes = [600, 4000, 1 << 20][dice.below(3)];
        let users: Vec<_> = (1..=5u128).map(|number| UserId(number.to_be_bytes())).collect();
        let clients = users
            .iter()
            .flat_map(|&user| (1..=3).map(move |device| Client::new(user, device)))
            .collect();
        Self { dice, world, users, clients, counted: [0; 12] }
    }

    fn act(&mut self) {
        let Self { dice, world, users, clients, .. } = self;
        let at = dice.below(clients.len());
        let client = &mut clients[at];
        if client.connection.is_none() {
            // The third devices come late.
            if client.device < 3 || dice.chance(10) {
                client.connect(world, 1 + dice.below(6) as u32, dice.chance(2));
            }
            return;
        }
        client.listen(world);
        if !client.is_welcome(world) {
            // Some leave before they are told anything, some come a second time.
            match dice.below(12) {
                0 => client.hang_up(world),
                1 => client.connect(world, 1 + dice.below(6) as u32, true),
                2 if dice.chance(3) => client.sign_out(world),
                _ => {}
            }
            return;
        }
        match dice.below(22) {
            0..=6 => {
                let stranger = UserId([0xee; 16]);
                let to = if dice.chance(30) { stranger } else { users[dice.below(users.len())] };
                let bytes = if dice.chance(8) { 3000 } else { dice.below(300) };
                let number = client.want(to, vec![dice.roll() as u8; bytes]);
                client.give_out(world, number);
            }
            7 => {
                let numbers: Vec<_> =
                    client.wanted.keys().chain(client.sent.keys()).copied().collect();
                if let Some(&number) = dice.pick(&numbers) {
                    client.give_out(world, number);
                }
            }
            8 => {
                let numbers: Vec<_> = client.sent.keys().copied().collect();
                if let Some(&number) = dice.pick(&numbers) {
                    client.contradict(world, number);
                }
            }
            9..=13 => {
                let pushes: Vec<_> = client.unacked.keys().copied().collect();
                if let Some(&push) = dice.pick(&pushes) {
                    client.ack(world, push);
                }
            }
            14 => self.receipt(at),
            20 => client.fetch(world),
            21 => client.close_gap(world),
            15 => {
                if dice.chance(3) {
                    client.hang_up(world);
                } else if dice.chance(4) {
                    client.sign_out(world);
                } else if dice.chance(2) {
                    // Another connection of the same device: the older one is displaced.
                    client.listen(world);
                    client.connect(world, 1 + dice.below(6) as u32, dice.chance(2));
                }
            }
            16 => {
                let connection = client.connection.expect("looked at above");
                if !world.slow.remove(&connection) && dice.chance(2) {
                    world.slow.insert(connection);
                }
            }
            17 => {
                world.pass(Duration::from_millis(dice.below(3000) as u64));
                if dice.chance(10) {
                    // The wall clock jumps back by up to a day.
                    world.now.wall_ms -= dice.below(24 * 3600 * 1000) as u64;
                }
                world.tick();
            }
            18 => {
                if dice.chance(3) {
                    world.store_down = !world.store_down;
                }
            }
            _ => {
                if dice.chance(12) {
                    self.crash();
                }
            }
        }
    }

    fn receipt(&mut self, at: usize) {
        let Self { dice, world, clients, .. } = self;
        let client = &mut clients[at];
        let connection = client.connection.expect("only connected clients act");
        let unacked: Vec<_> = client
            .unacked
            .iter()
            .map(|(&push, &(id, message_id))| (push, id, message_id))
            .filter(|(_, id, _)| !id.is_nil())
            .collect();
        match dice.below(3) {
            0 => {
                if let Some(&(push, id, _)) = dice.pick(&unacked) {
                    client.acked.insert(id);
                    client.unacked.remove(&push);
                    world.receipt(connection, 0, Named::Id(id), ClientStatus::Delivered);
                }
            }
            1 => {
                if let Some(&(push, id, message_id)) = dice.pick(&unacked) {
                    client.listen(world);
                    let same = unacked.iter().filter(|(_, _, other)| *other == message_id).count();
                    let name = Named::MessageId(message_id);
                    world.receipt(connection, 0, name, ClientStatus::Delivered);
                    // Another sender may have used the name on this connection, lately.
                    if world.errors(connection).is_empty() {
                        assert_eq!(same, 1, "an ambiguous name acks nothing");
                        client.acked.insert(id);
                        client.unacked.remove(&push);
                    }
                }
            }
            _ => {
                // Of anybody's messages: it counts only for one's own.
                let ids: Vec<_> = world.truth.messages.keys().copied().collect();
                if let Some(&id) = dice.pick(&ids) {
                    world.receipt(connection, 0, Named::Id(id), ClientStatus::Read);
                }
            }
        }
        client.listen(world);
    }

    fn crash(&mut self) {
        let kept = self.dice.below(self.world.submitted() + 1);
        let workers = 1 + self.dice.below(3) as u16;
        for client in &mut self.clients {
            client.listen(&mut self.world);
            client.disconnected();
        }
        self.count();
        self.world.crash(workers, kept);
    }

    /// Adds up what the shards of this life have counted.
    fn count(&mut self) {
        for shard in &self.world.shards {
            let c = shard.counters();
            let of_shard = [
                c.sends_accepted,
                c.duplicates_answered,
                c.evictions,
                c.look_ups,
                c.gaps,
                c.message_reads,
                c.store_failures,
                c.displacements,
                c.gaps_closed,
                c.entries_expired,
                c.hits.count(Bound::SenderShare),
                c.devices_signed_out,
            ];
            self.counted.iter_mut().zip(of_shard).for_each(|(sum, count)| *sum += count);
        }
    }

    fn happen(&mut self) {
        for _ in 0..self.dice.below(6) {
            let steps = self.world.steps();
            let Some(&step) = self.dice.pick(&steps) else { break };
            // The applier is the slowest of all.
            if step == Step::Apply && !self.dice.chance(4) {
                continue;
            }
            self.world.step(step);
            self.world.check_held_equal();
        }
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let limits = &self.world.config.limits;
        for shard in &self.world.shards {
            let gauges = shard.gauges();
            assert!(gauges.in_flight <= limits.in_flight_max.into());
            assert!(gauges.in_flight_bytes <= limits.in_flight_bytes_max);
            assert!(gauges.waiting_bytes <= limits.waiting_bytes_max);
            assert!(gauges.loading <= limits.loads_max.into());
            assert!(gauges.recent_bytes <= limits.recent_bytes_max);
        }
        for user in self.world.truth.users() {
            for device in self.world.truth.image(user).expect("listed").devices {
                assert!(device.entries.len() <= limits.queue_entries_max as usize);
                assert!(device.entries.is_sorted_by_key(|(position, _)| *position));
            }
        }
    }

    /// Everybody comes, repeats what was not sent, and acks until nothing is left.
    fn finish(&mut self) {
        self.world.store_down = false;
        self.world.slow.clear();
        for _ in 0..400 {
            let mut rests = true;
            for at in 0..self.clients.len() {
                let Self { world, clients, .. } = self;
                let client = &mut clients[at];
                client.listen(world);
                if client.connection.is_none() {
                    client.connect(world, 5, false);
                    rests = false;
                }
                world.settle();
                client.listen(world);
                if !client.is_welcome(world) {
                    rests = false;
                    continue;
                }
                let numbers: Vec<_> = client.wanted.keys().copied().collect();
                for number in numbers {
                    rests = false;
                    client.give_out(world, number);
                    world.settle();
                }
                client.listen(world);
                if !client.unacked.is_empty() {
                    rests = false;
                    client.ack(world, client.last_push());
                }
                world.settle();
                client.listen(world);
                if client.has_gap() {
                    rests = false;
                    client.fetch(world);
                    client.close_gap(world);
                    world.settle();
                }
            }
            self.world.pass(Duration::from_secs(2));
            self.world.tick();
            self.world.settle();
            if rests {
                return;
            }
        }
        let left: Vec<_> = self.clients.iter().map(|client| client.wanted.len()).collect();
        panic!("the clients do not come to rest: {left:?} to send");
    }

    fn check_end(&self) {
        let truth = &self.world.truth;
        for client in &self.clients {
            client.check_answered();
            client.check_order();
            for (number, (id, wanted)) in &client.sent {
                let row = truth.messages.get(id).expect("what was `sent` is kept");
                assert_eq!((&row.body[..], row.head.to), (&wanted.body[..], wanted.to), "{number}");
            }
        }
        let device_of = |user: UserId, number: u8| {
            let found = |client: &&Client| (client.user, client.device) == (user, number);
            self.clients.iter().find(found).expect("only these clients exist")
        };
        for row in truth.messages.values() {
            let head = &row.head;
            // From its queue, or from history behind the cursor of a gap that was told.
            let meant = [
                (head.to, head.recipient_devices),
                (head.from, head.copy_devices),
                (head.to, head.recipient_gaps),
                (head.from, head.copy_gaps),
            ];
            for (user, devices) in meant {
                for device in devices.iter().filter(|&device| self.stayed(user, device, row)) {
                    let client = device_of(user, device.number());
                    assert!(client.seen.contains(&head.id), "{:?} lost {}", client, head.id);
                }
            }
        }
        self.check_cursors();
        for &user in &self.users {
            for device in truth.image(user).expect("everybody has signed in").devices {
                assert!(device.entries.is_empty() && device.receipts.is_empty());
                assert_eq!(device.gap, None, "read and closed");
            }
        }
        for shard in &self.world.shards {
            let gauges = shard.gauges();
            assert_eq!((gauges.in_flight, gauges.waiting_bytes, gauges.loading), (0, 0, 0));
        }
    }

    /// Whether a device was one when the message was queued for it, and has not signed out since.
    fn stayed(&self, user: UserId, device: DeviceId, row: &MessageRow) -> bool {
        let fate = |record: &SharedRecord| match &record.head {
            Head::DeviceAdded(it) if (it.user, it.device) == (user, Some(device)) => Some(true),
            Head::DeviceRemoved(it) if (it.user, it.device) == (user, device) => Some(false),
            _ => None,
        };
        let (before, after) = self.world.durable.split_at(row.position.0 as usize);
        before.iter().rev().find_map(fate) == Some(true)
            && !after.iter().filter_map(fate).any(|is_added| !is_added)
    }

    /// Delivered means that a device said so, of this message and of all before it that stood in
    /// its queue; and the last message of each direction is delivered.
    fn check_cursors(&self) {
        let truth = &self.world.truth;
        for (&(reader, sender, status), &id) in &truth.cursors {
            let row = &truth.messages[&id];
            assert_eq!((row.head.from, row.head.to), (sender, reader), "of one's own messages");
            if status != status_number(Status::Delivered) {
                continue;
            }
            let said_so =
                self.clients.iter().filter(|client| client.user == reader).any(|client| {
                    client.acked.contains(&id)
                        && truth.messages.range(..id).all(|(earlier, row)| {
                            let head = &row.head;
                            let device = DeviceId::new(client.device).expect("1 to 3");
                            (head.from, head.to) != (sender, reader)
                                || !head.recipient_devices.contains(device)
                                || !self.stayed(head.to, device, row)
                                || client.acked.contains(earlier)
                                // It may have left by age, told as a gap.
                                || self.counted[EXPIRED] > 0
                        })
                });
            assert!(said_so, "{id} from {sender} to {reader}");
        }
        if self.counted[EXPIRED] > 0 {
            // What has left by age, nobody has acked.
            return;
        }
        let stayed = |row: &&MessageRow| {
            let head = &row.head;
            head.recipient_devices.iter().any(|device| self.stayed(head.to, device, row))
        };
        for row in truth.messages.values().filter(stayed) {
            let key = (row.head.to, row.head.from, status_number(Status::Delivered));
            assert!(truth.cursors.get(&key) >= Some(&row.head.id), "acked in the end");
        }
    }
}

/// Acts so many times, or until the script ends; then everything comes to rest and is checked.
/// Answers how often some of what matters has happened.
pub(crate) fn run(dice: Dice, actions_max: usize) -> [u64; 12] {
    let mut run = Run::new(dice);
    for _ in 0..actions_max {
        if run.dice.is_spent() {
            break;
        }
        run.act();
        run.happen();
    }
    run.finish();
    run.count();
    run.check_end();
    run.counted
}
