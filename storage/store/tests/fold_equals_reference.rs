//! Records, cut into batches anywhere, with crashes and restarts in between and the journal read
//! again from any checkpoint, leave the store as the fold of single changes does: so neither the
//! cuts nor coalescing change the result.
//!
//! Setup: records from a seed, a journal that keeps them. Action: a random walk of gather, apply,
//! persist, crash, restart. Expectation: after every crash and at the end, everything that can be
//! read equals the model's at `applied`, and nothing persisted is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use ringpost_shard::record::{Position, SharedRecord};
use ringpost_store::applier::Pushed;
use ringpost_store::conformance::{Model, World, assert_equal};
use ringpost_store::engine::MemoryEngine;
use ringpost_store::{Applier, ApplierLimits, Store, Tables};

#[derive(Clone, Debug)]
enum Step {
    /// Push so many records into the applier.
    Push(usize),
    /// Apply what is gathered.
    Apply,
    Persist,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_usize).prop_map(Step::Push),
        4 => Just(Step::Apply),
        2 => Just(Step::Persist),
        1 => Just(Step::Crash),
    ]
}

struct Walk {
    world: World,
    journal: Vec<SharedRecord>,
    engine: MemoryEngine,
    store: Tables<MemoryEngine>,
    applier: Applier,
    limits: ApplierLimits,
    seed: u64,
}

impl Walk {
    fn new(seed: u64, limits: ApplierLimits) -> Self {
        let engine = MemoryEngine::new();
        Self {
            world: World::new(seed),
            journal: Vec::new(),
            store: Tables::open(engine.clone()).unwrap(),
            applier: Applier::new(Position(0), limits),
            engine,
            limits,
            seed,
        }
    }

    fn push(&mut self, count: usize) {
        for _ in 0..count {
            let index = self.applier.gathered().0 as usize;
            if index == self.journal.len() {
                self.journal.push(self.world.record());
            }
            let position = Position(index as u64 + 1);
            let pushed = self.applier.push(Duration::ZERO, position, &self.journal[index]);
            assert_eq!(pushed, Ok(Pushed::Gathered));
            if !self.applier.has_room() {
                self.apply();
            }
        }
    }

    fn apply(&mut self) {
        self.applier.kick(self.applier.gathered());
        if let Some(batch) = self.applier.poll_batch(Duration::ZERO) {
            self.store.apply(&batch).unwrap();
            self.applier.on_applied(batch.through());
        }
    }

    /// The process dies; recovery reads the journal from a record that was persisted.
    fn crash(&mut self) {
        let persisted = self.store.persisted();
        self.engine.crash();
        self.store = Tables::open(self.engine.clone()).unwrap();
        assert_eq!(self.store.applied(), persisted);
        self.check();
        self.applier = Applier::new(self.store.applied(), self.limits);
        let checkpoint = self.world.below(persisted.0 + 1);
        for index in checkpoint..persisted.0 {
            let record = &self.journal[index as usize];
            let pushed = self.applier.push(Duration::ZERO, Position(index + 1), record);
            assert_eq!(pushed, Ok(Pushed::AlreadyApplied));
        }
    }

    fn check(&self) {
        let mut model = Model::new();
        let applied = self.store.applied().0 as usize;
        self.journal[..applied].iter().for_each(|record| model.apply(record));
        assert_equal(&self.store, &model, self.seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_cut_and_any_crash_leave_the_fold_of_the_records(
        seed in any::<u64>(),
        batch_records_max in 1..80_usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut walk =
            Walk::new(seed, ApplierLimits { batch_records_max, ..ApplierLimits::default() });
        for step in steps {
            match step {
                Step::Push(count) => walk.push(count),
                Step::Apply => walk.apply(),
                Step::Persist => drop(walk.store.persist().unwrap()),
                Step::Crash => walk.crash(),
            }
        }
        walk.apply();
        walk.check();
    }
}
