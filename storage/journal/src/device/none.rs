//! A device that keeps nothing: what everything but the disk costs, for measurements only.

use crate::{device::LogDevice, error::DeviceError};

/// [`LogDevice`] that answers at once and writes nothing.
#[derive(Debug, Default)]
pub struct NoDevice {
    /// The buffer of the last batch, to be used again.
    spare: Vec<u8>,
}

/// A plain buffer.
#[derive(Debug)]
pub struct NoBuffer(Vec<u8>);

impl AsMut<[u8]> for NoBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl LogDevice for NoDevice {
    type Buffer = NoBuffer;

    fn buffer(&mut self, bytes: usize) -> NoBuffer {
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.resize(bytes, 0);
        NoBuffer(buffer)
    }

    async fn write(&mut self, _: u32, _: u64, buffer: NoBuffer) -> Result<(), DeviceError> {
        self.spare = buffer.0;
        Ok(())
    }

    async fn sync(&mut self, _: u32) -> Result<(), DeviceError> {
        Ok(())
    }

    async fn close(&mut self) {}
}
