//! Every choice of the fake world comes from here, so that a seed replays a run.

/// How often things go otherwise than asked; each field out of 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// A completion waits for a later turn.
    pub defer: u8,
    /// Received bytes are cut at a random place.
    pub split: u8,
    /// A send is cut at a random place.
    pub short_send: u8,
    /// A send is refused with EAGAIN although there is room.
    pub refuse_send: u8,
    /// A move fails, half of the time with the slot filled at the target.
    pub fail_move: u8,
    /// An install fails with EMFILE.
    pub fail_install: u8,
    /// A descriptor that is brought gets no slot (ENFILE).
    pub fail_admit: u8,
    /// The peer's address cannot be read.
    pub fail_peer_address: u8,
    /// An accept fails with ENOMEM.
    pub fail_accept: u8,
}

impl Faults {
    /// Completions come at once, whole and in order of the slots' positions only by chance.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            defer: 0,
            split: 0,
            short_send: 0,
            refuse_send: 0,
            fail_move: 0,
            fail_install: 0,
            fail_admit: 0,
            fail_peer_address: 0,
            fail_accept: 0,
        }
    }

    /// Deferred, split and short: what a healthy kernel does too.
    #[must_use]
    pub const fn gentle() -> Self {
        Self { defer: 96, split: 96, short_send: 32, refuse_send: 16, ..Self::none() }
    }

    /// Operations also fail.
    #[must_use]
    pub const fn harsh() -> Self {
        Self {
            fail_move: 64,
            fail_install: 64,
            fail_admit: 64,
            fail_peer_address: 64,
            fail_accept: 16,
            ..Self::gentle()
        }
    }
}

/// A stream of numbers that follows from its seed: SplitMix64 (Steele, Lea and Flood, 2014). Small,
/// and the same everywhere.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True so often out of 256.
    pub(super) fn happens(&mut self, of_256: u8) -> bool {
        self.number() >> 56 < u64::from(of_256)
    }

    /// From 1 to `most`.
    pub(super) fn one_to(&mut self, most: usize) -> usize {
        assert!(most > 0, "there is something to choose from");
        1 + (self.number() % most as u64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.one_to(last + 1) - 1);
        }
    }
}
