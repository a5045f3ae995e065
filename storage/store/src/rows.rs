//! All rows of an engine at one moment, and an engine made of them: what a backup holds.
//!
//! A view is one unchanging state, so the rows of all spaces belong together, whatever is written
//! meanwhile. Who takes them slowly keeps the view, and with it what it shows, from going.

use bytes::Bytes;
use ringpost_shard::Position;

use crate::engine::{Engine, FjallEngine, OpenError, Order, Space, View, Write};
use crate::layout::{self, Key};
use crate::store::StoreError;

/// Above every key: tables begin with a small number.
const END: [u8; 1] = [u8::MAX];

/// Rows and bytes of one commit while a store is filled.
const COMMIT_ROWS: usize = 4_096;
const COMMIT_BYTES: usize = 4 << 20;

/// Takes rows one by one; breaks when it has seen enough.
pub type TakeRow<'t> =
    &'t mut dyn FnMut(Space, &[u8], &Bytes) -> Result<std::ops::ControlFlow<()>, StoreError>;

/// What can show all of its rows.
pub trait Rows: Send + Sync {
    /// Shows every row as of now; answers the position of the last record that is in them.
    ///
    /// # Errors
    /// If one cannot be read, or `take` fails.
    fn rows(&self, take: TakeRow<'_>) -> Result<Position, StoreError>;
}

impl<E: Engine> Rows for E {
    fn rows(&self, take: TakeRow<'_>) -> Result<Position, StoreError> {
        let view = self.view();
        let position = match view.read(Space::Index, &layout::MARK)? {
            Some(mark) => layout::read_mark(&mark)?.0,
            None => Position::default(),
        };
        for space in Space::ALL {
            view.scan(space, &[], &END, Order::Rising, &mut |key, value| take(space, key, value))?;
        }
        Ok(position)
    }
}

/// A new store that is filled with the rows of another.
pub struct Filling {
    engine: FjallEngine,
    waiting: Vec<Write>,
    waiting_bytes: usize,
}

impl Filling {
    /// An empty store in a directory that is not there or empty.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn begin(directory: &std::path::Path) -> Result<Self, OpenError> {
        let engine = FjallEngine::open(directory, &Default::default())?;
        Ok(Self { engine, waiting: Vec::new(), waiting_bytes: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the engine takes no more.
    pub fn add(&mut self, space: Space, key: &[u8], value: Bytes) -> Result<(), StoreError> {
        self.waiting_bytes += key.len() + value.len();
        self.waiting.push(Write::Put(space, Key::from_slice(key), value));
        if self.waiting.len() >= COMMIT_ROWS || self.waiting_bytes >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// If that fails.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.commit()?;
        self.engine.persist()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.waiting_bytes = 0;
        self.engine.commit(std::mem::take(&mut self.waiting))
    }
}
