//! How a ring set is opened, how much memory that takes, and why it may be refused.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use thiserror::Error;

/// Sizes of one ring set. [`RingConfig::default`] suits a worker of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingConfig {
    /// Size of the submission queue: operations queued in one turn without an extra enter.
    /// A power of two up to 32,768. Default 2,048.
    pub submission_entries: u32,
    /// Size of the completion queue. A power of two up to 65,536; never below
    /// `submission_entries`. Too small is slow, not wrong. Default 32,768.
    pub completion_entries: u32,
    /// Slots wanted. There are fewer where RLIMIT_NOFILE or the kernel allows fewer for one table
    /// and `rings_max` does not make up for it. Default: the kernel's limit of 1,048,576.
    pub slots_max: u32,
    /// Slots of one ring's table at most, a lower bound than RLIMIT_NOFILE and the kernel's own.
    /// Default: the kernel's limit.
    pub slots_per_ring_max: u32,
    /// Rings at most. Beside the main one there are as many as `slots_max` needs. Default 1.
    pub rings_max: u16,
    /// Receive buffers that connections share. A power of two up to 32,768. Default 2,048.
    pub buffers: u16,
    /// Size of one receive buffer, also what one completion brings at most. Default 4,096.
    pub buffer_bytes: u32,
    /// Bytes that one connection may receive before others get their turn (0: the kernel's own
    /// limit of 32 buffers). Where the kernel knows no such cap (before 6.17), it is left out.
    /// Default: one buffer.
    pub receive_turn_bytes: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            submission_entries: 2_048,
            completion_entries: 32_768,
            slots_max: Self::SLOTS_LIMIT,
            slots_per_ring_max: Self::SLOTS_LIMIT,
            rings_max: 1,
            buffers: 2_048,
            buffer_bytes: 4_096,
            receive_turn_bytes: 4_096,
        }
    }
}

impl RingConfig {
    /// Entries of a registered file table in the kernel (`IORING_MAX_FIXED_FILES`).
    pub const SLOTS_LIMIT: u32 = 1 << 20;

    const SUBMISSION_ENTRY_BYTES: u64 = 64;
    const COMPLETION_ENTRY_BYTES: u64 = 16;
    const BUFFER_ENTRY_BYTES: u64 = 16;
    /// Four bytes here, a pointer and a bit in the kernel.
    const SLOT_BYTES: u64 = 4 + 8 + 1;

    /// Sizes of a parking ring's queues and of its buffer group: bursts of few, among very many
    /// that are silent. With 4 KiB buffers 144 KiB a ring.
    const PARKING_SUBMISSION_ENTRIES: u32 = 256;
    const PARKING_COMPLETION_ENTRIES: u32 = 4_096;
    const PARKING_BUFFERS: u16 = 16;

    /// Memory of a ring set of this plan, kernel included, connections and operations in flight
    /// not included.
    #[must_use]
    pub fn memory_bytes(&self, plan: RingPlan) -> u64 {
        self.queues_bytes()
            + u64::from(plan.rings.saturating_sub(1)) * self.of_parking().queues_bytes()
            + u64::from(plan.slots) * Self::SLOT_BYTES
    }

    /// What a ring set of this plan locks at most: the queues of its rings and of their buffer groups.
    /// Which of it the kernel counts against RLIMIT_MEMLOCK differs from version to version.
    #[must_use]
    pub fn queues_bytes_max(&self, plan: RingPlan) -> u64 {
        let buffers = u64::from(self.buffers) * u64::from(self.buffer_bytes);
        let of_slots = u64::from(plan.slots) * Self::SLOT_BYTES;
        self.memory_bytes(plan).saturating_sub(of_slots + buffers)
    }

    fn queues_bytes(&self) -> u64 {
        u64::from(self.submission_entries) * Self::SUBMISSION_ENTRY_BYTES
            + u64::from(self.completion_entries) * Self::COMPLETION_ENTRY_BYTES
            + u64::from(self.buffers) * (u64::from(self.buffer_bytes) + Self::BUFFER_ENTRY_BYTES)
    }

    /// How many rings hold the slots that are wanted, with the RLIMIT_NOFILE of now.
    ///
    /// # Errors
    ///
    /// If the limit cannot be read.
    pub fn plan(&self) -> Result<RingPlan, OpenError> {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)
            .map_err(|errno| OpenError::of_errno("getrlimit", errno))?;
        Ok(self.plan_for(u32::try_from(soft).unwrap_or(u32::MAX)))
    }

    /// How many rings hold the slots that are wanted, in a process that may have so many files.
    #[must_use]
    pub fn plan_for(&self, files_max: u32) -> RingPlan {
        let each = self.slots_per_ring_max.min(Self::SLOTS_LIMIT).min(files_max).max(1);
        let each = each.min(self.slots_max);
        let rings = self.slots_max.div_ceil(each).min(self.rings_max.into());
        RingPlan { rings, slots_each: each, slots: self.slots_max.min(rings.saturating_mul(each)) }
    }

    /// The sizes of a parking ring of this set.
    pub(crate) fn of_parking(&self) -> Self {
        Self {
            submission_entries: self.submission_entries.min(Self::PARKING_SUBMISSION_ENTRIES),
            completion_entries: self.completion_entries.min(Self::PARKING_COMPLETION_ENTRIES),
            buffers: self.buffers.min(Self::PARKING_BUFFERS),
            ..self.clone()
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let power = |name, value: u32, max: u32| {
            let fits = value.is_power_of_two() && value <= max;
            fits.then_some(()).ok_or(OpenError::Size { name, value, max })
        };
        power("submission_entries", self.submission_entries, 32_768)?;
        power("completion_entries", self.completion_entries, 65_536)?;
        power("buffers", u32::from(self.buffers), 32_768)?;
        if self.completion_entries < self.submission_entries {
            return Err(OpenError::SmallCompletionQueue);
        }
        let sizes = [self.buffer_bytes, self.slots_max, self.slots_per_ring_max];
        if sizes.contains(&0) || self.rings_max == 0 {
            return Err(OpenError::Zero);
        }
        Ok(())
    }
}

/// How many rings a set has, and why so many: what one table may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingPlan {
    /// The main ring and the parking rings.
    pub rings: u32,
    /// Slots of one ring.
    pub slots_each: u32,
    /// Slots of all, as wanted or as many as the rings hold.
    pub slots: u32,
}

/// Why a ring set cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A size is not what the kernel takes.
    #[error("{name} is {value}; it must be a power of two, at most {max}")]
    Size {
        /// Which field of [`RingConfig`].
        name: &'static str,
        /// What it is.
        value: u32,
        /// What it may be.
        max: u32,
    },
    /// The completion queue must hold what one submission can complete.
    #[error("completion_entries must not be below submission_entries")]
    SmallCompletionQueue,
    /// A ring set without slots or with empty buffers does nothing.
    #[error("buffer_bytes, slots_max, slots_per_ring_max and rings_max must not be zero")]
    Zero,
    /// The kernel granted a later ring fewer slots than the first.
    #[error("no descriptors for the tables of all rings. Raise `ulimit -n`, systemd LimitNOFILE=")]
    UnequalTables,
    /// The process may not use io_uring at all.
    #[error(
        "io_uring is forbidden to this process ({errno}). Allow it: `sysctl \
         kernel.io_uring_disabled=0` on the host (2 forbids it to all, 1 to processes without \
         CAP_SYS_ADMIN outside kernel.io_uring_group), and in a container a seccomp profile that \
         allows io_uring_setup, io_uring_enter and io_uring_register (the default profiles of \
         Docker and containerd do not)"
    )]
    Forbidden {
        /// EPERM or EACCES.
        errno: Errno,
    },
    /// The kernel has no io_uring, or not what is needed of it.
    #[error(
        "this kernel lacks {what} ({errno}). Linux 6.8 or later is needed, built with \
         CONFIG_IO_URING"
    )]
    Unsupported {
        /// The missing part.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// Not enough memory, or not enough that may be locked.
    #[error(
        "no memory for {what} ({errno}). Raise the locked-memory limit (`ulimit -l`, systemd \
         LimitMEMLOCK=) or the memory limit of the container, or make the rings smaller"
    )]
    Memory {
        /// For what.
        what: &'static str,
        /// ENOMEM.
        errno: Errno,
    },
    /// The process has no descriptors left, or may not have even one slot.
    #[error("no descriptors for {what} ({errno}). Raise `ulimit -n`, systemd LimitNOFILE=")]
    Descriptors {
        /// For what.
        what: &'static str,
        /// EMFILE or ENFILE.
        errno: Errno,
    },
    /// Anything else.
    #[error("{what} failed ({errno})")]
    Failed {
        /// Which step.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl OpenError {
    pub(crate) fn of(what: &'static str, error: &io::Error) -> Self {
        Self::of_errno(what, Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }

    pub(crate) fn of_errno(what: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => Self::Forbidden { errno },
            Errno::ENOSYS | Errno::EINVAL | Errno::EOPNOTSUPP => Self::Unsupported { what, errno },
            Errno::ENOMEM => Self::Memory { what, errno },
            Errno::EMFILE | Errno::ENFILE => Self::Descriptors { what, errno },
            _ => Self::Failed { what, errno },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_the_kernel_would_refuse_is_named() {
        let config = RingConfig { buffers: 3, ..RingConfig::default() };
        let message = config.check().expect_err("3 is no power of two").to_string();
        assert!(message.contains("buffers is 3"), "{message}");
        let config = RingConfig { completion_entries: 1_024, ..RingConfig::default() };
        assert!(matches!(config.check(), Err(OpenError::SmallCompletionQueue)));
        assert!(RingConfig::default().check().is_ok());
    }

    #[test]
    fn there_are_as_many_rings_as_the_slots_need() {
        let check = |slots_max, rings_max, files_max, expected: (u32, u32, u32)| {
            let config = RingConfig { slots_max, rings_max, ..RingConfig::default() };
            let plan = config.plan_for(files_max);
            assert_eq!((plan.rings, plan.slots_each, plan.slots), expected);
        };
        // Where the limit is normal: one.
        check(1_000_000, 256, 1 << 30, (1, 1_000_000, 1_000_000));
        check(1_000_000, 256, 20_000, (50, 20_000, 1_000_000));
        check(1_000_001, 256, 20_000, (51, 20_000, 1_000_001));
        check(20_000, 256, 20_000, (1, 20_000, 20_000));
        // No more than allowed: then there are fewer slots.
        check(1_000_000, 8, 20_000, (8, 20_000, 160_000));
        check(1_000_000, 1, 20_000, (1, 20_000, 20_000));
        // More than one table of the kernel holds.
        check(3 << 20, 256, u32::MAX, (3, 1 << 20, 3 << 20));
    }

    #[test]
    fn what_is_missing_is_told_with_the_remedy() {
        let check = |errno, expected: &str| {
            let message = OpenError::of_errno("io_uring_setup", errno).to_string();
            assert!(message.contains(expected), "{errno}: {message}");
        };
        check(Errno::EPERM, "kernel.io_uring_disabled");
        check(Errno::EPERM, "seccomp");
        check(Errno::ENOSYS, "CONFIG_IO_URING");
        check(Errno::ENOMEM, "ulimit -l");
        check(Errno::EMFILE, "ulimit -n");
    }
}
