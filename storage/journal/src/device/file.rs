//! The plain device: `pwrite` and `fdatasync` on a file, blocking the journal thread.
//!
//! Works on every file system. Its futures are ready at once.

use std::{fs::File, os::unix::fs::FileExt};

use crate::{
    device::LogDevice,
    directory::Directory,
    error::{DeviceError, Operation},
};

/// [`LogDevice`] over `std::fs`.
#[derive(Debug)]
pub struct FileDevice {
    directory: Directory,
    open: Option<(u32, File)>,
    /// The buffer of the last batch, to be used again.
    spare: Vec<u8>,
}

impl FileDevice {
    /// Writes segments of `directory`.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        Self { directory, open: None, spare: Vec::new() }
    }

    fn file(&mut self, slot: u32) -> Result<&File, DeviceError> {
        if self.open.as_ref().is_none_or(|&(open, _)| open != slot) {
            let path = self.directory.segment_path(slot);
            // Never with `create`: a segment that is gone must not come back half empty.
            let file = ringpost_files::open_to_write(&path)
                .map_err(|error| DeviceError::new(Operation::Open, path, error.into()))?;
            self.open = Some((slot, file));
        }
        Ok(&self.open.as_ref().expect("opened above").1)
    }
}

/// A plain buffer.
#[derive(Debug)]
pub struct FileBuffer(Vec<u8>);

impl AsMut<[u8]> for FileBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl LogDevice for FileDevice {
    type Buffer = FileBuffer;

    fn buffer(&mut self, bytes: usize) -> FileBuffer {
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.resize(bytes, 0);
        FileBuffer(buffer)
    }

    async fn write(
        &mut self,
        slot: u32,
        offset: u64,
        buffer: FileBuffer,
    ) -> Result<(), DeviceError> {
        let written = self.file(slot)?.write_all_at(&buffer.0, offset);
        self.spare = buffer.0;
        let path = self.directory.segment_path(slot);
        written.map_err(|error| DeviceError::new(Operation::Write, path, error))
    }

    async fn sync(&mut self, slot: u32) -> Result<(), DeviceError> {
        let synced = self.file(slot)?.sync_data();
        let path = self.directory.segment_path(slot);
        synced.map_err(|error| DeviceError::new(Operation::Sync, path, error))
    }

    async fn close(&mut self) {
        self.open = None;
    }
}
