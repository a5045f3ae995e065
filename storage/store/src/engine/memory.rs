//! The engine in memory, for the simulator and for tests. Persistence is explicit: what was not
//! persisted is gone after [`MemoryEngine::crash`].

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Engine, OpenError, Order, Space, View, Visit, Write};
use crate::layout::Key;
use crate::store::{StoreError, StoreStats};

type Rows = BTreeMap<(Space, Key), Bytes>;

/// What undoes a commit: the rows as they were, in the order of its writes.
type Undo = Vec<((Space, Key), Option<Bytes>)>;

#[derive(Default)]
struct State {
    rows: Rows,
    /// Of the commits since the last persist, oldest first.
    undo: Vec<Undo>,
    down: bool,
    /// What every write is answered with, until it is opened again.
    stopped: Option<StoreError>,
    /// The disk beneath takes no writes: it cannot be opened again.
    unusable: bool,
    /// Commits that an opening finds of those that were not persisted.
    kept: usize,
    reopenings: u64,
}

impl State {
    /// Goes back to the first `kept` of the commits that were not persisted.
    fn go_back(&mut self, kept: usize) {
        let Self { rows, undo, .. } = self;
        let lost = undo.drain(kept.min(undo.len())..);
        for (key, value) in lost.rev().flat_map(|commit| commit.into_iter().rev()) {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    /// Why nothing can be written now.
    fn check(&self) -> Result<(), StoreError> {
        let stopped = self.stopped.clone();
        stopped.or_else(|| self.down.then_some(StoreError::Down)).map_or(Ok(()), Err)
    }
}

/// An engine in memory. Clones share the same rows: one keeps the "disk" while the store on it
/// crashes and is opened again.
#[derive(Clone, Default)]
pub struct MemoryEngine {
    state: Arc<RwLock<State>>,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes back to what was last persisted. Open a new store on it afterwards.
    pub fn crash(&self) {
        let mut state = self.write();
        state.go_back(0);
        state.stopped = None;
    }

    /// While down, commits and persists fail with [`StoreError::Down`] and change nothing.
    pub fn set_down(&self, down: bool) {
        self.write().down = down;
    }

    /// The next write, and each after it, fails with `error`, as of an engine that a failed write has
    /// stopped; it cannot be opened again before [`MemoryEngine::mend`]. Of the commits since the
    /// last persist the opening then finds the first `kept`.
    pub fn fail(&self, error: StoreError, kept: usize) {
        let mut state = self.write();
        state.stopped = Some(error);
        state.unusable = true;
        state.kept = kept;
    }

    /// The disk beneath is well again: [`Engine::reopen`] succeeds.
    pub fn mend(&self) {
        self.write().unusable = false;
    }

    // A panic in another thread's turn leaves the rows whole: each change is one map operation.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view: writers wait while it is there.
pub struct MemoryView<'e>(RwLockReadGuard<'e, State>);

impl View for MemoryView<'_> {
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.rows.get(&(space, Key::from_slice(key))).cloned())
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
        let from = Bound::Included((space, Key::from_slice(from)));
        let to = Bound::Excluded((space, Key::from_slice(to)));
        let mut range = self.0.rows.range((from, to));
        loop {
            let next = match order {
                Order::Rising => range.next(),
                Order::Falling => range.next_back(),
            };
            let Some(((_, key), value)) = next else { return Ok(()) };
            if let ControlFlow::Break(()) = visit(key, value)? {
                return Ok(());
            }
        }
    }
}

impl Engine for MemoryEngine {
    type View<'e> = MemoryView<'e>;

    fn view(&self) -> MemoryView<'_> {
        MemoryView(self.read())
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut state = self.write();
        state.check()?;
        let State { rows, undo, .. } = &mut *state;
        let replaced = writes.into_iter().map(|write| match write {
            Write::Put(space, key, value) => {
                ((space, key.clone()), rows.insert((space, key), value))
            }
            Write::Delete(space, key) => {
                let key = (space, key);
                let old = rows.remove(&key);
                (key, old)
            }
        });
        undo.push(replaced.collect());
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        let mut state = self.write();
        state.check()?;
        state.undo.clear();
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        self.read().check()
    }

    fn reopen(&self) -> Result<(), OpenError> {
        let mut state = self.write();
        if state.unusable {
            return Err(OpenError::NoSpace { path: "memory".into() });
        }
        let kept = state.kept;
        state.go_back(kept);
        state.stopped = None;
        state.reopenings += 1;
        Ok(())
    }

    fn openings(&self) -> u64 {
        self.read().reopenings
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}
