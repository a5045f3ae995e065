//! The engine in memory, for the simulator and for tests. Persistence is explicit: what was not
//! persisted is gone after [`MemoryEngine::crash`].

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Engine, Order, Space, View, Visit, Write};
use crate::layout::Key;
use crate::store::{StoreError, StoreStats};

type Rows = BTreeMap<(Space, Key), Bytes>;

#[derive(Default)]
struct State {
    rows: Rows,
    /// What undoes the commits since the last persist, oldest first.
    undo: Vec<((Space, Key), Option<Bytes>)>,
    down: bool,
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
        let State { rows, undo, .. } = &mut *state;
        for (key, value) in undo.drain(..).rev() {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    /// While down, commits and persists fail with [`StoreError::Down`] and change nothing.
    pub fn set_down(&self, down: bool) {
        self.write().down = down;
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
        let State { rows, undo, down } = &mut *state;
        if *down {
            return Err(StoreError::Down);
        }
        for write in writes {
            let (key, old) = match write {
                Write::Put(space, key, value) => {
                    ((space, key.clone()), rows.insert((space, key), value))
                }
                Write::Delete(space, key) => {
                    let key = (space, key);
                    let old = rows.remove(&key);
                    (key, old)
                }
            };
            undo.push((key, old));
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        let mut state = self.write();
        if state.down {
            return Err(StoreError::Down);
        }
        state.undo.clear();
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}
