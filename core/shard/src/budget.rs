//! A bounded number of things and of their bytes.

/// What is used of a budget, and how much there is.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    count_max: u64,
    bytes_max: u64,
}

impl Budget {
    pub(crate) const fn new(count_max: u64, bytes_max: u64) -> Self {
        Self { count: 0, bytes: 0, count_max, bytes_max }
    }

    /// Takes one thing of `bytes`, if both fit.
    pub(crate) fn try_take(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let fits = self.count < self.count_max && self.bytes + bytes <= self.bytes_max;
        if fits {
            self.count += 1;
            self.bytes += bytes;
        }
        fits
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.count = self.count.checked_sub(1).expect("given back no more than was taken");
        self.bytes =
            self.bytes.checked_sub(bytes as u64).expect("given back no more than was taken");
    }
}
