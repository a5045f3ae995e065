//! Opening a fjall database so that it can be built upon: what is in it is on the disk, nothing is
//! left to flush, and its directory is one of this build's.
#![allow(
    clippy::disallowed_methods,
    reason = "a database is files, and its threads are waited for when it is opened"
)]

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    OwnedWriteBatch, PersistMode,
};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use ringpost_files::Rule;

use super::witness::{Identity, Witness};
use super::{FjallLimits, OpenError, Space, format, whole};
use crate::layout;

/// The database's own folder within a store directory.
const FOLDER: &str = "fjall";

/// How the names of fjall's log files end.
pub(super) const LOG_EXTENSION: &str = "jnl";

/// The number of the commit by which a store is made.
const FIRST_COMMIT: u64 = 1;

/// The file of [`probe`], and its size, bytes: what a file system that is nearly full refuses.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 4 << 20;

/// Longest wait for the memtables of the last run.
const RECOVERY_WAIT: Duration = Duration::from_secs(60);

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A database and its keyspaces, by [`Space`], and what is known of its commits.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) spaces: Spaces,
    identity: Identity,
    /// The number of the last commit.
    commits: AtomicU64,
    /// Held while a commit is written: their numbers rise in the order of the log.
    committing: Mutex<()>,
    witness: Mutex<Witness>,
}

impl Opened {
    /// Commits a batch under the next number, which every space then shows.
    pub(super) fn commit(&self, mut batch: OwnedWriteBatch) -> fjall::Result<()> {
        let _alone = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.commits() + 1;
        seal(&mut batch, &self.spaces, self.identity, number);
        batch.commit()?;
        self.commits.store(number, Ordering::Release);
        Ok(())
    }

    /// The number of the last commit.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// What is told of the commits that are durable.
    pub(super) fn witness(&self) -> MutexGuard<'_, Witness> {
        // It is whole after a panic: its fields are set once the file is written.
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn space(&self, space: Space) -> &Keyspace {
        &self.spaces[space as usize]
    }
}

/// Opens the database of a store directory, and makes both if it is empty or not there.
///
/// # Errors
/// See [`OpenError`]; nothing is changed in a directory that is refused for its format or for a file
/// that is missing.
pub(super) fn open(directory: &Path, limits: &FjallLimits) -> Result<Opened, OpenError> {
    let folder = directory.join(FOLDER);
    let found = format::read(directory)?;
    let witness = Witness::open(directory)?;
    if let Some(version) = found {
        format::check(directory, version)?;
        whole::check_files(directory, &folder)?;
    }
    let prepared = ringpost_files::make_dir(directory)
        .map_err(io::Error::from)
        .and_then(|()| distrust_cache(&folder));
    prepared.map_err(|error| OpenError::io(directory, error))?;
    let (database, spaces) =
        open_database(&folder, limits).map_err(|error| open_error(directory, error))?;
    let (witness, commits) = match (found, witness) {
        (Some(_), Some(witness)) => {
            let commits = whole::check_commits(directory, &spaces, &witness)?;
            (witness, commits)
        }
        (Some(_), None) => return Err(OpenError::damaged(directory, "WITNESS is missing")),
        (None, witness) => {
            check_unused(directory, &spaces, witness.as_ref())?;
            (finish_creation(directory, &database, &spaces)?, FIRST_COMMIT)
        }
    };
    let opened = Opened {
        database,
        spaces,
        identity: witness.identity,
        commits: AtomicU64::new(commits),
        committing: Mutex::new(()),
        witness: Mutex::new(witness),
    };
    finish_recovery(&opened, directory)?;
    Ok(opened)
}

/// After a failed fsync the cache may hold, as clean, what the disk does not have. What is dropped
/// from the cache is read from the disk again; of a log that is the part that can be built upon. All
/// other files were synced before fjall gave them a meaning.
fn distrust_cache(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == LOG_EXTENSION) {
            let file = ringpost_files::open_to_read(&path, Rule::Ours)?;
            file.sync_data()?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
    }
    Ok(())
}

type Spaces = [Keyspace; Space::ALL.len()];

fn open_database(folder: &Path, limits: &FjallLimits) -> fjall::Result<(Database, Spaces)> {
    let database = Database::builder(folder)
        .cache_size(limits.cache_bytes)
        .manual_journal_persist(true)
        .journal_compression(CompressionType::None)
        .max_journaling_size(limits.log_bytes_max)
        .worker_threads(limits.threads)
        .max_cached_files(Some(limits.files_max))
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
    Ok((database, spaces))
}

/// Flushes what the last run left sealed, with a bound on the wait.
fn finish_recovery(opened: &Opened, directory: &Path) -> Result<(), OpenError> {
    let deadline = Instant::now() + RECOVERY_WAIT;
    while opened.spaces.iter().any(|space| space.sealed_memtable_count() > 0) {
        check_alive(&opened.database)
            .and_then(|()| prod_flushes(opened))
            .map_err(|error| open_error(directory, error))?;
        if Instant::now() > deadline {
            let path = directory.to_path_buf();
            return Err(OpenError::Stuck { path, seconds: RECOVERY_WAIT.as_secs() });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A directory without a format file is a new one, or one whose making was cut short; then nothing
/// was ever written to it.
fn check_unused(
    directory: &Path,
    spaces: &Spaces,
    witness: Option<&Witness>,
) -> Result<(), OpenError> {
    let mut commits = witness.map_or(0, |witness| witness.commits);
    for space in spaces {
        let last = whole::last_commit(directory, space)?;
        commits = commits.max(last.map_or(0, |(_, number)| number));
    }
    if commits > FIRST_COMMIT {
        return Err(OpenError::damaged(directory, "FORMAT is missing"));
    }
    Ok(())
}

/// Gives a new store its identity, and says last that it is whole.
fn finish_creation(
    directory: &Path,
    database: &Database,
    spaces: &Spaces,
) -> Result<Witness, OpenError> {
    let identity = Identity::random();
    let mut batch = database.batch();
    seal(&mut batch, spaces, identity, FIRST_COMMIT);
    batch
        .commit()
        .and_then(|()| database.persist(PersistMode::SyncAll))
        .map_err(|error| open_error(directory, error))?;
    let witness = Witness::create(directory, identity, FIRST_COMMIT)?;
    format::write(directory)?;
    Ok(witness)
}

/// Writes the number of a commit into every space.
fn seal(batch: &mut OwnedWriteBatch, spaces: &Spaces, Identity(identity): Identity, number: u64) {
    let row = layout::commit_value(identity, number);
    for space in spaces {
        batch.insert(space, layout::COMMIT, row.clone());
    }
}

/// An error if one of the database's threads has failed: it says so only to who writes.
pub(super) fn check_alive(database: &Database) -> fjall::Result<()> {
    database.persist(PersistMode::Buffer)
}

/// Gives sealed memtables that no task will flush a task: a rotation brings one along.
pub(super) fn prod_flushes(opened: &Opened) -> fjall::Result<()> {
    if opened.database.outstanding_flushes() > 0 {
        return Ok(());
    }
    for space in &opened.spaces {
        if space.sealed_memtable_count() > 0 {
            space.insert(layout::PROD, [layout::VALUE_VERSION])?;
            space.rotate_memtable()?;
        }
    }
    Ok(())
}

/// Writes what a flush may write at once, and takes it away again.
pub(super) fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(PROBE);
    let written =
        ringpost_files::create_afresh(&path).map_err(io::Error::from).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        });
    // Nothing more can be done about a probe that stays; the next one replaces it.
    let _ = fs::remove_file(&path);
    written
}

fn open_error(directory: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            OpenError::io(directory, error)
        }
        fjall::Error::Locked => OpenError::Locked { path: directory.to_path_buf() },
        fjall::Error::Poisoned => {
            let reason = probe(directory).err();
            let unknown = || io::Error::other("a thread of the engine could not write");
            OpenError::io(directory, reason.unwrap_or_else(unknown))
        }
        error => OpenError::damaged(directory, error.to_string()),
    }
}
