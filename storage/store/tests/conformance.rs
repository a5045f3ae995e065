//! Both engines do what every store and all account data must do, over several seeds. A crash of
//! the embedded engine is a copy of its files as they are at that moment, which is what a killed
//! process leaves behind.
#![allow(clippy::disallowed_methods, reason = "a crash is a copy of files")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use ringpost_store::accounts::{AccountKey, AccountTables, Accounts};
use ringpost_store::conformance::{AccountSubject, Subject, check_accounts, check_all};
use ringpost_store::engine::{Engine, FjallEngine, FjallLimits, MemoryEngine};
use ringpost_store::{Store, Tables};
use tempfile::TempDir;

/// What lies under an engine: opens one, and loses what a killed process loses.
trait Disk {
    type Engine: Engine + Clone;
    fn open(&self) -> Self::Engine;
    fn crash(&mut self);
}

#[derive(Default)]
struct MemoryDisk(MemoryEngine);

impl Disk for MemoryDisk {
    type Engine = MemoryEngine;

    fn open(&self) -> MemoryEngine {
        self.0.clone()
    }

    fn crash(&mut self) {
        self.0.crash();
    }
}

struct FileDisk(TempDir);

impl Disk for FileDisk {
    type Engine = FjallEngine;

    fn open(&self) -> FjallEngine {
        let limits = FjallLimits { threads: 1, cache_bytes: 1 << 20, ..FjallLimits::default() };
        FjallEngine::open(self.0.path(), &limits).unwrap()
    }

    fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        copy_files(self.0.path(), copy.path());
        self.0 = copy;
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

/// A store and the account data on one engine.
struct Open<E> {
    store: Tables<E>,
    accounts: AccountTables<E>,
}

/// A disk, and what is open on it.
struct Node<D: Disk> {
    disk: D,
    open: Option<Open<D::Engine>>,
}

impl<D: Disk> Node<D> {
    fn new(disk: D) -> Self {
        let mut node = Self { disk, open: None };
        node.open();
        node
    }

    fn open(&mut self) {
        let engine = self.disk.open();
        let accounts = AccountTables::open(engine.clone(), AccountKey::from_bytes(&[7; 32]));
        let store = Tables::open(engine).unwrap();
        self.open = Some(Open { store, accounts: accounts.unwrap() });
    }
}

impl<D: Disk> Subject for Node<D> {
    fn store(&self) -> &dyn Store {
        &self.open.as_ref().unwrap().store
    }

    fn crash(&mut self) {
        self.disk.crash();
        self.open = None;
        self.open();
    }

    fn restart(&mut self) {
        self.store().persist().unwrap();
        self.open = None;
        self.open();
    }
}

impl<D: Disk> AccountSubject for Node<D> {
    fn accounts(&self) -> &dyn Accounts {
        &self.open.as_ref().unwrap().accounts
    }

    fn crash(&mut self) {
        Subject::crash(self);
    }
}

fn file_disk() -> FileDisk {
    FileDisk(tempfile::tempdir().unwrap())
}

#[test]
fn memory_engine_conforms() {
    for seed in 0..8 {
        check_all(&mut || Box::new(Node::new(MemoryDisk::default())), seed);
    }
}

#[test]
fn fjall_engine_conforms() {
    for seed in 0..2 {
        check_all(&mut || Box::new(Node::new(file_disk())), seed);
    }
}

#[test]
fn accounts_in_memory_conform() {
    check_accounts(&mut || Box::new(Node::new(MemoryDisk::default())));
}

#[test]
fn accounts_on_fjall_conform() {
    check_accounts(&mut || Box::new(Node::new(file_disk())));
}
