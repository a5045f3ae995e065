//! The direct device: `O_DIRECT` writes and `fdatasync` over io_uring, by glommio.
//!
//! Runs inside a glommio executor on the journal thread. Facts of glommio 0.9 that shape it:
//! - The first DMA open of an executor decides, by reading from that very file, whether the block
//!   device is polled. An empty file answers "success", and every later read fails. So the first
//!   open is always a file with a readable block ([`GlommioDevice::open`] takes care of it).
//! - It reads `/sys/dev/block/MAJOR:0/queue` and panics where that does not exist. Hence the trial
//!   in a child process before it is chosen (`device::probe`).
//! - Its buffers belong to the executor's thread: records are copied into one there.
//! - It opens files by itself: what [`Directory::open`] has looked at is opened without following a
//!   link.
//! - Locked memory is asked for at start: 1 MiB fits under common limits.

use std::io;

use glommio::{
    GlommioError, LocalExecutor, LocalExecutorBuilder, Placement,
    io::{DmaBuffer, DmaFile, OpenOptions},
};
use nix::fcntl::OFlag;

use crate::{
    device::LogDevice,
    directory::Directory,
    error::{DeviceError, Operation},
};

/// Memory registered with the ring; batches beyond it use ordinary aligned memory.
const IO_MEMORY_BYTES: usize = 1 << 20;
/// The journal has at most two operations in the ring.
const RING_DEPTH: usize = 16;

/// An executor for the calling thread.
///
/// # Errors
/// io_uring is not allowed here, or memory could not be locked.
pub(crate) fn executor() -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("journal")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .make()
        .map_err(io::Error::from)
}

/// [`LogDevice`] over glommio's `DmaFile`.
#[derive(Debug)]
pub struct GlommioDevice {
    directory: Directory,
    /// Opened first and kept open: it allocates buffers before there is a segment.
    probe: Option<DmaFile>,
    open: Option<(u32, DmaFile)>,
}

impl GlommioDevice {
    /// Writes segments of `directory`. To be called inside an executor, before any other DMA file
    /// is opened there.
    ///
    /// # Errors
    /// The file system refuses direct I/O.
    pub async fn open(directory: Directory) -> Result<Self, DeviceError> {
        let path = directory.probe_path();
        let probe = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .dma_open(&path)
            .await
            .map_err(|error| DeviceError::new(Operation::Open, path, io_error(error)))?;
        Ok(Self { directory, probe: Some(probe), open: None })
    }

    async fn file(&mut self, slot: u32) -> Result<&DmaFile, DeviceError> {
        if self.open.as_ref().is_none_or(|&(open, _)| open != slot) {
            self.close_segment().await;
            let path = self.directory.segment_path(slot);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlag::O_NOFOLLOW.bits())
                .dma_open(&path)
                .await
                .map_err(|error| DeviceError::new(Operation::Open, path, io_error(error)))?;
            self.open = Some((slot, file));
        }
        Ok(&self.open.as_ref().expect("opened above").1)
    }

    async fn close_segment(&mut self) {
        if let Some((slot, file)) = self.open.take()
            && let Err(error) = file.close().await
        {
            // All of it was synced before; only the descriptor is at stake.
            tracing::warn!(slot, %error, "closing a journal segment failed");
        }
    }
}

/// A buffer aligned for direct I/O.
#[derive(Debug)]
pub struct GlommioBuffer(DmaBuffer);

impl AsMut<[u8]> for GlommioBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.as_bytes_mut()
    }
}

impl LogDevice for GlommioDevice {
    type Buffer = GlommioBuffer;

    fn buffer(&mut self, bytes: usize) -> GlommioBuffer {
        let probe = self.probe.as_ref().expect("open until close");
        GlommioBuffer(probe.alloc_dma_buffer(bytes))
    }

    async fn write(
        &mut self,
        slot: u32,
        offset: u64,
        buffer: GlommioBuffer,
    ) -> Result<(), DeviceError> {
        let bytes = buffer.0.len();
        let written = self.file(slot).await?.write_at(buffer.0, offset).await;
        let path = self.directory.segment_path(slot);
        let fail = |error| Err(DeviceError::new(Operation::Write, path, error));
        match written {
            Ok(written) if written == bytes => Ok(()),
            // Blocks that exist are written whole or not at all, unless something is wrong.
            Ok(written) => fail(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("only {written} of {bytes} bytes were written"),
            )),
            Err(error) => fail(io_error(error)),
        }
    }

    async fn sync(&mut self, slot: u32) -> Result<(), DeviceError> {
        let synced = self.file(slot).await?.fdatasync().await;
        let path = self.directory.segment_path(slot);
        synced.map_err(|error| DeviceError::new(Operation::Sync, path, io_error(error)))
    }

    async fn close(&mut self) {
        self.close_segment().await;
        if let Some(probe) = self.probe.take()
            && let Err(error) = probe.close().await
        {
            tracing::warn!(%error, "closing the journal's probe file failed");
        }
    }
}

/// Keeps the errno, by which ENOSPC and its like are told apart.
fn io_error(error: GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => error.into(),
    }
}
