//! Numbers of a worker's shard.

use ringpost_shard::Bound;
use ringpost_shard::counters::{Counters, Gauges};
use ringpost_wire::ErrorCode;

use crate::metrics::Samples;

/// Shows everything that a shard counts and holds.
pub(super) fn collect(counters: &Counters, held: &Gauges, out: &mut Samples) {
    gauges(held, out);
    plain(counters, out);
    hits(counters, out);
    for &code in ErrorCode::ALL {
        let help = "Commands that the shard refused, by code.";
        let labels = [("code", code.name())];
        out.counter("ringpost_shard_refused", help, &labels, counters.refused(code));
    }
    for (reason, count) in [
        ("revoked", counters.revoked_sign_ins),
        ("unprovisioned", counters.unprovisioned_sign_ins),
        ("devices", counters.devices_refused),
        ("unkept", counters.unkept_sign_ins),
        ("crowded", counters.sign_ins_crowded),
        ("unfounded", counters.tickets_unfounded),
        ("full", counters.sessions_refused),
    ] {
        let help = "Sign-ins that the shard refused, by reason.";
        out.counter("ringpost_shard_sign_ins_refused", help, &[("reason", reason)], count);
    }
    for (reason, count) in
        [("signed_out", counters.devices_signed_out), ("absent", counters.devices_absent)]
    {
        let help = "Devices that are none any more, by reason.";
        out.counter("ringpost_shard_devices_removed", help, &[("reason", reason)], count);
    }
}

fn hits(counters: &Counters, out: &mut Samples) {
    for bound in Bound::ALL {
        let help = "Limits of a shard that were hit, by limit.";
        let labels = [("limit", bound.label())];
        out.counter("ringpost_shard_limits_hit", help, &labels, counters.hits.count(bound));
    }
}

shows! {
    plain: counter of Counters {
        sends_accepted => "ringpost_shard_messages", "Durable messages accepted.";
        duplicates_answered => "ringpost_shard_duplicates", "Repeated sends answered again.";
        pushes => "ringpost_shard_pushes", "Stored pushes handed to connections.";
        entries_acked => "ringpost_shard_acked", "Queue entries acked by devices.";
        commits => "ringpost_shard_commits", "Records committed.";
        devices_added => "ringpost_shard_devices_added", "Devices added.";
        displacements => "ringpost_shard_displacements", "Connections displaced.";
        revocations_forgotten => "ringpost_shard_revocations_forgotten",
            "Revocations forgotten because newer ones needed the room.";
        loads => "ringpost_shard_loads", "Users asked of the store.";
        loads_repeated => "ringpost_shard_loads_repeated",
            "Loads repeated because too many records came meanwhile.";
        loads_refused => "ringpost_shard_loads_refused", "Loads that found no room.";
        evictions => "ringpost_shard_evictions", "Users let go under the byte cap.";
        look_ups => "ringpost_shard_look_ups", "Idempotency look-ups in the store.";
        message_reads => "ringpost_shard_message_reads", "Reads of messages in the store.";
        store_failures => "ringpost_shard_store_failures", "Store reads that failed.";
        ephemeral_delivered => "ringpost_shard_ephemeral_delivered",
            "Ephemeral messages and typing notices handed to connections.";
        ephemeral_dropped => "ringpost_shard_ephemeral_dropped",
            "Ephemeral messages and typing notices that found no device or no room.";
        entries_expired => "ringpost_shard_expired", "Queue entries that expired.";
        rows_missing => "ringpost_shard_rows_missing", "Queue entries without their message.";
        receipts_trimmed => "ringpost_shard_receipts_trimmed",
            "Receipts that left untold because a device had too many.";
        gaps => "ringpost_shard_gaps", "Messages that a device's queue did not take.";
        gaps_told => "ringpost_shard_gaps_told", "Gaps told to devices.";
        gaps_closed => "ringpost_shard_gaps_closed",
            "Gaps that devices have read from history.";
        orphaned_commands => "ringpost_shard_orphaned_commands",
            "Commands dropped because their connection ended before they ran.";
    }
    elsewhere {
        refused, hits, revoked_sign_ins, unprovisioned_sign_ins, devices_refused, unkept_sign_ins,
        sign_ins_crowded, tickets_unfounded, devices_signed_out, devices_absent, sessions_refused,
        route, enqueue, device_ack, copied_bytes
    }
}

shows! {
    gauges: gauge of Gauges {
        sessions => "ringpost_shard_sessions", "Signed-in connections.";
        entering => "ringpost_shard_entering",
            "Sign-ins that wait for their user or their device.";
        users => "ringpost_shard_users", "Users resident or loading.";
        resident_bytes => "ringpost_shard_resident_bytes", "Memory of users.";
        loading => "ringpost_shard_loading", "Users being read from the store.";
        in_flight => "ringpost_shard_in_flight", "Messages not yet durable.";
        in_flight_bytes => "ringpost_shard_in_flight_bytes", "Their content.";
        waiting_bytes => "ringpost_shard_waiting_bytes", "Content that waits for the store.";
        recent_bytes => "ringpost_shard_recent_bytes",
            "Content of recent messages kept for live devices.";
    }
    elsewhere {}
}
