//! Opening the storage tier: engine, journal, recovery, threads.
//!
//! The store is brought to the end of the journal before anything else starts: then the shards
//! can begin empty, and no id is stamped twice.

use std::path::Path;
use std::process::Command as ProcessCommand;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use nix::sys::statvfs::statvfs;
use ringpost_journal::device::{DeviceKind, probe};
use ringpost_journal::{JournalHandle, JournalThread, Opened};
use ringpost_shard::Position;
use ringpost_store::accounts::{AccountKey, AccountTables, Accounts};
use ringpost_store::engine::FjallEngine;
use ringpost_store::rows::Rows;
use ringpost_store::thread::{StopError, StoreThreads};
use ringpost_store::{Store, StoreError, Tables};

use super::PROBE_COMMAND;
use super::ending::Ending;
use super::mailbox::Mailbox;
use super::sinks::{Answers, Applied, Homes, Mailboxes, decoded, parts};
use super::sources::{EngineCells, StorageSource};
use crate::config::quantity::size_rounded;
use crate::config::{Config, JournalDevice, Limits};
use crate::exit::{Failure, Kind};
use crate::readiness::Readiness;
use crate::rest::{Progress, RestService};
use crate::set_aside::{SetAside, Verdict};

/// How long the recovered records may take to reach the store.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(3_600);

/// How long the store's threads may take to say why they have ended.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Records handed to the store between two looks at how far it is.
const RECOVERY_STEP: u64 = 16_384;

/// The storage tier before the workers stand.
pub(super) struct Storage {
    pub(super) store: Arc<dyn Store>,
    /// All of its rows, for a backup.
    pub(super) rows: Arc<dyn Rows>,
    pub(super) accounts: Arc<dyn Accounts>,
    pub(super) threads: StoreThreads,
    pub(super) ending: Arc<Ending>,
    /// Records that the store was not given.
    pub(super) set_aside: Arc<OnceLock<SetAside>>,
    pub(super) progress: Arc<Progress>,
    engine: Arc<EngineCells>,
    /// Which device the journal writes to, and why.
    pub(super) device: String,
    /// What recovery found.
    pub(super) recovery: String,
    opened: Option<(Opened, DeviceKind)>,
    mailboxes: Mailboxes,
    journal: Arc<OnceLock<JournalHandle>>,
    last: Position,
}

impl Storage {
    /// Opens everything and brings the store to the end of the journal.
    pub(super) fn open(
        config: &Config,
        limits: &Limits,
        readiness: &Arc<Readiness>,
    ) -> Result<Self, Failure> {
        let directory = &config.data_dir;
        let OpenTables { store, accounts, rows } = open_tables(directory, limits)?;

        let mailboxes = Mailboxes::default();
        let journal = Arc::new(OnceLock::new());
        let reported = Arc::new(OnceLock::new());
        let ending = Arc::new(Ending::default());
        let set_aside = Arc::new(OnceLock::new());
        let applied = Applied {
            mailboxes: Arc::clone(&mailboxes),
            journal: Arc::clone(&journal),
            progress: Arc::clone(&reported),
            readiness: Arc::clone(readiness),
            ending: Arc::clone(&ending),
            set_aside: Arc::clone(&set_aside),
            path: directory.join("store"),
            told_at: None,
        };
        let answers = Arc::new(Answers { mailboxes: Arc::clone(&mailboxes) });
        let (for_threads, applied) = (limits.store_threads, Box::new(applied));
        let threads = StoreThreads::start(Arc::clone(&store), for_threads, applied, answers)
            .map_err(failed)?;

        let (choice, device) = choose_device(config, store.as_ref())?;
        let path = directory.join("journal");
        let opened = ringpost_journal::open(&path, &limits.journal, store.persisted().0)
            .map_err(|error| unreadable(&path, error))?;
        let mut suspects = SetAside::open(directory, store.persisted()).map_err(failed)?;
        let (last, replayed) = match replay(&path, &opened, &threads, &store, &mut suspects) {
            Ok(replayed) => replayed,
            Err(failure) => return Err(cause(failure, threads, directory)),
        };
        tell(&suspects, readiness);
        let _ = set_aside.set(suspects);
        let handle = threads.handle();
        let progress = Arc::new(Progress::new(last, move |position| handle.kick(position)));
        let _ = reported.set(Arc::clone(&progress));
        progress.on_applied(store.applied());
        let recovery = match replayed {
            0 => "nothing to replay".to_owned(),
            count => format!("replayed {count} records of the journal"),
        };
        let opened = Some((opened, choice));
        Ok(Self {
            store,
            rows,
            accounts,
            threads,
            ending,
            set_aside,
            progress,
            engine: Arc::default(),
            device,
            recovery,
            opened,
            mailboxes,
            journal,
            last,
        })
    }

    /// What journal and store count.
    pub(super) fn source(&self, journal: JournalHandle) -> StorageSource {
        let (set_aside, engine) = (Arc::clone(&self.set_aside), Arc::clone(&self.engine));
        StorageSource { journal, store: self.threads.handle(), engine, set_aside }
    }

    /// Looks at the engine now and then, on a thread of REST that may block, until REST stops.
    pub(super) fn watch_engine(&self, rest: &RestService) {
        let (engine, store) = (Arc::clone(&self.engine), Arc::clone(&self.store));
        rest.runtime().spawn(engine.watch(store, rest.stopping()));
    }

    /// Starts the journal's thread; from here on the workers are told of everything.
    ///
    /// # Panics
    /// If it was started before.
    pub(super) fn start_journal(
        &mut self,
        mailboxes: &[Arc<Mailbox>],
        readiness: &Arc<Readiness>,
    ) -> Result<JournalThread, Failure> {
        let (opened, device) = self.opened.take().expect("the journal is started once");
        let _ = self.mailboxes.set(mailboxes.to_vec());
        let homes = Homes {
            mailboxes: mailboxes.to_vec(),
            store: self.threads.handle(),
            progress: Arc::clone(&self.progress),
            readiness: Arc::clone(readiness),
            ending: Arc::clone(&self.ending),
            batches: mailboxes.iter().map(|_| Vec::new()).collect(),
            last: self.last,
        };
        let thread = JournalThread::start(opened, device, homes).map_err(failed)?;
        let _ = self.journal.set(thread.handle());
        Ok(thread)
    }
}

/// The tables of one engine.
struct OpenTables {
    store: Arc<dyn Store>,
    accounts: Arc<dyn Accounts>,
    rows: Arc<dyn Rows>,
}

/// Opens the tables of messages and of accounts, which must be there where a journal is.
fn open_tables(directory: &Path, limits: &Limits) -> Result<OpenTables, Failure> {
    check_store_is_there(directory)?;
    let engine = FjallEngine::open(&directory.join("store"), &limits.store).map_err(failed)?;
    let key = AccountKey::open(directory).map_err(failed)?;
    let accounts = AccountTables::open(engine.clone(), key).map_err(|error| {
        failed(anyhow::Error::new(error).context(directory.display().to_string()))
    })?;
    let rows = Arc::new(engine.clone());
    let store = Tables::open(engine).map_err(failed)?;
    Ok(OpenTables { store: Arc::new(store), accounts: Arc::new(accounts), rows })
}

/// The store is made before the journal: a data directory with a journal alone has lost it, and a new
/// one would not have what the journal no longer has.
fn check_store_is_there(directory: &Path) -> Result<(), Failure> {
    let (store, journal) = (directory.join("store"), directory.join("journal"));
    if journal.join("format").exists() && !store.exists() {
        let reason = "the store is missing, and the journal beside it is not new; restore the data \
                      directory from a backup";
        return Err(Failure::new(Kind::Storage, anyhow!("{}: {reason}", store.display())));
    }
    Ok(())
}

/// Says which records are set aside: no reason against traffic, which would not be better off
/// elsewhere, and not to be overlooked.
fn tell(set_aside: &SetAside, readiness: &Readiness) {
    if !set_aside.is_empty() {
        let text = set_aside.describe();
        tracing::error!("{text}");
        readiness.note("set_aside", text);
    }
}

/// Brings the store to the end of the journal; answers the last position and how many records.
fn replay(
    path: &Path,
    opened: &Opened,
    threads: &StoreThreads,
    store: &Arc<dyn Store>,
    suspects: &mut SetAside,
) -> Result<(Position, u64), Failure> {
    let deadline = Instant::now() + RECOVERY_DEADLINE;
    let handle = threads.handle();
    let mut last = store.applied();
    let mut count = 0;
    for record in opened.records_after(last.0) {
        let record = record.map_err(|error| unreadable(path, error))?;
        let before = std::mem::replace(&mut last, Position(record.position));
        let (head, body) = parts(&record);
        let verdict = suspects.judge(last, &head, &body).map_err(failed)?;
        let is_alone = verdict == Verdict::ApplyAlone;
        if is_alone {
            handle.wait_applied(before, deadline).map_err(failed)?;
        }
        let taken = match verdict {
            Verdict::SetAside => handle.skip(last),
            _ => handle.submit(last, decoded(last, &head, &body)),
        };
        taken.map_err(|_| Failure::new(Kind::Storage, anyhow!("the store ended in recovery")))?;
        count += 1;
        if is_alone || count % RECOVERY_STEP == 0 {
            handle.wait_applied(last, deadline).map_err(failed)?;
        }
    }
    handle.wait_applied(last, deadline).map_err(failed)?;
    Ok((last, count))
}

/// Why the store does not come to the end of the journal: who waited for it knows only that it did
/// not, its own threads know what stopped them.
fn cause(waited: Failure, threads: StoreThreads, directory: &Path) -> Failure {
    let Err(StopError::Store(error)) = threads.stop(STOP_WAIT) else { return waited };
    let room = match statvfs(directory) {
        Ok(volume) if error == StoreError::NoSpace => {
            let free = volume.blocks_available() * volume.fragment_size();
            format!(" ({} are free there)", size_rounded(free))
        }
        _ => String::new(),
    };
    let what = format!("cannot bring the store in {} up to its journal{room}", directory.display());
    Failure::new(Kind::Storage, anyhow::Error::new(error).context(what))
}

/// Which device the journal writes to, and why, for people.
fn choose_device(config: &Config, store: &dyn Store) -> Result<(DeviceKind, String), Failure> {
    if config.journal.device == JournalDevice::None {
        if store.applied() > Position::default() {
            let reason = "journal.device = \"none\" keeps nothing: only on an empty data directory";
            return Err(Failure::new(Kind::Config, anyhow!(reason)));
        }
        return Ok((DeviceKind::None, "NOTHING IS KEPT (journal.device = \"none\")".to_owned()));
    }
    if config.journal.device == JournalDevice::File {
        return Ok((DeviceKind::File, "plain files (journal.device = \"file\")".to_owned()));
    }
    let exe = std::env::current_exe().map_err(failed)?;
    let mut command = ProcessCommand::new(exe);
    command.arg(PROBE_COMMAND).arg(config.data_dir.join("journal"));
    match probe::probe(command) {
        probe::DeviceChoice::Glommio => {
            Ok((DeviceKind::Glommio, "direct I/O by glommio (the probe passed)".to_owned()))
        }
        probe::DeviceChoice::File { reason } if config.journal.device == JournalDevice::Auto => {
            tracing::warn!(%reason, "the journal writes plain files");
            Ok((DeviceKind::File, format!("plain files ({reason})")))
        }
        probe::DeviceChoice::File { reason } => Err(Failure::new(
            Kind::Host,
            anyhow!("journal.device = \"glommio\", but {reason}; use \"auto\" or \"file\""),
        )),
    }
}

/// The journal tells segments by their names: the directory is ours to say, and how to look into it.
fn unreadable(path: &Path, error: impl Into<anyhow::Error>) -> Failure {
    let hint = format!(
        "cannot open the journal (`ringpost journal inspect {}` shows what is in it)",
        path.display()
    );
    Failure::new(Kind::Storage, error.into().context(hint))
}

fn failed(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Kind::Storage, error)
}
