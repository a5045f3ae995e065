//! The embedded engine: one fjall database, one keyspace per [`Space`].
//!
//! fjall's write-ahead log is not synced per commit: ringpost's own journal is what acks, and a
//! commit here needs to be durable only before that journal is trimmed ([`Engine::persist`]).
//! fjall syncs its log before it flushes a memtable, so that after a crash the keyspaces are one
//! prefix of the commits.
//!
//! What is done about fjall's known troubles (3.1):
//! - A keyspace that is no longer written keeps old log files alive (its issue 288): every batch
//!   writes a mark into every space ([`crate::layout`]), and when logs pile up all memtables
//!   are rotated. `clear()` is never called.
//! - After a kill, writes can halt on sealed memtables that nobody flushes (its issue 257): at
//!   open and before each commit sealed memtables without a flush task get one.
#![allow(
    clippy::disallowed_methods,
    reason = "an engine has files, and waits for its threads when it opens"
)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    Readable,
};

use super::{Engine, OpenError, Order, Space, View, Visit, Write, format};
use crate::layout;
use crate::store::{StoreError, StoreStats};

/// The engine's own folder within a store directory.
const FOLDER: &str = "fjall";

/// The file that fjall writes last when it makes a database.
const ENGINE_MARKER: &str = "version";

/// The file of [`probe`], and its size, bytes: what a file system that is nearly full refuses.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 4 << 20;

/// When this many log files are there, all memtables are rotated so that the logs can go. A log
/// file is 64 MB: fjall's own limit, which counts bytes, acts later.
const JOURNALS_MAX: usize = 4;

/// Sealed memtables of a keyspace at which fjall halts writers.
const SEALED_HALT: usize = 4;

/// Longest wait at open for the memtables of the last run.
const RECOVERY_WAIT: Duration = Duration::from_secs(60);

/// Limits of a [`FjallEngine`]; all bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FjallLimits {
    /// Cache of blocks. Default 64 MiB.
    pub cache_bytes: u64,
    /// Memtable of a space; up to five of each exist at a time. Default 32 MiB.
    pub memtable_bytes: u64,
    /// All files of the write-ahead log; at least 64 MiB. Default 256 MiB.
    pub log_bytes_max: u64,
    /// Rows of at least this size are stored apart from their keys. Default 256: compaction then
    /// moves the keys of ordinary messages and not their bodies.
    pub separate_bytes_min: u32,
    /// Threads that flush and compact. Default 2.
    pub threads: usize,
}

impl Default for FjallLimits {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            log_bytes_max: 256 << 20,
            separate_bytes_min: 256,
            threads: 2,
        }
    }
}

impl FjallLimits {
    /// What the engine may hold in memory, bytes: the cache, and per space the memtable being
    /// written and the sealed ones.
    pub const fn memory_bytes_max(&self) -> u64 {
        let memtables = (Space::ALL.len() * (1 + SEALED_HALT)) as u64;
        self.cache_bytes + memtables * self.memtable_bytes
    }
}

/// The embedded engine. Clones share the one database.
#[derive(Clone)]
pub struct FjallEngine {
    directory: PathBuf,
    database: Database,
    spaces: [Keyspace; Space::ALL.len()],
}

impl FjallEngine {
    /// Opens the store directory, and makes it if it is empty or not there.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is changed in a directory that is refused for its format.
    pub fn open(directory: &Path, limits: &FjallLimits) -> Result<Self, OpenError> {
        let found = format::read(directory)?;
        let folder = directory.join(FOLDER);
        if let Some(version) = found {
            format::check(directory, version)?;
            if !folder.join(ENGINE_MARKER).exists() {
                return Err(OpenError::damaged(directory, "the engine's files are missing"));
            }
        }
        std::fs::create_dir_all(directory).map_err(|error| OpenError::io(directory, error))?;
        let engine =
            Self::open_database(folder, limits).map_err(|error| open_error(directory, error))?;
        engine.finish_recovery(directory)?;
        if found.is_none() {
            engine.finish_creation(directory)?;
        }
        Ok(engine)
    }

    fn open_database(folder: PathBuf, limits: &FjallLimits) -> fjall::Result<Self> {
        let database = Database::builder(&folder)
            .cache_size(limits.cache_bytes)
            .manual_journal_persist(true)
            .journal_compression(CompressionType::None)
            .max_journaling_size(limits.log_bytes_max)
            .worker_threads(limits.threads)
            .open()?;
        let open = |space: Space| {
            database.keyspace(space.name(), || {
                let options = KeyspaceCreateOptions::default()
                    .manual_journal_persist(true)
                    .max_memtable_size(limits.memtable_bytes);
                match space {
                    // Bodies are ciphertext: they do not compress.
                    Space::Messages => options.with_kv_separation(Some(
                        KvSeparationOptions::default()
                            .separation_threshold(limits.separate_bytes_min)
                            .compression(CompressionType::None),
                    )),
                    Space::Index | Space::Users | Space::Accounts => options,
                }
            })
        };
        let [messages, index, users, accounts] = Space::ALL;
        let spaces = [open(messages)?, open(index)?, open(users)?, open(accounts)?];
        Ok(Self { directory: folder, database, spaces })
    }

    /// Flushes what the last run left sealed, with a bound on the wait.
    fn finish_recovery(&self, directory: &Path) -> Result<(), OpenError> {
        let deadline = Instant::now() + RECOVERY_WAIT;
        while self.spaces.iter().any(|space| space.sealed_memtable_count() > 0) {
            self.prod_flushes().map_err(|error| open_error(directory, error))?;
            if Instant::now() > deadline {
                let path = directory.to_path_buf();
                return Err(OpenError::Stuck { path, seconds: RECOVERY_WAIT.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// A directory without a format file is a new one, or one whose making was cut short; then
    /// nothing was ever applied to it.
    fn finish_creation(&self, directory: &Path) -> Result<(), OpenError> {
        for space in &self.spaces {
            let mark = space.get(layout::MARK).map_err(|error| open_error(directory, error))?;
            if mark.is_some() {
                return Err(OpenError::damaged(directory, "FORMAT is missing"));
            }
        }
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(|error| open_error(directory, error))?;
        format::write(directory)
    }

    /// The error of a write. When one of its threads fails, fjall says only that it has stopped; the
    /// likely reasons are asked of the file system.
    fn write_error(&self, error: fjall::Error) -> StoreError {
        match error {
            fjall::Error::Poisoned => probe(&self.directory).err().map_or(StoreError::Stopped, |error| {
                tracing::error!(%error, "the engine stopped, and its directory takes no writes");
                error.into()
            }),
            error => store_error(error),
        }
    }

    fn space(&self, space: Space) -> &Keyspace {
        &self.spaces[space as usize]
    }

    /// Gives sealed memtables that no task will flush a task: a rotation brings one along.
    fn prod_flushes(&self) -> fjall::Result<()> {
        if self.database.outstanding_flushes() > 0 {
            return Ok(());
        }
        for space in &self.spaces {
            if space.sealed_memtable_count() > 0 {
                space.insert(layout::PROD, [layout::VALUE_VERSION])?;
                space.rotate_memtable()?;
            }
        }
        Ok(())
    }
}

/// A snapshot.
pub struct FjallView<'e> {
    engine: &'e FjallEngine,
    snapshot: fjall::Snapshot,
}

impl View for FjallView<'_> {
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.snapshot.get(self.engine.space(space), key).map_err(store_error)?;
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
        let mut range = self.snapshot.range(self.engine.space(space), from..to);
        loop {
            let next = match order {
                Order::Rising => range.next(),
                Order::Falling => range.next_back(),
            };
            let Some(row) = next else { return Ok(()) };
            let (key, value) = row.into_inner().map_err(store_error)?;
            if let ControlFlow::Break(()) = visit(&key, &Bytes::from(value))? {
                return Ok(());
            }
        }
    }
}

impl Engine for FjallEngine {
    type View<'e> = FjallView<'e>;

    fn view(&self) -> FjallView<'_> {
        FjallView { engine: self, snapshot: self.database.snapshot() }
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let is_near_halt =
            self.spaces.iter().any(|space| space.sealed_memtable_count() + 1 >= SEALED_HALT);
        if is_near_halt {
            self.prod_flushes().map_err(|error| self.write_error(error))?;
        }
        let mut batch = self.database.batch();
        for write in writes {
            match write {
                Write::Put(space, key, value) => {
                    batch.insert(self.space(space), key.as_slice(), value);
                }
                Write::Delete(space, key) => batch.remove(self.space(space), key.as_slice()),
            }
        }
        batch.commit().map_err(|error| self.write_error(error))
    }

    fn persist(&self) -> Result<(), StoreError> {
        let persisted = self.database.persist(PersistMode::SyncData);
        persisted.map_err(|error| self.write_error(error))?;
        if self.database.journal_count() >= JOURNALS_MAX {
            for space in &self.spaces {
                space.rotate_memtable().map_err(|error| self.write_error(error))?;
            }
        }
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            journal_count: self.database.journal_count() as u64,
            disk_bytes: self.database.disk_space().unwrap_or_default(),
            write_buffer_bytes: self.database.write_buffer_size(),
            flushes_outstanding: self.database.outstanding_flushes() as u64,
            compactions_active: self.database.active_compactions() as u64,
        }
    }
}

/// Writes what a flush may write at once, and takes it away again.
fn probe(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(PROBE);
    let written = std::fs::write(&path, vec![0; PROBE_BYTES])
        .and_then(|()| std::fs::File::open(&path)?.sync_all());
    // Nothing more can be done about a probe that stays; the next one replaces it.
    let _ = std::fs::remove_file(&path);
    written
}

fn store_error(error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.into(),
        fjall::Error::Poisoned => StoreError::Stopped,
        error => StoreError::Damaged { table: "engine", detail: error.to_string() },
    }
}

fn open_error(directory: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            OpenError::io(directory, error)
        }
        fjall::Error::Locked => OpenError::Locked { path: directory.to_path_buf() },
        error => OpenError::damaged(directory, error.to_string()),
    }
}
