//! The embedded engine: one fjall database, one keyspace per [`Space`]. How a database is opened
//! stands in `opening`.
//!
//! fjall's write-ahead log is not synced per commit: ringpost's own journal is what acks, and a
//! commit here needs to be durable only before that journal is trimmed ([`Engine::persist`]).
//! fjall syncs its log before it flushes a memtable, so that after a crash the keyspaces are one
//! prefix of the commits.
//!
//! What is done about fjall's known troubles (3.1):
//! - A keyspace that is no longer written keeps old log files alive (its issue 288): every commit
//!   writes a row into every space ([`crate::layout`]), and when logs pile up all memtables
//!   are rotated. `clear()` is never called.
//! - A keyspace or a log that is missing is made anew, empty, and nobody is told. So every commit has
//!   a number, which every space shows, and a `witness` beside the database says which are durable.
//! - After a kill, writes can halt on sealed memtables that nobody flushes (its issue 257): at
//!   open and before each commit sealed memtables without a flush task get one.
//! - One failed write of any of its threads poisons it: from then on it takes no write, and its
//!   threads end. What it holds in memory stays readable. A disk that is well again needs a new
//!   database on the same files: [`Engine::reopen`].
//! - A commit sleeps until memtables are flushed and runs compacted, also where the threads that do
//!   so have ended, and then for ever. So the wait is ours, and looks whether it is in vain.
#![allow(
    clippy::disallowed_methods,
    reason = "an engine has files, and waits for its threads when it opens"
)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{AbstractTree as _, PersistMode, Readable};

use super::limits::RUNS_SLOW;
use super::opening::{self, Opened};
use super::{Engine, FjallLimits, OpenError, Order, Space, View, Visit, Write};
use crate::layout;
use crate::store::{StoreError, StoreStats};

/// When this many log files are there, all memtables are rotated so that the logs can go. A log
/// file is 64 MB: fjall's own limit, which counts bytes, acts later.
const JOURNALS_MAX: usize = 4;

/// Sealed memtables of a keyspace at which fjall halts writers.
const SEALED_HALT: usize = 4;

/// Between two looks at threads that are behind.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Longest wait for those who read from a database that is to be closed.
const READERS_WAIT: Duration = Duration::from_secs(10);

/// The embedded engine. Clones share the one database.
#[derive(Clone)]
pub struct FjallEngine {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    limits: FjallLimits,
    /// `None` while it is opened again, and after that has failed.
    open: RwLock<Option<Arc<Opened>>>,
    /// Held by whoever opens it again.
    reopening: Mutex<()>,
    openings: AtomicU64,
    commits_held: AtomicU64,
}

impl FjallEngine {
    /// Opens the store directory, and makes it if it is empty or not there.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is changed in a directory that is refused for its format.
    pub fn open(directory: &Path, limits: &FjallLimits) -> Result<Self, OpenError> {
        let opened = opening::open(directory, limits)?;
        let shared = Shared {
            directory: directory.to_owned(),
            limits: *limits,
            open: RwLock::new(Some(Arc::new(opened))),
            reopening: Mutex::new(()),
            openings: AtomicU64::new(1),
            commits_held: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The database, for as long as the answer is held.
    fn opened(&self) -> Option<Arc<Opened>> {
        self.shared.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_opened(&self, opened: Arc<Opened>) {
        *self.shared.open.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
    }

    /// Closes the database when the last who reads from it has left.
    fn close(&self) -> Result<(), OpenError> {
        let taken = {
            let mut open = self.shared.open.write().unwrap_or_else(PoisonError::into_inner);
            // With the lock: who sees the number sees no more of what it closes.
            self.shared.openings.fetch_add(1, Ordering::Release);
            open.take()
        };
        let Some(mut opened) = taken else { return Ok(()) };
        let deadline = Instant::now() + READERS_WAIT;
        loop {
            opened = match Arc::try_unwrap(opened) {
                Ok(alone) => {
                    drop(alone);
                    return Ok(());
                }
                Err(shared) => shared,
            };
            if Instant::now() > deadline {
                self.set_opened(opened);
                let path = self.shared.directory.clone();
                return Err(OpenError::Stuck { path, seconds: READERS_WAIT.as_secs() });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The error of a write. When one of its threads fails, fjall says only that it has stopped; the
    /// likely reasons are asked of the file system.
    fn write_error(&self, error: fjall::Error) -> StoreError {
        match error {
            fjall::Error::Poisoned => {
                let probed = opening::probe(&self.shared.directory);
                probed.err().map_or(StoreError::Stopped, StoreError::from)
            }
            error => store_error(error),
        }
    }

    /// Waits until the memtables have room and the engine's threads are not so far behind that it would
    /// halt who writes: there it would not notice that they have ended. fjall itself bounds only how
    /// many memtables are sealed, and lets a thread of its own seal a full one, which may be behind.
    fn wait_for_room(&self, opened: &Opened) -> fjall::Result<()> {
        let limits = &self.shared.limits;
        for space in &opened.spaces {
            if space.tree.active_memtable().size() > limits.memtable_bytes {
                space.rotate_memtable()?;
            }
        }
        let is_behind = |space: &fjall::Keyspace| {
            space.sealed_memtable_count() + 1 >= SEALED_HALT
                || space.tree.l0_run_count() >= RUNS_SLOW
        };
        let has_room = || {
            opened.database.write_buffer_size() < limits.counted_bytes_max()
                && !opened.spaces.iter().any(is_behind)
        };
        if has_room() {
            return Ok(());
        }
        self.shared.commits_held.fetch_add(1, Ordering::Relaxed);
        while !has_room() {
            opening::check_alive(&opened.database)?;
            opening::prod_flushes(opened)?;
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// A snapshot; `None` while there is no database to take one of.
pub struct FjallView(Option<Snapshot>);

struct Snapshot {
    // Goes before the database that it was taken of.
    rows: fjall::Snapshot,
    opened: Arc<Opened>,
}

impl View for FjallView {
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Self(Some(Snapshot { rows, opened })) = self else { return Err(StoreError::Stopped) };
        let value = rows.get(opened.space(space), key).map_err(store_error)?;
        Ok(value.map(Bytes::from))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let Self(Some(Snapshot { rows, opened })) = self else { return Err(StoreError::Stopped) };
        let mut range = rows.range(opened.space(space), from..to);
        loop {
            let next = match order {
                Order::Rising => range.next(),
                Order::Falling => range.next_back(),
            };
            let Some(row) = next else { return Ok(()) };
            let (key, value) = row.into_inner().map_err(store_error)?;
            if *key == layout::COMMIT {
                // The engine's own: of another store it would mean nothing.
                continue;
            }
            if let ControlFlow::Break(()) = visit(&key, &Bytes::from(value))? {
                return Ok(());
            }
        }
    }
}

impl Engine for FjallEngine {
    type View<'e> = FjallView;

    fn view(&self) -> FjallView {
        let snapshot = |opened: Arc<Opened>| Snapshot { rows: opened.database.snapshot(), opened };
        FjallView(self.opened().map(snapshot))
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let opened = self.opened().ok_or(StoreError::Stopped)?;
        self.wait_for_room(&opened).map_err(|error| self.write_error(error))?;
        let mut batch = opened.database.batch();
        for write in writes {
            match write {
                Write::Put(space, key, value) => {
                    batch.insert(opened.space(space), key.as_slice(), value);
                }
                Write::Delete(space, key) => batch.remove(opened.space(space), key.as_slice()),
            }
        }
        opened.commit(batch).map_err(|error| self.write_error(error))
    }

    fn persist(&self) -> Result<(), StoreError> {
        let opened = self.opened().ok_or(StoreError::Stopped)?;
        // Taken before the sync: a later commit may or may not be in it.
        let commits = opened.commits();
        let persisted = opened.database.persist(PersistMode::SyncData);
        persisted.map_err(|error| self.write_error(error))?;
        opened.witness().raise(commits)?;
        if opened.database.journal_count() >= JOURNALS_MAX {
            for space in &opened.spaces {
                space.rotate_memtable().map_err(|error| self.write_error(error))?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        let opened = self.opened().ok_or(StoreError::Stopped)?;
        opening::check_alive(&opened.database).map_err(|error| self.write_error(error))
    }

    fn reopen(&self) -> Result<(), OpenError> {
        let Shared { directory, limits, .. } = &*self.shared;
        let _alone = self.shared.reopening.lock().unwrap_or_else(PoisonError::into_inner);
        // Room first: until there is some, what the old database has in memory can be read.
        opening::probe(directory).map_err(|error| OpenError::io(directory, error))?;
        self.close()?;
        let opened = opening::open(directory, limits)?;
        self.set_opened(Arc::new(opened));
        Ok(())
    }

    fn openings(&self) -> u64 {
        self.shared.openings.load(Ordering::Acquire)
    }

    fn stats(&self) -> StoreStats {
        let Some(opened) = self.opened() else { return StoreStats::default() };
        let database = &opened.database;
        StoreStats {
            journal_count: database.journal_count() as u64,
            disk_bytes: database.disk_space().unwrap_or_default(),
            write_buffer_bytes: database.write_buffer_size(),
            cache_bytes: database.cache_size(),
            index_bytes: opened.spaces.iter().map(index_bytes).sum(),
            commits_held: self.shared.commits_held.load(Ordering::Relaxed),
            flushes_outstanding: database.outstanding_flushes() as u64,
            compactions_active: database.active_compactions() as u64,
        }
    }
}

/// What a space keeps of its files in memory beside the cache.
fn index_bytes(space: &fjall::Keyspace) -> u64 {
    (space.tree.pinned_block_index_size() + space.tree.pinned_filter_size()) as u64
}

fn store_error(error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.into(),
        fjall::Error::Poisoned => StoreError::Stopped,
        error => StoreError::Damaged { table: "engine", detail: error.to_string() },
    }
}
