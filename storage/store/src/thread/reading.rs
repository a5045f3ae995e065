//! The reader threads and their queue: reads that may run, and reads that wait for a position.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ringpost_shard::event::WorkerId;
use ringpost_shard::image::StoreUnavailable;
use ringpost_shard::record::Position;

use super::{Ended, ReadAnswer, ReadRequest, ReadSink, Shared};
use crate::store::StoreError;

/// A read on its way.
struct Ticket {
    worker: WorkerId,
    request: ReadRequest,
    deadline: Instant,
}

#[derive(Default)]
struct State {
    /// Reads whose position is applied, oldest first.
    ripe: VecDeque<Ticket>,
    /// Reads that wait, by position and number.
    waiting: BTreeMap<(Position, u64), Ticket>,
    /// The keys of `waiting` in the order in which they came, which is the order of their
    /// deadlines; those that became ripe meanwhile are skipped, and swept out before they are
    /// more than those that wait.
    arrivals: VecDeque<(Instant, (Position, u64))>,
    next_number: u64,
    applied: Position,
    /// Threads in [`ReadQueue::wait`].
    waiters: usize,
    /// The applier has ended: nothing that waits will become ripe.
    is_final: bool,
    /// The store takes no writes: nothing that waits will become ripe soon.
    is_stalled: bool,
    /// Answer what is queued and leave.
    is_stopping: bool,
}

/// What a reader thread has to do next.
enum Turn {
    Read(Ticket),
    TimeOut(Ticket),
    Leave,
}

/// The queue of reads, and the place where threads wait for a position.
pub(super) struct ReadQueue {
    state: Mutex<State>,
    /// Something for a reader thread.
    work: Condvar,
    /// `applied` has moved.
    progress: Condvar,
}

impl ReadQueue {
    pub(super) fn new(applied: Position) -> Self {
        let state = Mutex::new(State { applied, ..State::default() });
        Self { state, work: Condvar::new(), progress: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, except for want of memory, which aborts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a read; says whether it has to wait for its position.
    pub(super) fn push(
        &self,
        worker: WorkerId,
        request: ReadRequest,
        deadline: Instant,
        reads_max: usize,
    ) -> Result<bool, ReadRequest> {
        let mut state = self.lock();
        let is_full = state.ripe.len() + state.waiting.len() >= reads_max;
        if is_full || state.is_stopping {
            return Err(request);
        }
        let after = request.after();
        let must_wait = after > state.applied;
        let ticket = Ticket { worker, request, deadline };
        if must_wait {
            let key = (after, state.next_number);
            state.next_number += 1;
            state.waiting.insert(key, ticket);
            state.arrivals.push_back((deadline, key));
            if state.arrivals.len() > 2 * reads_max {
                let State { arrivals, waiting, .. } = &mut *state;
                arrivals.retain(|(_, key)| waiting.contains_key(key));
            }
        } else {
            state.ripe.push_back(ticket);
        }
        drop(state);
        self.work.notify_one();
        Ok(must_wait)
    }

    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        state.ripe.len() + state.waiting.len()
    }

    /// The store has applied everything up to `applied`.
    pub(super) fn on_applied(&self, applied: Position) {
        let mut state = self.lock();
        // A store that was opened again has less for a while, and says so itself to who reads.
        state.applied = state.applied.max(applied);
        let later = state.waiting.split_off(&(Position(applied.0 + 1), 0));
        let ripe = std::mem::replace(&mut state.waiting, later);
        let has_ripe = !ripe.is_empty();
        state.ripe.extend(ripe.into_values());
        let has_waiters = state.waiters > 0;
        drop(state);
        if has_ripe {
            self.work.notify_all();
        }
        if has_waiters {
            self.progress.notify_all();
        }
    }

    /// Nothing will be applied for a while, or it goes on. Who waits, or comes to wait, meanwhile is
    /// not kept for the deadline.
    pub(super) fn set_stalled(&self, is_stalled: bool) {
        self.lock().is_stalled = is_stalled;
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// Nothing more will be applied.
    pub(super) fn end_progress(&self) {
        self.lock().is_final = true;
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// Reader threads answer what is queued, and leave.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        state.is_final = true;
        drop(state);
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// Waits for a position.
    pub(super) fn wait(
        &self,
        position: Position,
        deadline: Instant,
        waiters_max: usize,
    ) -> Result<(), StoreUnavailable> {
        let mut state = self.lock();
        if state.waiters >= waiters_max {
            return Err(StoreUnavailable);
        }
        state.waiters += 1;
        // Ends: at the deadline. A round is one sleep.
        let outcome = loop {
            if state.applied >= position {
                break Ok(());
            }
            let now = Instant::now();
            if state.is_final || state.is_stalled || now >= deadline {
                break Err(StoreUnavailable);
            }
            let waited = self.progress.wait_timeout(state, deadline - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiters -= 1;
        outcome
    }

    /// The backlog is smaller, though nothing was applied.
    pub(super) fn on_room(&self) {
        if self.lock().waiters > 0 {
            self.progress.notify_all();
        }
    }

    /// Waits until `is_there`; looks again after [`ReadQueue::on_applied`] and
    /// [`ReadQueue::on_room`].
    pub(super) fn wait_for(&self, is_there: &dyn Fn() -> bool) -> Result<(), Ended> {
        let mut state = self.lock();
        state.waiters += 1;
        // Ends: when there is room, or with the applier. A round is one sleep.
        let outcome = loop {
            if is_there() {
                break Ok(());
            }
            if state.is_final {
                break Err(Ended);
            }
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.waiters -= 1;
        outcome
    }

    /// The next thing to do; waits for it.
    fn turn(&self) -> Turn {
        let mut state = self.lock();
        // Ends: with something to do. A round is one sleep.
        loop {
            let now = Instant::now();
            if let Some(ticket) = state.ripe.pop_front() {
                return if ticket.deadline <= now {
                    Turn::TimeOut(ticket)
                } else {
                    Turn::Read(ticket)
                };
            }
            let is_in_vain = state.is_final || state.is_stalled;
            // Ends: each round takes one out of those that came, or is the last.
            let next = loop {
                match state.arrivals.front().copied() {
                    Some((deadline, key)) if deadline <= now || is_in_vain => {
                        state.arrivals.pop_front();
                        if let Some(ticket) = state.waiting.remove(&key) {
                            return Turn::TimeOut(ticket);
                        }
                    }
                    next => break next,
                }
            };
            if state.is_stopping {
                return Turn::Leave;
            }
            state = match next {
                Some((deadline, _)) => {
                    let waited = self.work.wait_timeout(state, deadline - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// A reader thread: answers reads until the queue is stopped.
pub(super) fn run(shared: &Shared, sink: &dyn ReadSink) {
    // Ends: with a stop. A round is one read.
    loop {
        match shared.reads.turn() {
            Turn::Read(ticket) => {
                let answer = read(shared, ticket.request);
                sink.answer(ticket.worker, answer);
            }
            Turn::TimeOut(ticket) => {
                shared.counters.reads_timed_out.fetch_add(1, Ordering::Relaxed);
                sink.answer(ticket.worker, unavailable(ticket.request));
            }
            Turn::Leave => return,
        }
    }
}

/// The answer to a request that the store did not answer.
fn unavailable(request: ReadRequest) -> ReadAnswer {
    match request {
        ReadRequest::Load { user, .. } => {
            ReadAnswer::Loaded { user, answer: Err(StoreUnavailable) }
        }
        ReadRequest::LookUp { user, device, message_id, .. } => {
            ReadAnswer::LookedUp { user, device, message_id, answer: Err(StoreUnavailable) }
        }
        ReadRequest::Messages { user, device, .. } => {
            ReadAnswer::MessagesRead { user, device, answer: Err(StoreUnavailable) }
        }
        ReadRequest::Received { user, device, .. } => {
            ReadAnswer::ReceivedFound { user, device, answer: Err(StoreUnavailable) }
        }
    }
}

fn read(shared: &Shared, request: ReadRequest) -> ReadAnswer {
    let store = &*shared.store;
    match request {
        ReadRequest::Load { user, .. } => {
            ReadAnswer::Loaded { user, answer: count(shared, store.user(user)) }
        }
        ReadRequest::LookUp { user, device, message_id, .. } => {
            let answer = count(shared, store.accepted(user, device, message_id));
            ReadAnswer::LookedUp { user, device, message_id, answer }
        }
        ReadRequest::Messages { user, device, ids, .. } => {
            let rows = store.messages(&ids).map(|rows| ids.into_iter().zip(rows).collect());
            ReadAnswer::MessagesRead { user, device, answer: count(shared, rows) }
        }
        ReadRequest::Received { user, device, id, .. } => {
            let answer = count(shared, store.received(id)).map(|found| found.map(Box::new));
            ReadAnswer::ReceivedFound { user, device, answer }
        }
    }
}

fn count<T>(shared: &Shared, answer: Result<T, StoreError>) -> Result<T, StoreUnavailable> {
    let counters = &shared.counters;
    match answer {
        Ok(answer) => {
            counters.reads.fetch_add(1, Ordering::Relaxed);
            Ok(answer)
        }
        Err(error) => {
            counters.reads_failed.fetch_add(1, Ordering::Relaxed);
            if !error.is_outage() {
                tracing::error!(%error, "store read failed");
            }
            Err(StoreUnavailable)
        }
    }
}
