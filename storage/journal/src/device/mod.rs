//! What the journal thread needs of a disk while it runs: write a batch, make it durable.
//!
//! Three implementations, told apart at run time: [`mod@file`] (std, the page cache, `fdatasync`) and
//! [`glommio`] (io_uring, direct I/O); [`none`] keeps nothing and serves measurements. Creating, deleting and reading segments is the same for
//! both and is done by `directory`, beside the journal thread.

pub mod file;
pub mod glommio;
pub mod none;
pub mod probe;

use std::future::Future;

use crate::error::DeviceError;

/// Which implementation writes the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// [`file::FileDevice`].
    File,
    /// [`glommio::GlommioDevice`].
    Glommio,
    /// [`none::NoDevice`].
    None,
}

impl DeviceKind {
    /// Name in the configuration, in logs and in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            DeviceKind::File => "file",
            DeviceKind::Glommio => "glommio",
            DeviceKind::None => "none",
        }
    }
}

/// A device that batches are written to. One operation at a time; used by one thread.
pub trait LogDevice {
    /// Memory that this device can write from.
    type Buffer: AsMut<[u8]>;

    /// A buffer of `bytes`, a multiple of the block. Its content is unspecified.
    fn buffer(&mut self, bytes: usize) -> Self::Buffer;

    /// Writes the whole buffer to the segment in `slot`, which exists, at `offset`.
    fn write(
        &mut self,
        slot: u32,
        offset: u64,
        buffer: Self::Buffer,
    ) -> impl Future<Output = Result<(), DeviceError>>;

    /// Makes durable what was written to `slot`, the segment written last.
    fn sync(&mut self, slot: u32) -> impl Future<Output = Result<(), DeviceError>>;

    /// Closes what is open.
    fn close(&mut self) -> impl Future<Output = ()>;
}
