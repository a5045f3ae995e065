//! What a run is made of. Everything follows from the seed, so that the seed alone replays it.

use std::time::Duration;

use ringpost_conn::{ConnectionConfig, InputRate};
use ringpost_ring::fake::{FakeSizes, Faults};
use ringpost_shard::{Provision, ShardLimits};

use crate::dice::Dice;
use crate::plant::Plant;

/// Longer than any run; but the wall clock may jump beyond it.
const LONG_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Options of one run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed of everything.
    pub seed: u64,
    /// A fault that the wrappers commit.
    pub plant: Option<Plant>,
    /// Steps before it becomes calm.
    pub steps: u32,
    /// Users who promise to behave.
    pub users: u8,
    /// Devices of each.
    pub devices: u8,
    /// Users who lie.
    pub liars: u8,
    /// Users who come in the middle of trouble, and leave at the worst moment.
    pub newcomers: u8,
    /// Slots of each worker's ring.
    pub slots: u32,
    /// Letters in one mailbox.
    pub letters_max: usize,
    /// What the ring does beside what it was asked.
    pub faults: Faults,
    /// Sizes of socket buffers and receives.
    pub sizes: FakeSizes,
    /// Largest delay of a segment between client and server.
    pub delay_max: Duration,
    /// Largest latency of a disk operation.
    pub latency_max: Duration,
    /// How late some workers are told what became durable.
    pub lag: Duration,
    /// The server dies once in so many steps; 0 = never.
    pub death_in: u64,
    /// A disk operation fails once in so many; 0 = never.
    pub disk_error_in: u64,
    /// A bit of the disk turns over in one of so many deaths; 0 = never.
    pub flip_in: u64,
    /// A store read fails once in so many; 0 = never.
    pub read_error_in: u64,
    /// The wall clock jumps once in so many steps; 0 = never.
    pub jump_in: u64,
    /// Largest content, bytes.
    pub body_bytes_max: u64,
    /// Outboxes of connections.
    pub outbox_bytes_max: usize,
    /// Bytes that may wait for all connections of a worker; what one turn brings comes on top.
    pub outboxes_bytes_max: usize,
    /// Bytes of input that is not complete, of all connections of a worker; the same.
    pub input_bytes_max: usize,
    /// Sends in flight of one worker.
    pub in_flight_max: u32,
    /// Users at once in memory, bytes.
    pub resident_bytes_max: u64,
    /// Unacked pushes that are granted.
    pub window_pushes: u32,
    /// What of one user is read in a time.
    pub user_input: InputRate,
    /// Messages in one device's queue.
    pub queue_entries_max: u32,
    /// How long an entry waits for its device.
    pub queue_ttl: Duration,
    /// Lines of the trace that a report shows.
    pub lines_max: usize,
}

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let dice = &mut Dice::new(seed ^ 0x0b75_1095);
        let faults = dice.pick(&[Faults::none(), Faults::gentle(), Faults::harsh()]);
        Self {
            seed,
            plant: None,
            steps: dice.pick(&[600, 1_500, 3_000]),
            users: dice.pick(&[2, 3, 4]),
            devices: dice.pick(&[1, 2, 2]),
            liars: dice.pick(&[0, 1, 2]),
            slots: dice.pick(&[32, 64]),
            letters_max: dice.pick(&[4, 16, 256]),
            faults: Faults { fail_install: 0, ..faults },
            sizes: FakeSizes {
                socket_bytes: dice.pick(&[400, 3_000, 16_384]),
                buffer_bytes: dice.pick(&[64, 1_024]),
                // Few, so that cancels find nothing often.
                inputs_per_turn: 2,
            },
            delay_max: Duration::from_micros(dice.pick(&[0, 500, 20_000])),
            latency_max: Duration::from_micros(dice.pick(&[50, 2_000, 30_000])),
            lag: Duration::from_millis(dice.pick(&[0, 0, 5, 300])),
            death_in: dice.pick(&[0, 100, 300, 1_000]),
            disk_error_in: dice.pick(&[0, 0, 200, 1_000]),
            flip_in: dice.pick(&[0, 0, 2]),
            read_error_in: dice.pick(&[0, 0, 20]),
            jump_in: dice.pick(&[0, 100, 500]),
            body_bytes_max: dice.pick(&[40, 500, 3_000]),
            outbox_bytes_max: dice.pick(&[600, 8_000, 256 << 10]),
            in_flight_max: dice.pick(&[4, 64, 65_536]),
            resident_bytes_max: dice.pick(&[64 << 10, Self::ROOM_FOR_ALL_BYTES]),
            window_pushes: dice.pick(&[1, 8, 256]),
            newcomers: dice.pick(&[0, 1, 3]),
            user_input: dice.pick(&[Self::NARROW_INPUT, ConnectionConfig::default().user_input]),
            queue_entries_max: dice.pick(&[6, 20, 10_000, 10_000]),
            queue_ttl: dice.pick(&[Duration::from_secs(2), LONG_TTL, LONG_TTL, LONG_TTL]),
            outboxes_bytes_max: dice.pick(&[24_000, 64 << 20]),
            input_bytes_max: dice.pick(&[12_000, 64 << 20]),
            lines_max: 60,
        }
    }

    /// How the workers treat their connections.
    pub(crate) fn connections(&self) -> ConnectionConfig {
        ConnectionConfig {
            outbox_bytes_max: self.outbox_bytes_max,
            outboxes_bytes_max: self.outboxes_bytes_max,
            input_bytes_max: self.input_bytes_max,
            progress_bytes_min: 64,
            user_input: self.user_input,
            ..ConnectionConfig::default()
        }
    }

    /// The limits of each shard.
    pub(crate) fn limits(&self) -> ShardLimits {
        ShardLimits {
            in_flight_max: self.in_flight_max,
            resident_bytes_max: self.resident_bytes_max,
            window_pushes_default: self.window_pushes,
            accepted_cache_max: 4,
            queue_entries_max: self.queue_entries_max,
            queue_sender_share: 2,
            queue_sender_entries_min: 1,
            queue_ttl: self.queue_ttl,
            quota_retry: Duration::from_secs(1),
            ..ShardLimits::default()
        }
    }

    /// As much as devices that behave say for long, and less than they say at once.
    const NARROW_INPUT: InputRate = InputRate { bytes_per_second: 96 << 10, burst_bytes: 8 << 10 };

    /// Whether entries of queues may leave by age.
    pub(crate) fn queues_age(&self) -> bool {
        self.queue_ttl < LONG_TTL
    }

    /// Nobody is let go.
    pub(crate) const ROOM_FOR_ALL_BYTES: u64 = 256 << 20;

    pub(crate) const PROVISION: Provision = Provision::OnSignIn;

    /// The command that runs this again.
    #[must_use]
    pub fn command(&self) -> String {
        let plant = self.plant.map(|plant| {
            let value = clap::ValueEnum::to_possible_value(&plant);
            format!(" --plant {}", value.expect("no plant is hidden").get_name())
        });
        format!("cargo xtask sim --seed {}{}", self.seed, plant.unwrap_or_default())
    }
}
