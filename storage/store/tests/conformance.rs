//! Both engines do what every store must do, over several seeds. A crash of the embedded engine is
//! a copy of its files as they are at that moment, which is what a killed process leaves behind.

use std::fs;
use std::path::Path;

use ringpost_store::conformance::{Subject, check_all};
use ringpost_store::engine::{FjallEngine, FjallLimits, MemoryEngine};
use ringpost_store::{Store, Tables};
use tempfile::TempDir;

struct Memory {
    engine: MemoryEngine,
    store: Tables<MemoryEngine>,
}

impl Memory {
    fn new() -> Self {
        let engine = MemoryEngine::new();
        Self { store: Tables::open(engine.clone()).unwrap(), engine }
    }

    fn open(&mut self) {
        self.store = Tables::open(self.engine.clone()).unwrap();
    }
}

impl Subject for Memory {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn crash(&mut self) {
        self.engine.crash();
        self.open();
    }

    fn restart(&mut self) {
        self.store.persist().unwrap();
        self.engine.crash();
        self.open();
    }
}

struct Fjall {
    directory: TempDir,
    store: Option<Tables<FjallEngine>>,
}

impl Fjall {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(open(directory.path()));
        Self { directory, store }
    }
}

fn open(directory: &Path) -> Tables<FjallEngine> {
    let limits = FjallLimits { threads: 1, cache_bytes: 1 << 20, ..FjallLimits::default() };
    Tables::open(FjallEngine::open(directory, &limits).unwrap()).unwrap()
}

impl Subject for Fjall {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }

    fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        copy_files(self.directory.path(), copy.path());
        self.store = Some(open(copy.path()));
        self.directory = copy;
    }

    fn restart(&mut self) {
        self.store().persist().unwrap();
        self.store = None;
        self.store = Some(open(self.directory.path()));
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_files(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

#[test]
fn memory_engine_conforms() {
    for seed in 0..8 {
        check_all(&mut || Box::new(Memory::new()), seed);
    }
}

#[test]
fn fjall_engine_conforms() {
    for seed in 0..2 {
        check_all(&mut || Box::new(Fjall::new()), seed);
    }
}
