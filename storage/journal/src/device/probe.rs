//! Finding out at boot whether the direct device works here, at no risk.
//!
//! glommio panics on some block devices, and a panic ends the process. So a child process tries
//! everything that the journal will do: opens the probe file, writes a block with direct I/O, syncs
//! it and reads it back. The server offers [`probe_child`] as a hidden subcommand of itself.

use std::{
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use ringpost_files::Rule;

use crate::{
    device::{DeviceKind, LogDevice, glommio},
    directory::Directory,
    error::{DeviceError, OpenError, Operation},
    format::BLOCK_BYTES,
};

/// Longest time that the trial may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at the child.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of the child's last words that are kept.
const STDERR_BYTES_MAX: u64 = 4096;
/// A slot that no journal reaches: its file is the trial's own.
const TRIAL_SLOT: u32 = u32::MAX;

/// Which device to use, and why not the better one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// Direct I/O works.
    Glommio,
    /// It does not; the plain file is used.
    File {
        /// What happened, for the log and `/readyz`.
        reason: String,
    },
}

impl DeviceChoice {
    /// The device.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match self {
            DeviceChoice::Glommio => DeviceKind::Glommio,
            DeviceChoice::File { .. } => DeviceKind::File,
        }
    }
}

/// Runs `command`, which must end up in [`probe_child`] for the same directory, and judges by
/// what becomes of it. Never fails: what goes wrong is a reason for the file device.
#[must_use]
pub fn probe(mut command: Command) -> DeviceChoice {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return refuse(format!("the probe could not be started: {error}")),
    };
    // Read beside the waiting: a child with much to say must not block on a full pipe.
    let stderr = child.stderr.take().expect("piped above");
    let words = thread::spawn(move || last_words(stderr));
    let status = wait(&mut child, PROBE_TIMEOUT);
    let words = words.join().unwrap_or_default();
    match status {
        Ok(Some(status)) if status.success() => DeviceChoice::Glommio,
        Ok(Some(status)) => refuse(format!("direct I/O does not work here ({status}): {words}")),
        Ok(None) => refuse(format!("the probe did not end within {PROBE_TIMEOUT:?}")),
        Err(error) => refuse(format!("the probe could not be watched: {error}")),
    }
}

/// The child's part: writes, syncs and reads back one block in `directory`, the journal's.
///
/// # Errors
/// Whatever does not work. It may also panic: that is what the child is for.
pub fn probe_child(directory: &Path) -> Result<(), OpenError> {
    let directory = Directory::open(directory)?;
    directory.prepare(TRIAL_SLOT, BLOCK_BYTES as u64)?;
    let result = trial(&directory);
    directory.remove(TRIAL_SLOT)?;
    Ok(result?)
}

fn trial(directory: &Directory) -> Result<(), DeviceError> {
    let failed = |operation, error| DeviceError::new(operation, directory.path(), error);
    let executor = glommio::executor().map_err(|error| failed(Operation::Open, error))?;
    let pattern: Vec<u8> = (0..BLOCK_BYTES).map(|index| (index % 251) as u8).collect();
    executor.run(async {
        let mut device = glommio::GlommioDevice::open(directory.clone()).await?;
        let mut buffer = device.buffer(BLOCK_BYTES);
        buffer.as_mut().copy_from_slice(&pattern);
        device.write(TRIAL_SLOT, 0, buffer).await?;
        device.sync(TRIAL_SLOT).await?;
        device.close().await;
        Ok(())
    })?;
    let mut found = vec![0; BLOCK_BYTES];
    ringpost_files::open_to_read(&directory.segment_path(TRIAL_SLOT), Rule::Ours)
        .map_err(io::Error::from)
        .and_then(|file| file.read_exact_at(&mut found, 0))
        .map_err(|error| failed(Operation::Read, error))?;
    if found == pattern {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::InvalidData, "read back something else");
    Err(failed(Operation::Read, error))
}

fn refuse(reason: String) -> DeviceChoice {
    DeviceChoice::File { reason }
}

/// Waits, and kills the child when its time is over.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    while started.elapsed() < timeout {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL_INTERVAL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn last_words(stderr: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut stderr = stderr;
    // A read error only shortens the message.
    let _ = stderr.by_ref().take(STDERR_BYTES_MAX).read_to_end(&mut bytes);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&bytes).trim().replace('\n', " | ")
}
