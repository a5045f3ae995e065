//! The store on an engine: resolves a batch's operations against the state before it, and
//! answers reads from one view each.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use bytes::Bytes;
use ringpost_shard::at_hand::{self, Span};
use ringpost_shard::image::{Accepted, DeviceImage, MessageRow, Received, UserImage};
use ringpost_shard::record::{Head, Position, ReceiptEntry, Record};
use ringpost_wire::event::Status;
use ringpost_wire::{DeviceId, MessageId, ServerId, UserId};

use crate::batch::{Batch, Fate, GapStep, Op, ReceiptStep};
use crate::engine::{Engine, Order, Space, View, Write};
use crate::layout::{self, Key, UserRow};
use crate::store::{
    PAGE_ROWS_MAX, Page, ReopenError, Store, StoreError, StoreStats, TIMELINE_SCAN_MAX,
    TimelinePage,
};
use crate::trace::{self, Named, Trace};

/// How far the store is.
#[derive(Clone, Copy, Default, Debug)]
struct Progress {
    applied: Position,
    stamp: ServerId,
    persisted: Position,
    /// The most that was ever applied here: reads have shown it.
    shown: Position,
}

/// A [`Store`] on an [`Engine`].
pub struct Tables<E> {
    engine: E,
    /// Held while a batch is resolved and written: there is one writer.
    writer: Mutex<()>,
    progress: RwLock<Progress>,
    /// Odd from the moment at which the engine is opened again until it shows what it had shown.
    epoch: AtomicU64,
}

impl<E: Engine> Tables<E> {
    /// The store that `engine` holds, persisted: what a killed process left in the page cache must
    /// not be built upon, and then be lost with the power when the journal has been trimmed.
    ///
    /// # Errors
    /// If the engine cannot persist, or its own progress cannot be read.
    pub fn open(engine: E) -> Result<Self, StoreError> {
        let progress = RwLock::new(persisted_progress(&engine)?);
        Ok(Self { engine, writer: Mutex::new(()), progress, epoch: AtomicU64::new(0) })
    }

    /// The engine.
    pub const fn engine(&self) -> &E {
        &self.engine
    }

    /// A view that shows no less than any view before it.
    fn view(&self) -> Result<E::View<'_>, StoreError> {
        let before = self.epoch.load(Ordering::SeqCst);
        let view = self.engine.view();
        let is_calm = before.is_multiple_of(2) && self.epoch.load(Ordering::SeqCst) == before;
        if is_calm || applied_in(&view)? >= self.progress().shown {
            Ok(view)
        } else {
            Err(StoreError::CatchingUp)
        }
    }

    fn progress(&self) -> Progress {
        // A poisoned lock still holds a whole `Progress`: it is replaced, never edited in parts.
        *self.progress.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Only the writer calls it.
    fn end_catching_up(&self) {
        let progress = self.progress();
        if !self.epoch.load(Ordering::SeqCst).is_multiple_of(2)
            && progress.applied >= progress.shown
        {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl<E: Engine> Store for Tables<E> {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Progress { applied, stamp, .. } = self.progress();
        if batch.through() <= applied {
            return Ok(());
        }
        if batch.after() != applied {
            let (applied, after) = (applied.0, batch.after().0);
            return Err(StoreError::OutOfOrder { applied, after });
        }
        let stamp = stamp.max(batch.stamp());
        let span = Span { after: batch.after(), through: batch.through() };
        at_hand::with(span, || {
            let writes = resolve(batch, stamp, &self.engine.view())?;
            self.engine.commit(writes)
        })?;
        self.set_progress(|progress| {
            progress.applied = batch.through();
            progress.stamp = stamp;
            progress.shown = progress.shown.max(batch.through());
        });
        self.end_catching_up();
        Ok(())
    }

    fn persist(&self) -> Result<Position, StoreError> {
        // Taken before the sync: what is applied meanwhile may or may not be in it.
        let applied = self.progress().applied;
        self.engine.persist()?;
        self.set_progress(|progress| progress.persisted = progress.persisted.max(applied));
        Ok(self.progress().persisted)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.engine.check()
    }

    fn reopen(&self) -> Result<Position, ReopenError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_or(1, Ordering::SeqCst);
        self.engine.reopen()?;
        let found = persisted_progress(&self.engine)?;
        let Progress { persisted, stamp, shown, .. } = self.progress();
        if found.applied < persisted {
            return Err(ReopenError::Lost { found: found.applied.0, persisted: persisted.0 });
        }
        // What was stamped was stamped, although its record is still to be applied again.
        let stamp = stamp.max(found.stamp);
        self.set_progress(|progress| *progress = Progress { stamp, shown, ..found });
        self.end_catching_up();
        Ok(found.applied)
    }

    fn applied(&self) -> Position {
        self.progress().applied
    }

    fn persisted(&self) -> Position {
        self.progress().persisted
    }

    fn highest_stamp(&self) -> ServerId {
        self.progress().stamp
    }

    fn user(&self, user: UserId) -> Result<Option<UserImage>, StoreError> {
        let view = self.view()?;
        let mut image = ImageBuilder::default();
        let from = layout::user_prefix(user);
        let to = layout::prefix_end(&from);
        view.scan(Space::Users, &from, &to, Order::Rising, &mut |key, value| {
            image.row(layout::user_row(key)?, value)?;
            Ok(ControlFlow::Continue(()))
        })?;
        let Some(UserImage { devices, former, .. }) = image.finish() else { return Ok(None) };
        let mut cursors = Vec::new();
        for sender in UserImage::senders(&devices) {
            for status in [Status::Delivered, Status::Read] {
                let cursor = trace::cursor(&view, user, sender, status)?;
                cursors.extend(cursor.map(|id| (sender, status, id)));
            }
        }
        Ok(Some(UserImage { applied: applied_in(&view)?, devices, former, cursors }))
    }

    fn accepted(
        &self,
        user: UserId,
        device: DeviceId,
        message_id: MessageId,
    ) -> Result<Option<Accepted>, StoreError> {
        let key = layout::accepted_key(user, device, message_id);
        let value = self.view()?.read(Space::Index, &key)?;
        value.map(|value| layout::read_accepted(&value)).transpose()
    }

    fn named(
        &self,
        message_id: MessageId,
        sender: Option<UserId>,
        limit: usize,
    ) -> Result<Named, StoreError> {
        trace::named(&self.view()?, (message_id, sender), limit.clamp(1, PAGE_ROWS_MAX))
    }

    fn trace(&self, id: ServerId) -> Result<Option<Trace>, StoreError> {
        let view = self.view()?;
        message(&view, id)?.map(|row| trace::trace(&view, row, applied_in(&view)?)).transpose()
    }

    fn messages(&self, ids: &[ServerId]) -> Result<Vec<Option<MessageRow>>, StoreError> {
        let view = self.view()?;
        ids.iter().map(|&id| message(&view, id)).collect()
    }

    fn received(&self, id: ServerId) -> Result<Option<Received>, StoreError> {
        let view = self.view()?;
        let Some(MessageRow { head, .. }) = message(&view, id)? else { return Ok(None) };
        let read_to = trace::cursor(&view, head.to, head.from, Status::Read)?.unwrap_or_default();
        Ok(Some(Received { head, read_to }))
    }

    fn history(
        &self,
        user: UserId,
        peer: UserId,
        before: Option<ServerId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let view = self.view()?;
        let from = layout::conversation_prefix(user, peer);
        let to = match before {
            Some(id) => layout::conversation_key(user, peer, id),
            None => layout::prefix_end(&from),
        };
        let mut page = Page::default();
        view.scan(Space::Index, &from, &to, Order::Falling, &mut |key, _| {
            if page.rows.len() == limit {
                page.has_more = true;
                return Ok(ControlFlow::Break(()));
            }
            page.rows.push(indexed_message(&view, layout::conversation_id(key)?)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(page)
    }

    fn timeline(
        &self,
        user: UserId,
        after: Position,
        peer: Option<UserId>,
        limit: usize,
    ) -> Result<TimelinePage, StoreError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let view = self.view()?;
        let from = layout::timeline_key(user, Position(after.0.saturating_add(1)));
        let to = layout::prefix_end(&layout::timeline_key(user, Position(0))[..17]);
        let mut page = TimelinePage { next: after, ..TimelinePage::default() };
        let mut scanned = 0;
        view.scan(Space::Index, &from, &to, Order::Rising, &mut |key, value| {
            if page.rows.len() == limit || scanned == TIMELINE_SCAN_MAX {
                page.has_more = true;
                return Ok(ControlFlow::Break(()));
            }
            scanned += 1;
            page.next = layout::timeline_position(key)?;
            if let Some(id) = layout::read_timeline(value, peer)? {
                let row = indexed_message(&view, id)?;
                if peer.is_none_or(|peer| is_between(&row, user, peer)) {
                    page.rows.push(row);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !page.has_more {
            page.next = after.max(applied_in(&view)?);
        }
        Ok(page)
    }

    fn cursor(
        &self,
        reader: UserId,
        sender: UserId,
        status: Status,
    ) -> Result<Option<ServerId>, StoreError> {
        trace::cursor(&self.view()?, reader, sender, status)
    }

    fn stats(&self) -> StoreStats {
        self.engine.stats()
    }
}

/// How far an engine is once all that it shows is persisted.
fn persisted_progress(engine: &impl Engine) -> Result<Progress, StoreError> {
    engine.persist()?;
    let mark = engine.view().read(Space::Index, &layout::MARK)?;
    let (applied, stamp) = match mark {
        Some(mark) => layout::read_mark(&mark)?,
        None => Default::default(),
    };
    Ok(Progress { applied, stamp, persisted: applied, shown: applied })
}

fn applied_in(view: &impl View) -> Result<Position, StoreError> {
    match view.read(Space::Index, &layout::MARK)? {
        Some(mark) => layout::read_mark(&mark).map(|(applied, _)| applied),
        None => Ok(Position::default()),
    }
}

fn message(view: &impl View, id: ServerId) -> Result<Option<MessageRow>, StoreError> {
    let value = view.read(Space::Messages, &layout::message_key(id))?;
    value.map(|value| layout::read_message(id, &value)).transpose()
}

/// The row of a message that an index names, which therefore must be there.
fn indexed_message(view: &impl View, id: ServerId) -> Result<MessageRow, StoreError> {
    message(view, id)?.ok_or_else(|| StoreError::Damaged {
        table: "message",
        detail: format!("{id} is in an index and has no row"),
    })
}

fn is_between(row: &MessageRow, user: UserId, peer: UserId) -> bool {
    let ends = (row.head.from, row.head.to);
    ends == (user, peer) || ends == (peer, user)
}

/// The writes of a batch, resolved against the state before it.
fn resolve(batch: &Batch, stamp: ServerId, view: &impl View) -> Result<Vec<Write>, StoreError> {
    // A message is four rows, everything else one or none.
    let mut writes = Vec::with_capacity(batch.ops().len() * 2 + Space::ALL.len());
    let cleared: HashSet<_> = batch.ops().iter().filter_map(cleared_by).collect();
    for op in batch.ops() {
        resolve_op(op, &cleared, view, &mut writes)?;
    }
    clear(&cleared, view, &mut writes)?;
    // Rising keys find their place in the engine's memtables on paths that are still cached.
    writes.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
    let mark = layout::mark_value(batch.through(), stamp);
    for space in Space::ALL {
        writes.push(Write::Put(space, Key::from_slice(&layout::MARK), mark.clone()));
    }
    Ok(writes)
}

/// A device of which nothing stays that stood before the batch.
fn cleared_by(op: &Op) -> Option<(UserId, DeviceId)> {
    match op {
        Op::Device { user, device, fate } if fate.clears() => Some((*user, *device)),
        _ => None,
    }
}

/// Deletes the rows of cleared devices, but for their highest accepted ids and what the batch puts
/// there.
fn clear(
    cleared: &HashSet<(UserId, DeviceId)>,
    view: &impl View,
    writes: &mut Vec<Write>,
) -> Result<(), StoreError> {
    let mut old = Vec::new();
    for &(user, device) in cleared {
        let from = layout::device_prefix(user, device);
        let to = layout::prefix_end(&from);
        view.scan(Space::Users, &from, &to, Order::Rising, &mut |key, _| {
            if layout::user_row(key)? != UserRow::Highest(device) {
                old.push(Key::from_slice(key));
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    if !old.is_empty() {
        let written: HashSet<_> = writes.iter().map(Write::place).collect();
        old.retain(|key| !written.contains(&(Space::Users, key.as_slice())));
        writes.extend(old.into_iter().map(|key| Write::Delete(Space::Users, key)));
    }
    Ok(())
}

fn resolve_op(
    op: &Op,
    cleared: &HashSet<(UserId, DeviceId)>,
    view: &impl View,
    writes: &mut Vec<Write>,
) -> Result<(), StoreError> {
    match op {
        Op::PutMessage { position, record } => put_message(*position, record, writes),
        &Op::PutAccepted { user, device, message_id, id, accepted_ms, digest } => {
            let key = layout::accepted_key(user, device, message_id);
            let value = layout::accepted_value(Accepted { id, accepted_ms, digest });
            writes.push(Write::Put(Space::Index, key, value));
        }
        &Op::RaiseHighest { user, device, message_id } => {
            let key = layout::highest_key(user, device);
            raise(view, Space::Users, "highest", key, message_id.0, writes)?;
        }
        &Op::RaiseCursor { reader, sender, status, id } => {
            let key = layout::cursor_key(reader, sender, status);
            raise(view, Space::Index, "cursor", key, id.0, writes)?;
        }
        &Op::AddUser { user, at_ms } => add(view, layout::user_key(user), at_ms, writes)?,
        &Op::Device { user, device, fate } => device_row(user, device, fate, view, writes)?,
        Op::PutEntry { user, device, position, entry } => {
            let key = layout::entry_key(*user, *device, *position);
            writes.push(Write::Put(Space::Users, key, layout::entry_value(entry)));
        }
        &Op::DeleteEntry { user, device, position } => {
            writes.push(Write::Delete(Space::Users, layout::entry_key(user, device, position)));
        }
        Op::Gap { user, device, steps } => {
            let key = layout::gap_key(*user, *device);
            let stood = if cleared.contains(&(*user, *device)) {
                None
            } else {
                view.read(Space::Users, &key)?
            };
            gap(stood.as_ref(), key, steps, writes)?;
        }
        Op::Receipt { user, device, peer, status, steps } => {
            let key = layout::receipt_key(*user, *device, *peer, *status);
            let stood = if cleared.contains(&(*user, *device)) {
                None
            } else {
                view.read(Space::Users, &key)?
            };
            receipt(stood.as_ref(), key, steps, writes)?;
        }
    }
    Ok(())
}

fn put_message(position: Position, record: &Record, writes: &mut Vec<Write>) {
    let Head::Message(head) = &record.head else {
        unreachable!("only a message's record changes by PutMessage")
    };
    let (from, to, id) = (head.from, head.to, head.id);
    let row = layout::message_value(position, head, &record.body);
    writes.push(Write::Put(Space::Messages, layout::message_key(id), row));
    let conversation = layout::conversation_key(from, to, id);
    writes.push(Write::Put(Space::Index, conversation, layout::empty_value()));
    let timeline = layout::timeline_key(from, position);
    writes.push(Write::Put(Space::Index, timeline, layout::timeline_value(id, to)));
    if from != to {
        let timeline = layout::timeline_key(to, position);
        writes.push(Write::Put(Space::Index, timeline, layout::timeline_value(id, from)));
    }
}

fn raise(
    view: &impl View,
    space: Space,
    table: &'static str,
    key: Key,
    new: [u8; 16],
    writes: &mut Vec<Write>,
) -> Result<(), StoreError> {
    let old = view.read(space, &key)?;
    let old = old.map(|value| layout::read_id(table, &value)).transpose()?;
    if old.is_none_or(|old| old < new) {
        writes.push(Write::Put(space, key, layout::id_value(new)));
    }
    Ok(())
}

fn add(view: &impl View, key: Key, at_ms: u64, writes: &mut Vec<Write>) -> Result<(), StoreError> {
    if view.read(Space::Users, &key)?.is_none() {
        writes.push(Write::Put(Space::Users, key, layout::added_value(at_ms)));
    }
    Ok(())
}

fn device_row(
    user: UserId,
    device: DeviceId,
    fate: Fate,
    view: &impl View,
    writes: &mut Vec<Write>,
) -> Result<(), StoreError> {
    let key = layout::device_key(user, device);
    let value = match fate {
        // Its row goes with the others.
        Fate::Removed => return Ok(()),
        Fate::Added { at_ms, seen_ms } => layout::device_value(at_ms, seen_ms),
        Fate::Seen { at_ms } => {
            let Some(value) = view.read(Space::Users, &key)? else { return Ok(()) };
            let (added_ms, seen_ms) = layout::read_device(&value)?;
            layout::device_value(added_ms, seen_ms.max(at_ms))
        }
    };
    writes.push(Write::Put(Space::Users, key, value));
    Ok(())
}

fn receipt(
    stood: Option<&Bytes>,
    key: Key,
    steps: &[ReceiptStep],
    writes: &mut Vec<Write>,
) -> Result<(), StoreError> {
    let old: Option<ReceiptEntry> = stood.map(|value| layout::read_receipt(value)).transpose()?;
    let new = steps.iter().fold(old, |row, step| step.run(row));
    match new {
        Some(new) if Some(new) != old => {
            writes.push(Write::Put(Space::Users, key, layout::receipt_value(&new)));
        }
        None if old.is_some() => writes.push(Write::Delete(Space::Users, key)),
        _ => {}
    }
    Ok(())
}

fn gap(
    stood: Option<&Bytes>,
    key: Key,
    steps: &[GapStep],
    writes: &mut Vec<Write>,
) -> Result<(), StoreError> {
    let old = stood.map(|value| layout::read_gap(value)).transpose()?;
    let new = steps.iter().fold(old, |mark, step| step.run(mark));
    match new {
        Some(new) if Some(new) != old => {
            writes.push(Write::Put(Space::Users, key, layout::gap_value(new)));
        }
        None if old.is_some() => writes.push(Write::Delete(Space::Users, key)),
        _ => {}
    }
    Ok(())
}

/// Builds an image from its rows in the order of their keys. Of a device that is not there only the
/// highest accepted id is shown.
#[derive(Default)]
struct ImageBuilder {
    is_user: bool,
    devices: Vec<DeviceImage>,
    former: Vec<(DeviceId, MessageId)>,
}

impl ImageBuilder {
    fn row(&mut self, row: UserRow, value: &[u8]) -> Result<(), StoreError> {
        match row {
            UserRow::User => self.is_user = true,
            UserRow::Device(device) => self.devices.push(DeviceImage {
                device,
                highest_accepted: MessageId::default(),
                seen_ms: layout::read_device(value)?.1,
                gap: None,
                entries: Vec::new(),
                receipts: Vec::new(),
            }),
            UserRow::Highest(device) => {
                let highest = MessageId(layout::read_id("highest", value)?);
                match self.device(device) {
                    Some(image) => image.highest_accepted = highest,
                    None => self.former.push((device, highest)),
                }
            }
            UserRow::Gap(device) => {
                if let Some(image) = self.device(device) {
                    image.gap = Some(layout::read_gap(value)?);
                }
            }
            UserRow::Receipt(device, peer, status) => {
                if let Some(image) = self.device(device) {
                    image.receipts.push((peer, status, layout::read_receipt(value)?));
                }
            }
            UserRow::Entry(device, position) => {
                if let Some(image) = self.device(device) {
                    image.entries.push((position, layout::read_entry(value)?));
                }
            }
        }
        Ok(())
    }

    fn device(&mut self, device: DeviceId) -> Option<&mut DeviceImage> {
        self.devices.last_mut().filter(|image| image.device == device)
    }

    /// The user without its cursors, if it is one.
    fn finish(mut self) -> Option<UserImage> {
        if !self.is_user {
            return None;
        }
        for device in &mut self.devices {
            // Their keys sort by peer; a queue is in the order of positions.
            device.receipts.sort_by_key(|(_, _, receipt)| receipt.position);
        }
        let Self { devices, former, .. } = self;
        Some(UserImage { devices, former, ..UserImage::default() })
    }
}
