//! The making of a backup in a running server, as the body of an answer on the private port.
//!
//! Owns a blocking thread for each backup, of which there is one at a time, and a queue of a few
//! blocks between it and the connection. Whoever does not take a block in time gets no more: a view of
//! the store is not kept for the slow.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use ringpost_files::{FileError, Rule};
use ringpost_store::StoreError;
use ringpost_store::rows::Rows;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::archive::Writer;
use super::{FILE_BYTES_MAX, FILES, SET_ASIDE};

/// Bytes of a block, and blocks that wait for the connection.
const BLOCK_BYTES: usize = 64 << 10;
const BLOCKS_MAX: usize = 8;

/// How long a block may wait for room in the queue.
const TAKE_DEADLINE: Duration = Duration::from_secs(20);

/// What a backup is made of.
#[derive(Clone)]
pub struct BackupSource {
    rows: Arc<dyn Rows>,
    data_dir: PathBuf,
    turn: Arc<Semaphore>,
}

/// Why a backup ends before its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("nobody takes it")]
    NotTaken,
}

impl BackupSource {
    /// The rows and the files of a data directory.
    pub fn new(rows: Arc<dyn Rows>, data_dir: &Path) -> Self {
        Self { rows, data_dir: data_dir.to_owned(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Begins a backup; `None` while another is made. To be called on the runtime.
    pub fn begin(&self) -> Option<Body> {
        let turn = Arc::clone(&self.turn).try_acquire_owned().ok()?;
        let (blocks, taken) = channel(BLOCKS_MAX);
        let making =
            Making { source: self.clone(), runtime: Handle::current(), blocks, _turn: turn };
        tokio::task::spawn_blocking(move || making.run());
        Some(Body::new(Blocks(taken)))
    }
}

struct Making {
    source: BackupSource,
    runtime: Handle,
    blocks: Sender<io::Result<Bytes>>,
    /// Held until it has ended.
    _turn: OwnedSemaphorePermit,
}

impl Making {
    fn run(self) {
        let mut writer = Writer::default();
        match self.write(&mut writer) {
            Ok(entries) => tracing::info!(entries, "a backup was taken"),
            Err(error) => {
                tracing::warn!(%error, "a backup was not finished");
                // The connection then breaks off, without an end that looks like one.
                let _ = self.blocks.try_send(Err(io::Error::other("the backup was not finished")));
            }
        }
    }

    /// Writes all of it; answers how many rows.
    fn write(&self, writer: &mut Writer) -> Result<u64, Ended> {
        self.files(writer)?;
        let mut rows = 0_u64;
        let mut is_taken = true;
        let position = self.source.rows.rows(&mut |space, key, value| {
            writer.row(space, key, value);
            rows += 1;
            if writer.waiting_bytes() >= BLOCK_BYTES {
                is_taken = self.send(writer.take());
            }
            Ok(if is_taken { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        writer.end(position);
        if is_taken && self.send(writer.take()) { Ok(rows) } else { Err(Ended::NotTaken) }
    }

    fn files(&self, writer: &mut Writer) -> Result<(), FileError> {
        let mut names: Vec<String> = FILES.iter().map(|&name| name.to_owned()).collect();
        let folder = self.source.data_dir.join(SET_ASIDE);
        if let Ok(entries) = std::fs::read_dir(folder) {
            let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
            let aside = entries.filter_map(|entry| name(entry.ok()?));
            names.extend(aside.map(|name| format!("{SET_ASIDE}/{name}")));
        }
        for name in names {
            let path = self.source.data_dir.join(&name);
            match ringpost_files::read(&path, FILE_BYTES_MAX, Rule::Ours) {
                Ok(content) => writer.file(&name, &content),
                // The clock is not there from the first moment on.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the block was taken.
    fn send(&self, block: Vec<u8>) -> bool {
        let sent = self.blocks.send_timeout(Ok(block.into()), TAKE_DEADLINE);
        self.runtime.block_on(sent).is_ok()
    }
}

/// The blocks as the body of an answer.
struct Blocks(Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Blocks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|block| block.map(|block| block.map(Frame::data)))
    }
}
