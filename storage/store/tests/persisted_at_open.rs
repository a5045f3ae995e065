//! Setup: a process is killed after it has applied a record and before it has persisted it; the
//! engine still shows the record, as a page cache does. Action: the store is opened again, which
//! allows the journal to be trimmed up to there, and then the power is lost. Expectation: what the
//! opened store called persisted is still there.

use std::sync::Arc;

use bytes::Bytes;
use ringpost_shard::record::{DeviceAddedHead, Head, Position};
use ringpost_shard::{Record, record::SharedRecord};
use ringpost_store::batch::BatchBuilder;
use ringpost_store::engine::MemoryEngine;
use ringpost_store::{Store, StoreError, Tables};
use ringpost_wire::UserId;

#[test]
fn what_an_opened_store_calls_persisted_survives_a_loss_of_power() -> Result<(), StoreError> {
    let engine = MemoryEngine::new();
    let added = DeviceAddedHead { user: UserId([7; 16]), device: None, at_ms: 1 };
    let head = Head::DeviceAdded(added);
    let record: SharedRecord = Arc::new(Record { head, body: Bytes::new() });
    let mut builder = BatchBuilder::new(Position(0));
    builder.push(Position(1), &record);
    Tables::open(engine.clone())?.apply(&builder.finish())?;

    let persisted = Tables::open(engine.clone())?.persisted();
    engine.crash();

    assert_eq!(persisted, Position(1), "a killed process loses nothing that was written");
    assert_eq!(Tables::open(engine)?.applied(), persisted);
    Ok(())
}
