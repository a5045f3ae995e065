//! The REST service: axum on threads of its own, over byte streams that the edge hands over.
//!
//! ```text
//! worker: sniffs HTTP, installs the descriptor --serve_stream--> runtime "rest"
//!                                                   requests, one behind another
//!        <--give_back: one asks for a WebSocket--------'  |
//!                                                   hyper http1 -> deadline, counters -> router
//!                                                                     |            |
//!                                                              sign_in           history
//!                                                        Accounts, Control    Fence, Store
//! ```
//! Owns HTTP for clients: limits, deadlines, problem details, sign-in, history. Does not own a
//! listener, nor what a message means. Invariants: `serve_stream` never blocks the worker that
//! calls it; open connections, pages in memory and code deliveries under way are bounded; no
//! answer, counter or log line carries a token, a phone number or content.

mod code_sender;
pub(crate) mod connection;
mod counters;
mod fence;
mod fields;
mod history;
mod origins;
pub(crate) mod parameters;
pub(crate) mod places;
mod problem;
mod rates;
pub(crate) mod request;
mod revoked;
mod sign_in;
mod stream;

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ringpost_conn::addresses;
use ringpost_conn::http::{Origins, Refusal};
use ringpost_conn::letter::Returned;
use ringpost_conn::{Caller, TrustedProxies};
use ringpost_shard::event::WorkerId;
use ringpost_store::Store;
use ringpost_store::accounts::Accounts;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

pub use code_sender::{
    CodeSender, Delivery, DeliveryError, LogSender, NoSender, OneTimeCode, WebhookSender,
};
pub use counters::RestCounters;
pub use fence::{FENCE_DEADLINE, Fence, Progress};
pub use problem::Problem;
pub use revoked::Revoked;

use crate::auth::{TokenSigner, TokenVerifier};
use crate::clock::NodeClock;
use crate::config::{Auth, CodeSenderKind, Rest};
use crate::control::{Control, Doors};
use connection::{Deadlines, Rules, Served};
use counters::Hit;
use origins::{Door, OriginLines};
use places::{Busy, Full, Places, Taken};
use rates::{Rate, Rates};

/// Pages of history that may be read and written at one time; the next request waits its turn.
pub const PAGES_MAX: usize = 16;

/// Contents in one page stop here, bytes: a page of the largest messages is cut, not refused.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// What one page costs in memory: contents as read (with the step that went over), as base64, and
/// as the body that is sent.
pub const PAGE_MEMORY_BYTES: u64 = 6 * PAGE_BYTES_MAX as u64;

/// Deliveries of one-time codes under way; beyond it codes are refused as overloaded.
const DELIVERIES_MAX: usize = 64;

/// Threads for account and store work, which blocks.
const BLOCKING_THREADS: usize = 8;

/// The part of a phone's texts that one address may cause: one in so many, rounded up. So a single
/// stranger cannot use up what the phone's owner needs.
const TEXTS_OF_ADDRESS: u16 = 2;

/// History requests of one user: enough to page through everything, too few to hurt others.
const USER_RATE: Rate = Rate { count: 600, period: Duration::from_secs(60) };

/// Time between two steps of the sweep of account data, and rows that one step looks at.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const SWEEP_ROWS: usize = 1_000;

/// How long open connections may go on when the service stops.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What the service is built from.
pub struct RestParts {
    /// Limits and deadlines.
    pub rest: Rest,
    /// Lives and rates.
    pub auth: Auth,
    /// Verifies access tokens.
    pub verifier: Arc<TokenVerifier>,
    /// Signs access tokens.
    pub signer: TokenSigner,
    /// Revocations, loaded at boot.
    pub revoked: Arc<Revoked>,
    /// Phones, codes, refresh tokens.
    pub accounts: Arc<dyn Accounts>,
    /// Messages and cursors.
    pub store: Arc<dyn Store>,
    /// Keeps reads behind what was `sent`.
    pub fence: Arc<dyn Fence>,
    /// The homes of users.
    pub control: Arc<dyn Control>,
    /// The date.
    pub clock: Arc<NodeClock>,
    /// Delivers one-time codes.
    pub code_sender: Arc<dyn CodeSender>,
    /// Whose word about who calls is taken.
    pub trusted_proxies: TrustedProxies,
    /// Where connections come from, and go back to.
    pub doors: Arc<dyn Doors>,
    /// The web pages that may open a WebSocket and read answers.
    pub origins: Origins,
}

/// State that the endpoints share.
pub(crate) struct RestState {
    auth: Auth,
    body_bytes_max: usize,
    request_deadline: Duration,
    verifier: Arc<TokenVerifier>,
    /// Held for one signature by readers, for one assignment by who exchanges it.
    signer: Arc<RwLock<TokenSigner>>,
    revoked: Arc<Revoked>,
    accounts: Arc<dyn Accounts>,
    store: Arc<dyn Store>,
    fence: Arc<dyn Fence>,
    control: Arc<dyn Control>,
    clock: Arc<NodeClock>,
    code_sender: Arc<dyn CodeSender>,
    trusted_proxies: TrustedProxies,
    counters: Arc<RestCounters>,
    rates: AllRates,
    origins: Arc<Origins>,
    origin_lines: OriginLines,
    pages: Arc<Semaphore>,
    deliveries: Arc<Semaphore>,
    /// The latest time of issue in any token of this process.
    last_stamp_ms: AtomicU64,
    /// Origin of the monotonic clock of the rates.
    start: Instant,
}

struct AllRates {
    addresses: Rates,
    /// Texts to one phone, and those of them that one address may cause.
    texts: Rates,
    texts_of_address: Rates,
    users: Rates,
}

/// The service. Dropping it without [`RestService::stop`] cuts open connections off.
pub struct RestService {
    runtime: Option<Runtime>,
    rules: Rules,
    state: Arc<RestState>,
    doors: Arc<dyn Doors>,
    places: Arc<Places>,
    stop: watch::Sender<bool>,
}

impl RestService {
    /// Starts the service's threads.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start(parts: RestParts) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(parts.rest.threads.into())
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("rest")
            .enable_all()
            .build()?;
        let (most, most_of_address) =
            (parts.rest.connections_max, parts.rest.connections_per_address_max);
        let deadlines =
            Deadlines { header: parts.rest.header_deadline, idle: parts.rest.idle_deadline };
        let (doors, origins) = (Arc::clone(&parts.doors), parts.origins.clone());
        let state = Arc::new(RestState::new(parts));
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(sweep(Arc::clone(&state), stopped));
        let refused = Arc::clone(&state);
        let rules = Rules {
            router: router(&state),
            deadlines,
            origins: Some(origins),
            on_refusal: Arc::new(move |refusal| refused.on_refusal(refusal)),
        };
        Ok(Self {
            runtime: Some(runtime),
            rules,
            state,
            doors,
            places: Places::new(most as usize, most_of_address as usize, Busy::Refuse),
            stop,
        })
    }

    /// What the service counts.
    pub fn counters(&self) -> Arc<RestCounters> {
        Arc::clone(&self.state.counters)
    }

    /// The key that it signs with, for who exchanges it.
    pub fn signer(&self) -> Arc<RwLock<TokenSigner>> {
        Arc::clone(&self.state.signer)
    }

    /// The runtime, for what else looks at something now and then. Nothing on it blocks.
    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime is taken only by stop and drop")
    }

    /// A receiver that turns true when the service stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Serves HTTP on a connected socket of which `already_read` was read. The socket must be
    /// O_NONBLOCK. Never blocks: where too many connections are open, the socket gets a 503 and is
    /// closed. Where a request asks for a WebSocket, the connection goes to worker `from`.
    pub fn serve_stream(
        &self,
        from: WorkerId,
        stream: TcpStream,
        already_read: Vec<u8>,
        caller: Caller,
    ) {
        // What all clients of a trusted proxy have alike counts for none of them.
        let address = (!caller.is_proxy()).then(|| addresses::counted(caller.address()));
        let place = match self.places.take(address) {
            Ok(Taken { place, displaced }) => {
                if displaced {
                    self.state.counters.on_hit(Hit::ConnectionLetGo);
                }
                place
            }
            Err(full) => {
                match full {
                    Full::All => self.state.counters.connections_refused.increment(),
                    Full::Address => self.state.counters.on_hit(Hit::AddressConnections),
                }
                return Self::refuse_stream(&stream);
            }
        };
        let (state, doors) = (Arc::clone(&self.state), Arc::clone(&self.doors));
        let (rules, stop) = (self.rules.clone(), self.stop.subscribe());
        self.runtime().spawn(async move {
            // Fails only if the descriptor cannot be watched: then there is nobody to tell.
            let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
            state.counters.open.fetch_add(1, Relaxed);
            let served = connection::serve(stream, already_read, caller, rules, place, stop).await;
            state.counters.open.fetch_sub(1, Relaxed);
            match served {
                Served::Over => {}
                Served::TooSlow => state.counters.on_hit(Hit::HeaderDeadline),
                Served::Idle => state.counters.on_hit(Hit::IdleDeadline),
                Served::Upgrade { stream, read } => {
                    state.counters.given_back.increment();
                    let Ok(stream) = stream.into_std() else { return };
                    let returned = Returned { fd: stream.into(), read, caller: Some(caller) };
                    if let Err(returned) = doors.give_back(from, returned) {
                        state.counters.connections_refused.increment();
                        Self::refuse_stream(&returned.fd.into());
                    }
                }
            }
        });
    }

    /// Tells the log of a page that a worker has refused a WebSocket. Never blocks.
    pub fn on_foreign_origin(&self, origin: Vec<u8>) {
        if let Some(untold) = self.state.origin_lines.take() {
            // On another thread: a worker does not wait for whoever reads the log.
            self.runtime()
                .spawn(async move { OriginLines::write(Door::WebSocket, &origin, untold) });
        }
    }

    /// Answers 503 to a connection for which there is no room; it is its owner's to close.
    pub fn refuse_stream(mut stream: &TcpStream) {
        // Best effort, in one call: a socket that does not take it is full or gone.
        let _ = stream.write(&Problem::Overloaded.last_answer());
    }

    /// Lets open requests end (5 s at most), then ends the threads.
    pub fn stop(mut self) {
        // Nobody listens where no connection was ever open.
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            let all = self.places.all_free();
            let _ = runtime.block_on(async { tokio::time::timeout(STOP_DEADLINE, all).await });
            runtime.shutdown_timeout(STOP_DEADLINE);
        }
    }
}

impl Drop for RestService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl RestState {
    /// Counts a request that no endpoint sees, and tells the log of a foreign page, as a worker does.
    fn on_refusal(&self, refusal: &Refusal) {
        self.counters.on_rejection(refusal.rejection);
        if let Some(origin) = &refusal.origin
            && let Some(untold) = self.origin_lines.take()
        {
            OriginLines::write(Door::WebSocket, origin, untold);
        }
    }

    fn new(parts: RestParts) -> Self {
        let RestParts { rest, auth, .. } = parts;
        let hour = Duration::from_secs(3_600);
        let minute = Duration::from_secs(60);
        let rate = |count: u16, period| Rates::new(Rate { count: count.into(), period });
        let of_address = auth.codes_per_phone_hour.div_ceil(TEXTS_OF_ADDRESS);
        Self {
            body_bytes_max: rest.body_bytes_max.try_into().unwrap_or(usize::MAX),
            request_deadline: rest.request_deadline,
            verifier: parts.verifier,
            signer: Arc::new(RwLock::new(parts.signer)),
            last_stamp_ms: AtomicU64::new(parts.revoked.latest() + 1),
            revoked: parts.revoked,
            accounts: parts.accounts,
            store: parts.store,
            fence: parts.fence,
            control: parts.control,
            clock: parts.clock,
            code_sender: parts.code_sender,
            trusted_proxies: parts.trusted_proxies,
            counters: Arc::default(),
            origins: Arc::new(parts.origins),
            origin_lines: OriginLines::default(),
            rates: AllRates {
                addresses: rate(auth.requests_per_address_minute, minute),
                texts: rate(auth.codes_per_phone_hour, hour),
                texts_of_address: rate(of_address, hour),
                users: Rates::new(USER_RATE),
            },
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            deliveries: Arc::new(Semaphore::new(DELIVERIES_MAX)),
            auth,
            start: Instant::now(),
        }
    }
}

fn router(state: &Arc<RestState>) -> Router {
    let by_code = Router::new()
        .route("/v1/auth/code", post(sign_in::code))
        .route("/v1/auth/verify", post(sign_in::verify));
    let is_by_code = state.auth.code_sender != CodeSenderKind::None;
    let paths = Router::new()
        .merge(if is_by_code { by_code } else { Router::new() })
        .route("/v1/auth/refresh", post(sign_in::refresh))
        .route("/v1/auth/logout", post(sign_in::logout))
        .route("/v1/messages", get(history::messages))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(Arc::clone(state), in_time));
    // Outside of the deadline: a page may read that it has passed.
    let paths = match state.origins.is_empty() {
        true => paths,
        false => paths.layer(origins::layer(Arc::clone(&state.origins))),
    };
    paths
        .layer(middleware::from_fn_with_state(Arc::clone(state), origins::noted))
        .layer(middleware::from_fn_with_state(Arc::clone(state), counted))
        .with_state(Arc::clone(state))
}

/// Around what works for a request: its deadline.
async fn in_time(State(state): State<Arc<RestState>>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(state.request_deadline, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        state.counters.on_hit(Hit::RequestDeadline);
        Problem::Overloaded.into_response()
    })
}

/// Around every request: who calls, and how it ended.
async fn counted(
    State(state): State<Arc<RestState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (response, _counted) = match state.name_caller(&mut request) {
        Ok(counted) => (next.run(request).await, counted),
        Err(problem) => (problem.into_response(), None),
    };
    match response.extensions().get::<Problem>() {
        Some(problem) => state.counters.on_problem(*problem),
        None => state.counters.succeeded.increment(),
    }
    response
}

/// Sweeps expired codes, families and revocations, a bounded step at a time.
async fn sweep(state: Arc<RestState>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now = state.clock.now();
        if !now.may_expire {
            // What is swept by a date in doubt would be missing when it goes back.
            continue;
        }
        let now_ms = now.wall_ms;
        let revoked_before_ms = revoked::oldest_that_matters(now, state.auth.clock_skew);
        state.revoked.prune(revoked_before_ms);
        let swept = state
            .blocking(move |state| {
                Ok(state.accounts.prune(now_ms, revoked_before_ms, SWEEP_ROWS)?)
            })
            .await;
        if swept.is_err() {
            // Logged where it was refused; the next step tries again.
            continue;
        }
    }
}
