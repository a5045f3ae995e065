//! The journal itself, without I/O, clock or threads.
//!
//! Records go in by [`Journal::submit`]; [`Journal::poll_action`] says what is to be done on the
//! device, [`Journal::complete`] takes the outcome, and gives back the records that have become
//! durable. Whoever drives it (the journal thread, a test, a simulator) only carries actions out.
//!
//! ```text
//!             submit                poll_action           complete(Written)
//!  records --> pending --> [ idle ] -----------> [ writing ] --------> [ written ]
//!                             ^                                            | poll_action
//!                             |        complete(Synced) = durable          v
//!                             '------------------------------------- [ syncing ]
//!
//!  any failure of a write or fdatasync --> [ failed ], for good
//! ```
//!
//! Invariants:
//! - One batch is in flight. So a batch on disk proves that everything before it was durable.
//! - A batch starts on a fresh block, and no block that may be durable is written again before its
//!   segment was trimmed. After a restart writing goes on in a *fresh segment*: what a torn write
//!   left behind is neither overwritten nor mistaken for news.
//! - Batching adapts by itself: an idle journal sends a single record at once; while a batch is in
//!   flight the next one gathers, and where the device is faster than records are dense a little
//!   longer ([`crate::pace`]), bounded by `batch_bytes_max` and `gather_max`.
//! - What was accepted fits on disk: `submit` refuses before anything has changed.
//! - `now` is a monotonic time since any fixed moment; it only paces batches and retries.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    config::Limits,
    error::{DeviceError, JournalError, Refused},
    format::{
        BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Mark, RECORD_HEADER_BYTES, Record, align_up,
        encode_record,
    },
    pace::Pace,
    recovery::{ChainLink, Recovery},
    segments::Segments,
};

/// A small value that travels with a record, opaque here: for whom it is (a set of workers).
pub type Touch = u64;

/// A record in the journal's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position: counts records over the life of the journal, from 1.
    pub position: u64,
    /// What was submitted.
    pub record: Record,
    /// What was given with it.
    pub touch: Touch,
}

/// Something to be done on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Write the batch, which [`Journal::encode`] fills in, then `complete(Done::Written)`.
    Write {
        /// Slot of the segment.
        slot: u32,
        /// Offset, a multiple of the block.
        offset: u64,
        /// Length, a multiple of the block.
        bytes: usize,
    },
    /// Make durable what was written, then `complete(Done::Synced)`.
    Sync {
        /// Slot of the segment.
        slot: u32,
    },
    /// Create a segment, write all of it with zeros and make that durable; beside anything else.
    Prepare {
        /// Slot of the segment.
        slot: u32,
        /// Its size.
        bytes: u64,
    },
    /// Delete a segment; beside anything else.
    Remove {
        /// Slot of the segment.
        slot: u32,
    },
}

/// The outcome of an [`Action`].
#[derive(Debug)]
pub enum Done {
    /// Of `Action::Write`.
    Written(Result<(), DeviceError>),
    /// Of `Action::Sync`.
    Synced(Result<(), DeviceError>),
    /// Of `Action::Prepare`.
    Prepared(u32, Result<(), DeviceError>),
    /// Of `Action::Remove`.
    Removed(u32, Result<(), DeviceError>),
}

/// Records that are durable now, in order. Empty for a seal.
#[derive(Debug)]
pub struct Durable {
    /// Everything up to this position is durable.
    pub through: u64,
    /// The records of the batch.
    pub entries: Vec<Entry>,
    /// Bytes written, with headers and padding.
    pub bytes: u64,
    /// Sum of [`Record::cost`] of the entries: what they no longer hold of the room.
    pub cost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Writing,
    Written,
    Syncing,
}

#[derive(Debug)]
struct InFlight {
    header: BatchHeader,
    entries: Vec<Entry>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// No more submissions; what is pending is still written, then a seal.
    Closing,
    Failed,
}

/// The sans-IO journal. See the module's head.
#[derive(Debug)]
pub struct Journal {
    limits: Limits,
    journal_id: u64,
    state: State,
    segments: Segments,
    pending: VecDeque<Entry>,
    in_flight: Option<InFlight>,
    pace: Pace,
    /// Cost of what is pending or in flight, each record counted alone.
    undurable_cost: u64,
    next_position: u64,
    next_sequence: u64,
    durable_position: u64,
    durable: Mark,
    trimmed_through: u64,
    /// Whether a batch was written that no later batch vouches for.
    unsealed: bool,
    failure: Option<Arc<JournalError>>,
}

impl Journal {
    /// Continues where `recovery` ended; records up to `checkpoint` may be trimmed.
    ///
    /// A new journal has no segment yet: it prepares them first, see [`Journal::is_ready`].
    #[must_use]
    pub fn new(limits: Limits, journal_id: u64, recovery: &Recovery, checkpoint: u64) -> Self {
        let segments = Segments::new(
            &limits,
            &recovery.chain,
            &recovery.free,
            recovery.report.next_generation,
        );
        let mut journal = Self {
            limits,
            journal_id,
            state: State::Open,
            segments,
            pending: VecDeque::new(),
            in_flight: None,
            pace: Pace::default(),
            undurable_cost: 0,
            next_position: recovery.report.next_position,
            next_sequence: recovery.report.next_sequence,
            durable_position: recovery.report.next_position - 1,
            durable: recovery.durable,
            trimmed_through: 0,
            unsealed: false,
            failure: None,
        };
        journal.trim(checkpoint);
        journal
    }

    /// Takes a record and gives it its position. It is durable once a [`Durable`] covers it.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed then.
    pub fn submit(&mut self, record: Record, touch: Touch) -> Result<u64, Refused> {
        match self.state {
            State::Open => {}
            State::Closing => return Err(Refused::Closed),
            State::Failed => return Err(Refused::Failed),
        }
        if record.bytes() > self.limits.record_bytes_max {
            return Err(Refused::RecordTooLarge);
        }
        let undurable = self.undurable_cost + record.cost();
        if undurable > self.limits.inflight_bytes_max {
            return Err(Refused::InFlight);
        }
        if undurable > self.segments.room_bytes() {
            return Err(self.segments.shortage());
        }
        self.undurable_cost = undurable;
        let position = self.next_position;
        self.next_position += 1;
        self.pending.push_back(Entry { position, record, touch });
        Ok(position)
    }

    /// What to do next; call until it answers `None`, and again after each `complete`, `submit`,
    /// `trim`, and at [`Journal::deadline`].
    pub fn poll_action(&mut self, now: Duration) -> Option<Action> {
        if self.state == State::Failed {
            return None;
        }
        // Segments first: preparing takes longest and runs beside the batches.
        if self.state == State::Open
            && let Some(slot) = self.segments.poll_prepare(now)
        {
            return Some(Action::Prepare { slot, bytes: self.limits.segment_bytes });
        }
        if let Some(slot) = self.segments.poll_remove() {
            return Some(Action::Remove { slot });
        }
        let gathers = self.gathers_until().is_some_and(|until| now < until);
        match &mut self.in_flight {
            Some(batch) if batch.phase == Phase::Written => {
                batch.phase = Phase::Syncing;
                Some(Action::Sync { slot: batch.header.slot })
            }
            Some(_) => None,
            None if gathers => None,
            None if !self.pending.is_empty() => Some(self.begin_batch(now)),
            None if self.state == State::Closing => self.begin_seal(now),
            None => None,
        }
    }

    /// When [`Journal::poll_action`] should be asked again although nothing has happened.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.segments.deadline().into_iter().chain(self.gathers_until()).min()
    }

    /// Until when the records that are here wait for others although the device is free, at most
    /// [`Config::gather_max`](crate::Config::gather_max) from the beginning of the last batch: who
    /// has nothing else to do may sleep until then. `None` if nothing waits, or what waits fills a
    /// batch.
    #[must_use]
    pub fn gathers_until(&self) -> Option<Duration> {
        let gathers = self.state == State::Open
            && self.in_flight.is_none()
            && !self.pending.is_empty()
            && self.undurable_cost < self.limits.batch_bytes_max;
        gathers.then(|| self.pace.gathers_until(self.limits.gather_max))
    }

    /// Writes the batch that `Action::Write` announced into `out`, every byte of it.
    ///
    /// # Panics
    /// If no batch is to be written, or `out` is not as long as announced.
    pub fn encode(&self, out: &mut [u8]) {
        let batch = self.in_flight.as_ref().expect("a write was announced");
        assert_eq!(batch.phase, Phase::Writing, "a batch is written once");
        assert_eq!(out.len() as u64, align_up(batch.header.batch_bytes()), "as announced");
        let generation = batch.header.generation;
        let mut digest = crc32fast::Hasher::new();
        let mut at = BATCH_HEADER_BYTES;
        for Entry { position, record, .. } in &batch.entries {
            at += encode_record(record, generation, *position, &mut digest, &mut out[at..]);
        }
        assert_eq!(at as u64, batch.header.batch_bytes(), "the header counts its records");
        BatchHeader { digest: digest.finalize(), ..batch.header.clone() }.encode(out);
        out[at..].fill(0);
    }

    /// Takes the outcome of an action. Answers with the records that are durable by it.
    ///
    /// # Panics
    /// If no such action was outstanding.
    pub fn complete(&mut self, done: Done, now: Duration) -> Option<Durable> {
        match done {
            Done::Prepared(slot, result) => {
                self.segments.on_prepared(slot, result, now);
                None
            }
            Done::Removed(slot, result) => {
                self.segments.on_removed(slot, result.is_ok());
                None
            }
            Done::Written(Ok(())) => {
                let batch = self.in_flight.as_mut().expect("a write was outstanding");
                assert_eq!(batch.phase, Phase::Writing, "a write was outstanding");
                batch.phase = Phase::Written;
                None
            }
            Done::Synced(Ok(())) => Some(self.on_durable()),
            Done::Written(Err(error)) | Done::Synced(Err(error)) => {
                self.on_failed(error);
                None
            }
        }
    }

    /// Frees what only holds records up to `checkpoint`, which the store must have persisted.
    /// A lower value than before changes nothing.
    ///
    /// # Panics
    /// If `checkpoint` is not durable here: the store cannot have it.
    pub fn trim(&mut self, checkpoint: u64) {
        assert!(checkpoint <= self.durable_position, "the store is ahead of the journal");
        self.trimmed_through = self.trimmed_through.max(checkpoint);
        self.segments.trim(self.trimmed_through, self.durable.generation);
    }

    /// Takes no more records. What is pending is written, then a seal: an empty batch that vouches
    /// for the last one, so that damage to it is found after a clean stop.
    pub fn close(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing;
        }
    }

    /// Nothing is left to do: closed and flushed, or failed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self.state {
            State::Open => false,
            State::Closing => {
                self.pending.is_empty() && self.in_flight.is_none() && !self.can_seal()
            }
            State::Failed => true,
        }
    }

    /// Why the journal ended, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Arc<JournalError>> {
        self.failure.as_ref()
    }

    /// Whether the largest record would be taken now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Open && self.segments.room_bytes() >= self.limits.record_cost_max
    }

    /// Bytes (each record at its cost alone) that may be undurable at once, by disk space.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        self.segments.room_bytes()
    }

    /// With which reason a record is refused that does not fit into the room.
    #[must_use]
    pub fn shortage(&self) -> Refused {
        self.segments.shortage()
    }

    /// Why no more work should be taken on: little room is left, and more does not come by itself. What
    /// was taken on before has that little. `None` while there is room, or a segment on its way.
    #[must_use]
    pub fn lack(&self) -> Option<Refused> {
        let left = self.segments.room_bytes().saturating_sub(self.undurable_cost);
        let shortage = self.segments.shortage();
        (left < self.limits.reserve_bytes && shortage != Refused::SegmentPending)
            .then_some(shortage)
    }

    /// Why the last attempt to prepare a segment failed; `None` once one has succeeded.
    #[must_use]
    pub fn prepare_error(&self) -> Option<&DeviceError> {
        self.segments.prepare_error()
    }

    /// Last durable position; 0 if there is none.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.durable_position
    }

    /// Position of the next record.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

    /// The durable journal as it is now, oldest segment first; see [`crate::RecordReader`].
    #[must_use]
    pub fn durable_chain(&self) -> Vec<ChainLink> {
        self.segments.durable_chain()
    }

    /// Segments that hold records, or are being written.
    #[must_use]
    pub fn live_segments(&self) -> usize {
        self.segments.live_count()
    }

    /// Prewritten segments that are free.
    #[must_use]
    pub fn spare_segments(&self) -> usize {
        self.segments.spare_count()
    }

    /// Bytes of all segment files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.segments.disk_bytes()
    }

    /// The limits it was made with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn begin_batch(&mut self, now: Duration) -> Action {
        let record_bytes = |entry: &Entry| RECORD_HEADER_BYTES as u64 + entry.record.bytes();
        let first = self.pending.front().expect("only called with something pending");
        let first_cost = first.record.cost();
        let active = self.segments.active().filter(|segment| {
            let left = segment.bytes - segment.end;
            left >= first_cost
        });
        let left = match active {
            Some(segment) => segment.bytes - segment.end,
            None => {
                let (sequence, last_position) = (self.next_sequence, self.durable_position);
                self.segments.take_spare(sequence, self.durable, last_position).bytes
            }
        };
        let batch_bytes_max = left.min(self.limits.batch_bytes_max.max(first_cost));
        let mut entries = Vec::new();
        let mut payload_bytes = 0;
        while let Some(entry) = self.pending.front() {
            let grown = payload_bytes + record_bytes(entry);
            if align_up(BATCH_HEADER_BYTES as u64 + grown) > batch_bytes_max {
                break;
            }
            payload_bytes = grown;
            entries.extend(self.pending.pop_front());
        }
        self.launch(entries, payload_bytes, now)
    }

    fn begin_seal(&mut self, now: Duration) -> Option<Action> {
        self.can_seal().then(|| self.launch(Vec::new(), 0, now))
    }

    /// A seal that would need another segment is left out: it is a help, not a promise.
    fn can_seal(&self) -> bool {
        self.unsealed
            && self
                .segments
                .active()
                .is_some_and(|segment| segment.bytes - segment.end >= BLOCK_BYTES as u64)
    }

    fn launch(&mut self, entries: Vec<Entry>, payload_bytes: u64, now: Duration) -> Action {
        let segment = self.segments.active().expect("chosen by the caller");
        let header = BatchHeader {
            journal_id: self.journal_id,
            generation: segment.generation,
            sequence: self.next_sequence,
            first_position: self.durable_position + 1,
            previous: self.durable,
            slot: segment.slot,
            offset: segment.end,
            trimmed_through: self.trimmed_through,
            records: u32::try_from(entries.len()).expect("bounded by the bytes of a segment"),
            payload_bytes: u32::try_from(payload_bytes).expect("a batch fits into a segment"),
            digest: 0, // known once the records are encoded
        };
        assert!(
            entries.first().is_none_or(|entry| entry.position == header.first_position),
            "records leave in the order of their positions"
        );
        let bytes = usize::try_from(align_up(header.batch_bytes())).expect("64-bit machine");
        let action = Action::Write { slot: header.slot, offset: header.offset, bytes };
        self.pace.begin(header.records, now);
        self.next_sequence += 1;
        self.in_flight = Some(InFlight { header, entries, phase: Phase::Writing });
        action
    }

    fn on_durable(&mut self) -> Durable {
        let InFlight { header, entries, phase } =
            self.in_flight.take().expect("a sync was outstanding");
        assert_eq!(phase, Phase::Syncing, "a sync was outstanding");
        let segment = self.segments.active_mut().expect("a batch lies in the active segment");
        assert_eq!(segment.generation, header.generation, "one batch in flight");
        segment.end = header.end();
        segment.last_position = header.last_position();
        self.durable = Mark { generation: header.generation, slot: header.slot, end: header.end() };
        self.durable_position = header.last_position();
        let cost = entries.iter().map(|entry| entry.record.cost()).sum();
        self.undurable_cost -= cost;
        self.unsealed = !entries.is_empty();
        // What the previous segment held may have waited for this one to carry the chain.
        self.segments.trim(self.trimmed_through, self.durable.generation);
        let bytes = align_up(header.batch_bytes());
        Durable { through: self.durable_position, entries, bytes, cost }
    }

    fn on_failed(&mut self, cause: DeviceError) {
        self.state = State::Failed;
        self.pending.clear();
        self.in_flight = None;
        self.failure = Some(Arc::new(JournalError { durable: self.durable_position, cause }));
    }
}
