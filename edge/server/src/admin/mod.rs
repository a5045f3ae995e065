//! The private port: `/healthz`, `/readyz`, `/metrics`, and what operators ask, and say, under
//! `/admin`.
//!
//! ```text
//!  /admin/* ── its turn ──> fence ──> store, on a blocking thread ──> letters to workers ──> JSON
//!             (4 at once)  (1 s)                                      (0.5 s each)
//! ```
//! Owns its listener, its one thread and the token that every request must carry where one is
//! configured; off loopback the configuration insists on one. Invariants: health is answered whatever
//! else stands still, so nothing on that thread touches a disk or waits for who may; an answer is
//! bounded in size and in time; what did not answer is named in it; nobody who asks can make a worker
//! wait; no answer but a backup carries content, a token or a
//! phone number.

mod ask;
mod clock;
mod connections;
mod explain;
mod hosts;
mod limits;
mod users;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ringpost_conn::{Caller, TrustedProxies};
use ringpost_files::{FileError, Rule};
use ringpost_store::Store;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use self::hosts::{HOSTS_MAX, is_host_name};
use crate::backup::take::BackupSource;
use crate::clock::NodeClock;
use crate::config::Loaded;
use crate::control::Inspect;
use crate::metrics::{Metrics, TextForm};
use crate::readiness::Readiness;
use crate::rest::connection::{self, Deadlines, Rules};
use crate::rest::places::{Busy, Places, Taken};
use crate::rest::{Fence, Problem, request};

/// Connections to the private port that may be open; above it the oldest is let go, those that wait
/// for a request first.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// How long a request's head may take, and a kept connection be without a request.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
const IDLE_DEADLINE: Duration = Duration::from_secs(60);

/// Threads for what blocks: the questions under way, and a word that waits for room in a mailbox.
const BLOCKING_THREADS: usize = ask::QUESTIONS_MAX + 1;

/// Shortest token: 16 random characters are beyond guessing over a network.
const TOKEN_BYTES_MIN: usize = 16;

/// Largest token file, bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;

/// Pause after a failed accept: with no descriptor left, asking again at once is a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the private port shows.
#[derive(Clone)]
pub struct AdminParts {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The token, if one is needed.
    pub token: Option<AdminToken>,
    /// Whether this node should get traffic.
    pub readiness: Arc<Readiness>,
    /// The counters of all parts.
    pub metrics: Arc<Metrics>,
    /// The workers.
    pub inspect: Arc<dyn Inspect>,
    /// Messages, queues and cursors.
    pub store: Arc<dyn Store>,
    /// Keeps answers behind what was `sent`.
    pub fence: Arc<dyn Fence>,
    /// The date.
    pub clock: Arc<NodeClock>,
    /// How long a queue entry waits for its device.
    pub queue_ttl: Duration,
    /// The settings and where each came from.
    pub settings: Arc<Loaded>,
    /// What a backup is made of, and the token of the data directory; `None`: none is made.
    pub backup: Option<(BackupSource, AdminToken)>,
}

/// The token of the private port, as its digest.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokenError {
    /// It cannot be read, or others may use it.
    #[error("admin.token_file: {0}")]
    File(FileError),
    /// Its first line is too short.
    #[error(
        "the first line of the token file {} has fewer than {TOKEN_BYTES_MIN} characters",
        path.display()
    )]
    TooShort {
        /// Which file.
        path: PathBuf,
    },
}

impl AdminToken {
    /// The token in the first line of a file.
    ///
    /// # Errors
    /// If the file cannot be read, is open to others, or its first line is too short.
    pub fn read(path: &Path) -> Result<Self, AdminTokenError> {
        Ok(Self::of(&Self::text(path)?))
    }

    /// The same as text, for who asks with it.
    ///
    /// # Errors
    /// As [`AdminToken::read`].
    pub fn text(path: &Path) -> Result<String, AdminTokenError> {
        let text = ringpost_files::read_text(path, TOKEN_FILE_BYTES_MAX, Rule::NamedSecret)
            .map_err(AdminTokenError::File)?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < TOKEN_BYTES_MIN {
            return Err(AdminTokenError::TooShort { path: path.to_owned() });
        }
        Ok(token.to_owned())
    }

    /// This token.
    pub fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes"))
    }

    /// Digests of equal length are compared in constant time, so neither length nor content of
    /// the token shows.
    fn is(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(presented).0).is_ok()
    }
}

/// The private port, served until this is dropped.
#[derive(Debug)]
pub struct AdminService {
    address: SocketAddr,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
}

impl AdminService {
    /// Binds the private port and serves it.
    ///
    /// # Errors
    /// If the address cannot be bound, or the system gives no thread.
    pub fn start(parts: AdminParts) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("admin")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(parts.listen))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let deadlines = Deadlines { header: HEADER_DEADLINE, idle: IDLE_DEADLINE };
        let on_refusal = Arc::new(|_: &_| {});
        let rules = Rules { router: router(parts), deadlines, origins: None, on_refusal };
        runtime.spawn(accept(listener, rules, stopped));
        Ok(Self { address, runtime: Some(runtime), stop })
    }

    /// The address as bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its runtime, for who looks whether it goes on.
    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime is taken only by drop")
    }
}

impl Drop for AdminService {
    fn drop(&mut self) {
        // Nobody listens where no connection is open.
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            // A question that waits for the disk is left behind.
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, rules: Rules, mut stop: watch::Receiver<bool>) {
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_MAX, Busy::LetOldestGo);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Nobody keeps a place that somebody else needs: health is answered whoever else is here.
        let Ok(Taken { place, .. }) = places.take(None) else { continue };
        let (rules, stop) = (rules.clone(), stop.clone());
        tokio::spawn(async move {
            let caller = Caller::of_socket(peer.ip(), &TrustedProxies::default());
            connection::serve(stream, Vec::new(), caller, rules, place, stop).await;
        });
    }
}

fn router(parts: AdminParts) -> Router {
    let hosts = hosts::Hosts::new(&parts.settings.config.admin.hosts);
    let questions = Router::new()
        .route("/admin/explain/{id}", get(explain::explain))
        .route("/admin/users/{id}", get(users::user))
        .route("/admin/connections", get(connections::connections))
        .route("/admin/limits", get(limits::limits))
        .layer(middleware::from_fn_with_state(ask::Turns::new(), ask::in_turn));
    Router::new()
        .merge(questions)
        .route("/admin/clock/trust", post(clock::trust))
        .route("/admin/backup", get(backup))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(parts.token.clone(), authorized))
        .layer(middleware::from_fn_with_state(hosts, hosts::known))
        .with_state(parts)
}

async fn authorized(
    State(token): State<Option<AdminToken>>,
    request: Request,
    next: Next,
) -> Response {
    let is_authorized = token.is_none_or(|token| {
        request::bearer(request.headers()).is_some_and(|presented| token.is(presented))
    });
    if is_authorized { next.run(request).await } else { Problem::NotOperator.into_response() }
}

/// A backup holds the server's secrets: it is for who has the operators' token or, where there is
/// none, for who can read the data directory; not for everybody on this host.
async fn backup(State(parts): State<AdminParts>, headers: HeaderMap) -> Response {
    let Some((source, own)) = &parts.backup else { return Problem::NotFound.into_response() };
    let is_own = || request::bearer(&headers).is_some_and(|token| own.is(token));
    if parts.token.is_none() && !is_own() {
        return Problem::NotOperator.into_response();
    }
    if !parts.caught_up().await.1 {
        return Problem::Behind.into_response();
    }
    match source.begin() {
        Some(body) => ([(header::CACHE_CONTROL, "no-store")], body).into_response(),
        None => Problem::Overloaded.into_response(),
    }
}

async fn readyz(State(parts): State<AdminParts>) -> Response {
    let status =
        if parts.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(parts.readiness.json())).into_response()
}

async fn metrics(State(parts): State<AdminParts>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, text) = parts.metrics.text(TextForm::of_accept(accept.unwrap_or_default()));
    ([(header::CONTENT_TYPE, kind), (header::VARY, "accept")], text).into_response()
}
