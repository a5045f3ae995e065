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
use nix::{
    fcntl::OFlag,
    sys::resource::{Resource, getrlimit},
};

use crate::{
    device::LogDevice,
    directory::Directory,
    error::{DeviceError, Operation},
};

/// Memory registered with the ring; batches beyond it use ordinary aligned memory.
const IO_MEMORY_BYTES: usize = 1 << 20;
/// Below this limit on locked memory glommio makes no executor.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
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
        .map_err(|error| explain(error.into(), granted_locked_bytes()))
}

/// How much memory this process may lock; without an answer, any.
fn granted_locked_bytes() -> u64 {
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |(soft, _)| soft)
}

/// glommio asks for the limit and names it by a word of its own: an operator is told what to raise.
fn explain(error: io::Error, granted: u64) -> io::Error {
    if granted >= LOCKED_BYTES_MIN {
        return error;
    }
    io::Error::other(format!(
        "RLIMIT_MEMLOCK is {granted} bytes, but {LOCKED_BYTES_MIN} are needed for direct I/O: raise it \
         (`ulimit -l`, or LimitMEMLOCK= of the systemd unit)"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_to_lock_is_told_with_limit_need_and_remedy() {
        let error = || io::Error::other("MemLockLimit(65536/524288)");
        let text = explain(error(), 64 << 10).to_string();
        assert!(text.starts_with("RLIMIT_MEMLOCK is 65536 bytes, but 524288"), "{text}");
        assert!(text.contains("`ulimit -l`") && text.contains("LimitMEMLOCK="), "{text}");
        assert_eq!(explain(error(), LOCKED_BYTES_MIN).to_string(), error().to_string());
    }
}
