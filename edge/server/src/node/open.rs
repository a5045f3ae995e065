//! Starting a node, in the order that its invariants need.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::anyhow;
use ringpost_conn::http::Origins;
use ringpost_conn::{ConnectionConfig, Driver, InputRate, Letter, Tables, TrustedProxies, Worker};
use ringpost_journal::{JournalHandle, JournalThread};
use ringpost_ring::{EventWaker, OpenError, RingConfig, RingHandle, RingPlan, RingSet, Rings};
use ringpost_shard::event::{ConnectionKey, Proof, WorkerId};
use ringpost_shard::{Event, Homes, Shard, ShardConfig};

use super::control::{Requests, Workers};
use super::driver::{Command, Others, Published, Threads, WorkerLoop};
use super::mailbox::{Inbox, Mailbox};
use super::sources::{ProcessSource, WorkerCells, WorkerSource};
use super::storage::Storage;
use super::watch::{self, Pulse, Watch};
use super::{Node, WORKER_STACK_BYTES, WorkerThread, credentials, listen};
use crate::admin::{AdminParts, AdminService, AdminToken};
use crate::auth::{
    TicketKey, TicketSecrets, TokenRules, TokenService, TokenSigner, TokenVerifier, check_jwks,
};
use crate::backup::take::BackupSource;
use crate::boot::{self, Boot};
use crate::clock::{self, MachineClock, NodeClock};
use crate::config::{Auth, CodeSenderKind, Config, Limits, Loaded};
use crate::data_dir::DataDir;
use crate::exit::{Failure, Kind};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::rest::{
    CodeSender, LogSender, NoSender, RestParts, RestService, Revoked, WebhookSender,
};
use crate::rlimits;
use crate::serve::Prepared;
use crate::{missing_rows, refusals};

/// The number of this node in the ids that it stamps. One node is all there is in embedded mode.
const NODE: u32 = 1;

type Tokens = Arc<TokenService<(WorkerId, ConnectionKey)>>;

/// A worker whose rings are open and who waits for everything else.
struct Waiting {
    thread: JoinHandle<()>,
    start: Sender<Start>,
    commands: Sender<Command>,
    handle: RingHandle,
    mailbox: Arc<Mailbox>,
    slots: u32,
}

/// What a waiting worker is given to run.
struct Start {
    worker: Worker,
    others: Others,
    handles: Vec<RingHandle>,
    clock: Arc<NodeClock>,
    cells: Arc<Mutex<WorkerCells>>,
    pulse: Arc<Pulse>,
}

/// Starts a node and answers it with the boot summary.
///
/// # Errors
/// The first step that fails; nothing was accepted then.
pub fn start(prepared: Prepared) -> Result<(Node, String), Failure> {
    let Prepared { loaded, limits, data_dir, keys } = prepared;
    let config = loaded.config.clone();
    let settings = Arc::new(loaded);
    let readiness = Arc::new(Readiness::starting());
    let (listen, sockets) =
        listen::open_all(&config.listen, limits.workers.into()).map_err(|(at, error)| {
            Failure::new(Kind::Busy, anyhow!("cannot listen on {at}: {error}"))
        })?;
    let waiting: Vec<Waiting> =
        (0..limits.workers).map(|number| open_rings(number, &limits)).collect::<Result<_, _>>()?;
    let mailboxes: Vec<_> = waiting.iter().map(|worker| Arc::clone(&worker.mailbox)).collect();
    let mut storage = Storage::open(&config, &limits, &readiness)?;
    let journal = storage.start_journal(&mailboxes, &readiness)?;

    let clock = Arc::new(open_clock(&data_dir, &storage));
    let hash_seed = random_seed();
    let requests = Arc::new(Requests::default());
    let control = Workers {
        mailboxes: mailboxes.clone(),
        homes: Homes::new(hash_seed, limits.workers),
        requests: Arc::clone(&requests),
    };
    let verifier = Arc::new(verifier(&config, &keys.signer)?);
    let inspect = Arc::new(control.clone());
    let rest = Arc::new(start_rest(&config, &storage, keys.signer, &verifier, (control, &clock))?);
    let metrics = Arc::new(Metrics::default());
    metrics.register(rest.counters());
    metrics.register(Arc::new(storage.source(journal.handle())));
    let tokens = token_service(&config.auth, &verifier, &mailboxes, &clock)?;
    metrics.register(tokens.counters());
    let common = Common {
        clock: &clock,
        hash_seed,
        tables: Arc::new(Tables::new(random_seed(), &connection_config(&config, &limits))),
        tokens,
        config: &config,
        limits: &limits,
        storage: &storage,
        journal: journal.handle(),
        rest: &rest,
        requests: &requests,
        secrets: (&keys.ticket_secrets, &keys.backup_token),
    };
    let workers = common.run(waiting, &mailboxes, &metrics);
    let parts = common.admin_parts(inspect, settings, &readiness, &metrics)?;
    let admin = start_admin(parts)?;
    common.watch(&metrics, &readiness);
    let watch = start_watch(&workers, &storage, &journal, (&rest, &admin), (&readiness, &metrics))?;
    accept(&workers, sockets);
    is_ready(&readiness, &storage);
    let boot = what_stands((&listen, admin.address()), limits.rings, &storage);
    let summary = boot::summary(&boot, &config, &limits);
    let node = Node {
        listen,
        admin,
        workers,
        rest,
        journal,
        store: storage.threads,
        progress: storage.progress,
        readiness,
        watch,
        verifier,
        config,
        data_dir,
        ending: storage.ending,
    };
    Ok((node, summary))
}

/// Traffic may come.
fn is_ready(readiness: &Readiness, storage: &Storage) {
    readiness.note("driver", "io_uring: the self-test of the ring passed");
    readiness.note("journal", storage.device.clone());
    readiness.clear("starting");
}

/// The date of a node on this data.
fn open_clock(data_dir: &DataDir, storage: &Storage) -> NodeClock {
    NodeClock::open(data_dir.path(), MachineClock::start(), storage.store.highest_stamp())
}

/// The facts of the boot summary.
fn what_stands(
    (listen, admin): (&[SocketAddr], SocketAddr),
    rings: RingPlan,
    it: &Storage,
) -> Boot {
    Boot {
        listen: listen.to_vec(),
        admin,
        driver: "io_uring",
        driver_why: "the self-test of the ring passed".to_owned(),
        rings: rings_text(rings),
        journal_device: it.device.clone(),
        recovery: it.recovery.clone(),
    }
}

/// How many rings a worker has, and why.
fn rings_text(RingPlan { rings, slots_each, .. }: RingPlan) -> String {
    let each = match rings {
        1 => "1 ring each".to_owned(),
        _ => format!(
            "{rings} rings each, because a process that may have so few files (RLIMIT_NOFILE) has \
             tables no larger"
        ),
    };
    format!("{each}; {slots_each} connections a ring")
}

/// Watches over the threads that others depend on.
fn start_watch(
    workers: &[WorkerThread],
    storage: &Storage,
    journal: &JournalThread,
    (rest, admin): (&RestService, &AdminService),
    (readiness, metrics): (&Arc<Readiness>, &Metrics),
) -> Result<Watch, Failure> {
    let mut all = vec![
        ("journal", watch::journal(journal.handle())),
        ("applier", watch::applier(storage.threads.handle())),
        ("rest", watch::runtime(rest.runtime().handle().clone())),
        ("admin", watch::runtime(admin.runtime().handle().clone())),
    ];
    for (worker, name) in workers.iter().zip(watch::worker_names(workers.len())) {
        all.push((name, watch::worker(Arc::clone(&worker.pulse), Arc::clone(&worker.mailbox))));
    }
    let (watch, ages) = Watch::start(all, Arc::clone(readiness))
        .map_err(|error| Failure::new(Kind::Host, error))?;
    metrics.register(ages);
    Ok(watch)
}

/// Hands each worker its listening sockets.
fn accept(workers: &[WorkerThread], sockets: Vec<Vec<OwnedFd>>) {
    for (worker, sockets) in workers.iter().zip(sockets) {
        for socket in sockets {
            // Its receiver lives as long as the worker's thread.
            let _ = worker.commands.send(Command::Listen(socket));
        }
        worker.mailbox.post(Letter::Event(Event::Tick));
    }
}

/// Opens the rings of a worker on its own thread, where they must be used.
fn open_rings(number: u16, limits: &Limits) -> Result<Waiting, Failure> {
    let (opened, rings) = mpsc::channel();
    let (start, started) = mpsc::channel::<Start>();
    let (commands, received) = mpsc::channel();
    let config = limits.ring.clone();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .stack_size(WORKER_STACK_BYTES)
        .spawn(move || run_worker(number, &config, &opened, &started, received))
        .map_err(|error| Failure::new(Kind::Host, error))?;
    let (handle, mailbox, slots) = rings
        .recv()
        .map_err(|_| Failure::new(Kind::Internal, anyhow!("a worker ended at its start")))?
        .map_err(|error| Failure::new(Kind::Host, rlimits::explain_memory(error.into(), limits)))?;
    Ok(Waiting { thread, start, commands, handle, mailbox: Arc::new(mailbox), slots })
}

/// What a worker's thread tells when its rings are open.
type Opened = Result<(RingHandle, Mailbox, u32), OpenError>;

/// The life of a worker's thread.
fn run_worker(
    number: u16,
    config: &RingConfig,
    opened: &Sender<Opened>,
    started: &Receiver<Start>,
    commands: Receiver<Command>,
) {
    pin(number);
    let rings = match RingSet::open(config) {
        Ok(rings) => rings,
        Err(error) => {
            // The owner waits for this answer.
            let _ = opened.send(Err(error));
            return;
        }
    };
    let waker: EventWaker = rings.event_waker();
    let (mailbox, inbox): (Mailbox, Inbox) = Mailbox::new(waker);
    let _ = opened.send(Ok((rings.handle(), mailbox, rings.slots())));
    // The owner gives up the start by dropping its side.
    let Ok(Start { worker, others, handles, clock, cells, pulse }) = started.recv() else { return };
    let driver = Driver::new(worker, rings, handles, inbox.sleep, clock.at_boot());
    let threads = Threads { letters: inbox.letters, others, waits_for_room: false };
    let (published, clock) = (Published::default(), clock.machine());
    WorkerLoop { driver, threads, commands, clock, cells, published, pulse }.run();
}

/// Pins the calling thread to the `number`th core that the process may use. A refusal costs speed,
/// not correctness.
fn pin(number: u16) {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;
    let this = Pid::from_raw(0);
    let Ok(allowed) = sched_getaffinity(this) else { return };
    let cores: Vec<usize> =
        (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false)).collect();
    let Some(&core) = cores.get(usize::from(number) % cores.len().max(1)) else { return };
    let mut own = CpuSet::new();
    let pinned = own.set(core).and_then(|()| sched_setaffinity(this, &own));
    if let Err(error) = pinned {
        tracing::warn!(%error, core, "a worker could not be pinned to its core");
    }
}

/// What all workers are given.
struct Common<'a> {
    clock: &'a Arc<NodeClock>,
    hash_seed: u64,
    tables: Arc<Tables>,
    tokens: Tokens,
    config: &'a Config,
    limits: &'a Limits,
    storage: &'a Storage,
    journal: JournalHandle,
    rest: &'a Arc<RestService>,
    requests: &'a Arc<Requests>,
    /// Signs tickets; proves who may have a backup.
    secrets: (&'a TicketSecrets, &'a str),
}

impl Common<'_> {
    /// Sets the waiting workers going.
    fn run(
        &self,
        waiting: Vec<Waiting>,
        mailboxes: &[Arc<Mailbox>],
        metrics: &Metrics,
    ) -> Vec<WorkerThread> {
        let handles: Vec<_> = waiting.iter().map(|worker| worker.handle.clone()).collect();
        let mut all_cells = Vec::new();
        let mut workers = Vec::new();
        for (number, waits) in (0..).zip(waiting) {
            let cells = Arc::new(Mutex::new(WorkerCells::default()));
            all_cells.push(Arc::clone(&cells));
            let others = Others {
                mailboxes: mailboxes.to_vec(),
                journal: self.journal.clone(),
                store: self.storage.threads.handle(),
                tokens: Arc::clone(&self.tokens),
                rest: Arc::clone(self.rest),
                requests: Arc::clone(self.requests),
            };
            let worker = self.worker(WorkerId(number), waits.slots);
            let (handles, clock) = (handles.clone(), Arc::clone(self.clock));
            let pulse = Arc::new(Pulse::default());
            let start = Start { worker, others, handles, clock, cells, pulse: Arc::clone(&pulse) };
            // The thread waits for it.
            let _ = waits.start.send(start);
            let position = self.storage.store.applied();
            waits.mailbox.post(Letter::Event(Event::Applied { position }));
            workers.push(WorkerThread {
                thread: waits.thread,
                mailbox: waits.mailbox,
                commands: waits.commands,
                pulse,
            });
        }
        metrics.register(Arc::new(WorkerSource(all_cells)));
        metrics.register(Arc::new(ProcessSource { memory: self.limits.memory.clone() }));
        workers
    }

    /// Watches refusals, rows that are missing and the clock from here on, and tells how they stand.
    fn watch(&self, metrics: &Arc<Metrics>, readiness: &Arc<Readiness>) {
        refusals::start(self.rest, Arc::clone(metrics));
        self.storage.watch_engine(self.rest);
        missing_rows::start(self.rest, Arc::clone(metrics), Arc::clone(readiness));
        let (clock, store) = (Arc::clone(self.clock), Arc::clone(&self.storage.store));
        clock::start(self.rest, metrics, clock, store, Arc::clone(readiness));
    }

    /// What the private port shows, and the token that it asks for.
    fn admin_parts(
        &self,
        inspect: Arc<Workers>,
        settings: Arc<Loaded>,
        readiness: &Arc<Readiness>,
        metrics: &Arc<Metrics>,
    ) -> Result<AdminParts, Failure> {
        Ok(AdminParts {
            listen: self.config.admin.listen,
            token: admin_token(self.config)?,
            readiness: Arc::clone(readiness),
            metrics: Arc::clone(metrics),
            inspect,
            store: Arc::clone(&self.storage.store),
            fence: Arc::clone(&self.storage.progress) as _,
            clock: Arc::clone(self.clock),
            queue_ttl: self.limits.shard.queue_ttl,
            settings,
            backup: Some((self.backup(), AdminToken::of(self.secrets.1))),
        })
    }

    fn backup(&self) -> BackupSource {
        BackupSource::new(Arc::clone(&self.storage.rows), &self.config.data_dir)
    }

    fn worker(&self, id: WorkerId, slots: u32) -> Worker {
        let workers = self.limits.workers;
        let shard = Shard::new(ShardConfig {
            worker: id,
            workers,
            node: NODE,
            hash_seed: self.hash_seed,
            stamp_floor: self.storage.store.highest_stamp(),
            provision: self.config.auth.provision.into(),
            plaintext_allowed: self.config.limits.plaintext,
            limits: self.limits.shard.clone(),
        });
        let homes = Homes::new(self.hash_seed, workers);
        let tickets = TicketKey::new(self.secrets.0, self.config.auth.ticket_ttl);
        let config = connection_config(self.config, self.limits);
        let (domain, tickets) = ((shard, homes), Box::new(tickets));
        let (tables, started_at) = (Arc::clone(&self.tables), self.clock.now().mono);
        Worker::new(id, config, domain, tickets, tables, slots, started_at)
    }
}

fn connection_config(config: &Config, limits: &Limits) -> ConnectionConfig {
    let keys = &config.limits;
    ConnectionConfig {
        connections_max: limits.connections_per_worker_max,
        unauthenticated_per_address_max: keys.unauthenticated_per_address_max,
        unnamed_max: keys.unnamed_max,
        trusted_proxies: trusted_proxies(config),
        handshake_deadline: keys.handshake_deadline,
        sign_in_deadline: keys.auth_deadline,
        ping_interval_tcp: keys.ping_interval_tcp,
        ping_interval_websocket: keys.ping_interval_websocket,
        progress_interval: keys.progress_deadline,
        user_input: InputRate {
            bytes_per_second: keys.user_input_bytes_per_second,
            burst_bytes: keys.user_input_burst_bytes,
        },
        address_input: InputRate {
            bytes_per_second: keys.address_input_bytes_per_second,
            burst_bytes: keys.address_input_burst_bytes,
        },
        outbox_bytes_max: keys.outbox_bytes_max as usize,
        outboxes_bytes_max: limits.outboxes_per_worker_bytes_max as usize,
        input_bytes_max: limits.input_per_worker_bytes_max as usize,
        message_bytes_max: keys.message_bytes_max as u32,
        origins: origins(config),
        ..ConnectionConfig::default()
    }
}

fn trusted_proxies(config: &Config) -> TrustedProxies {
    let entries = config.trusted_proxies.iter().map(String::as_str);
    TrustedProxies::new(entries).expect("the configuration was checked")
}

/// The web pages that may come, over WebSocket and REST alike.
fn origins(config: &Config) -> Origins {
    let entries = config.limits.origins.iter().map(String::as_str);
    Origins::new(entries).expect("the configuration was checked")
}

fn token_service(
    auth: &Auth,
    verifier: &Arc<TokenVerifier>,
    mailboxes: &[Arc<Mailbox>],
    clock: &Arc<NodeClock>,
) -> Result<Tokens, Failure> {
    let mailboxes = mailboxes.to_vec();
    let answer = move |(worker, connection): (WorkerId, ConnectionKey), answer| {
        let answer = credentials::checked(answer, Proof::Token);
        mailboxes[usize::from(worker.0)].post(Letter::Verified { connection, answer });
    };
    let verifier = Arc::clone(verifier);
    let (threads, queue_max) = (auth.verify_threads, auth.verify_queue_max);
    let clock = Arc::clone(clock);
    let now_ms = move || clock.now_ms();
    TokenService::start(verifier, threads, queue_max, now_ms, answer)
        .map(Arc::new)
        .map_err(|error| Failure::new(Kind::Host, error))
}

/// What checks tokens by these settings, with the server's own key.
pub(super) fn verifier(config: &Config, signer: &TokenSigner) -> Result<TokenVerifier, Failure> {
    let auth = &config.auth;
    let rules = TokenRules { audience: auth.audience.clone(), clock_skew: auth.clock_skew };
    let mut verifier = TokenVerifier::new(signer, &auth.issuer, rules);
    if !auth.jwks_file.as_os_str().is_empty() {
        verifier
            .add_jwks(&auth.jwks_file, &auth.jwks_issuer)
            .map_err(|error| Failure::new(Kind::Config, error))?;
    }
    Ok(verifier)
}

fn start_rest(
    config: &Config,
    storage: &Storage,
    signer: TokenSigner,
    verifier: &Arc<TokenVerifier>,
    (control, clock): (Workers, &Arc<NodeClock>),
) -> Result<RestService, Failure> {
    let accounts = Arc::clone(&storage.accounts);
    let mut revocations = Vec::new();
    let skew = config.auth.clock_skew;
    let revoked =
        Revoked::load(accounts.as_ref(), clock.now(), skew, &mut |it| revocations.push(it))
            .map_err(|error| Failure::new(Kind::Storage, error))?;
    for it in revocations {
        crate::control::Control::revoke(&control, it.user, it.device, it.before_ms);
    }
    let code_sender: Arc<dyn CodeSender> = match config.auth.code_sender {
        CodeSenderKind::Log => Arc::new(LogSender),
        CodeSenderKind::None => Arc::new(NoSender),
        CodeSenderKind::Webhook => Arc::new(
            WebhookSender::new(&config.auth.webhook_url).expect("the configuration was checked"),
        ),
    };
    RestService::start(RestParts {
        rest: config.rest.clone(),
        auth: config.auth.clone(),
        verifier: Arc::clone(verifier),
        signer,
        revoked: Arc::new(revoked),
        accounts,
        store: Arc::clone(&storage.store),
        fence: Arc::clone(&storage.progress) as _,
        doors: Arc::new(control.clone()),
        origins: origins(config),
        control: Arc::new(control),
        clock: Arc::clone(clock),
        code_sender,
        trusted_proxies: trusted_proxies(config),
    })
    .map_err(|error| Failure::new(Kind::Host, error))
}

/// Reads the files that the settings name, as a start does, with its refusals; makes nothing.
///
/// # Errors
/// What the start would say of a file that it cannot use.
pub fn check_files(config: &Config) -> Result<(), Failure> {
    admin_token(config)?;
    if !config.auth.jwks_file.as_os_str().is_empty() {
        check_jwks(&config.auth.jwks_file).map_err(|error| Failure::new(Kind::Config, error))?;
    }
    Ok(())
}

fn admin_token(config: &Config) -> Result<Option<AdminToken>, Failure> {
    if config.admin.token_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let token = AdminToken::read(&config.admin.token_file);
    token.map(Some).map_err(|error| Failure::new(Kind::Config, error))
}

fn start_admin(parts: AdminParts) -> Result<AdminService, Failure> {
    let listen = parts.listen;
    AdminService::start(parts).map_err(|error| {
        Failure::new(Kind::Busy, anyhow!("cannot listen on {listen} (admin.listen): {error}"))
    })
}

/// A seed that nobody outside can guess: table keys and homes of users depend on it.
fn random_seed() -> u64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    let half: [u8; 8] = bytes[8..].try_into().expect("eight of sixteen bytes");
    u64::from_le_bytes(half)
}
