//! What a world is like: drawn from its seed, so that each seed is another one.

use std::time::Duration;

use ringpost_ring::fake::Faults;

use crate::chance::Chance;
use crate::planted::Planted;

/// The options of one run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// Workers of the node.
    pub workers: u16,
    /// Users; each has one to three devices.
    pub users: usize,
    /// Messages that are made in all.
    pub messages: usize,
    /// Lives of the server: it is killed between two of them.
    pub lives: usize,
    /// Steps of one life.
    pub steps: usize,
    /// What the ring and the network do.
    pub ring: Faults,
    /// Bytes that a connection holds in each direction.
    pub socket_bytes: usize,
    /// Letters that a worker's mailbox holds.
    pub mailbox_letters_max: usize,
    /// Bytes of resident users at one worker: small worlds must evict.
    pub resident_bytes_max: u64,
    /// Every so many flushes one fails; 0: none.
    pub failed_sync_once_in: usize,
    /// Every so many writes one fails; 0: none.
    pub failed_write_once_in: usize,
    /// Every so many steps the wall clock jumps by up to a day, either way; 0: never.
    pub wall_jump_once_in: usize,
    /// Every so many steps a client loses its connection.
    pub disconnect_once_in: usize,
    /// Every so many client steps it stops reading, or reads a byte at a time.
    pub stall_once_in: usize,
    /// How often the store persists.
    pub persist_every: Duration,
    /// Events that a report shows, at least 1.
    pub events_shown_max: usize,
    /// What the simulator does wrong on purpose.
    pub planted: Option<Planted>,
}

impl Options {
    /// The world of this seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, u64::MAX);
        let mut pick = |choices: &[usize]| choices[chance.below(choices.len())];
        Self {
            seed,
            workers: pick(&[1, 2, 2, 3]) as u16,
            users: pick(&[2, 3, 5, 8]),
            messages: pick(&[20, 60, 120]),
            lives: pick(&[1, 2, 3, 5]),
            steps: pick(&[150, 400, 1_000]),
            ring: [Faults::none(), Faults::gentle(), Faults::harsh()][pick(&[0, 1, 2])],
            socket_bytes: pick(&[512, 4_096, 16_384]),
            mailbox_letters_max: pick(&[2, 16, 1_024]),
            resident_bytes_max: pick(&[64 << 10, 256 << 10, 1 << 20]) as u64,
            failed_sync_once_in: pick(&[0, 0, 60]),
            failed_write_once_in: pick(&[0, 0, 60]),
            wall_jump_once_in: pick(&[0, 200]),
            disconnect_once_in: pick(&[0, 300, 60]),
            stall_once_in: pick(&[0, 100]),
            persist_every: Duration::from_millis(pick(&[5, 50, 500]) as u64),
            events_shown_max: 40,
            planted: None,
        }
    }
}
