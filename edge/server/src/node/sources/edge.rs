//! Numbers of a worker's connections.

use ringpost_conn::Ledger;
use ringpost_conn::counters::{ConnectionCounters, ConnectionGauges};
use ringpost_wire::{CloseCode, ErrorCode};

use crate::metrics::Samples;

/// Shows everything that a worker's connections count and hold.
pub(super) fn collect(held: &ConnectionGauges, counters: &ConnectionCounters, out: &mut Samples) {
    gauges(held, out);
    plain(counters, out);
    for (fate, count) in [
        ("accepted", counters.accepted),
        ("moved_home", counters.moved_in),
        ("moved_away", counters.moved_out),
        ("handed_to_rest", counters.handed_over),
        ("back_from_rest", counters.returned),
        ("lost", counters.lost),
    ] {
        let help = "Connections by what became of them.";
        out.counter("ringpost_edge_connections_fate", help, &[("fate", fate)], count);
    }
    for (reason, count) in [
        ("full", counters.refused_full),
        ("address", counters.refused_address),
        ("unnamed", counters.refused_unnamed),
        ("garbage", counters.refused_garbage),
        ("proxy_header", counters.refused_proxy_header),
        ("upgrade", counters.refused_upgrade),
        ("credentials", counters.refused_credentials),
        ("move", counters.moves_failed),
        ("move_expired", counters.moves_expired),
        ("malformed", counters.malformed),
    ] {
        let help = "Connections and commands that the edge refused, by reason.";
        out.counter("ringpost_edge_refused", help, &[("reason", reason)], count);
    }
    for &code in ErrorCode::ALL {
        let help = "Commands that the edge refused, by code.";
        let labels = [("code", code.name())];
        let count = counters.refused.count(code);
        out.counter("ringpost_edge_commands_refused", help, &labels, count);
    }
    for (reason, count) in counters.rejections.counts() {
        let help = "Requests refused at the door, by what was wrong with them.";
        out.counter("ringpost_edge_upgrades_refused", help, &[("reason", reason)], count);
    }
    for (by, count) in counters.named.counts() {
        let help = "What was made of the word of proxies about who calls.";
        out.counter("ringpost_edge_callers_named", help, &[("by", by)], count);
    }
    for (limit, count) in [
        ("handshake", counters.handshakes_late),
        ("sign_in", counters.sign_ins_late),
        ("credential", counters.credentials_ended),
        ("ticket", counters.tickets_expired),
        ("assembly", counters.assemblies_late),
        ("closing", counters.closings_late),
        ("leaving", counters.leavings_late),
        ("user_input", counters.paced_users),
        ("address_input", counters.paced_addresses),
        ("discard", counters.discards_over),
        ("drain", counters.drains_late),
    ] {
        let help = "Limits of a connection that were hit, by limit.";
        out.counter("ringpost_edge_limits_hit", help, &[("limit", limit)], count);
    }
    for (reason, count) in counters.closed.counts() {
        let help = "Connections closed by the server, by reason.";
        let labels = [("reason", reason.label())];
        out.counter("ringpost_edge_close_reasons", help, &labels, count);
    }
    for &code in CloseCode::ALL {
        let help = "Connections closed by the server, by code.";
        let labels = [("code", code.name())];
        out.counter("ringpost_edge_closed", help, &labels, counters.closed.count(code));
    }
}

/// Shows what connections cost, by kind.
pub(super) fn ledger(ledger: &Ledger, out: &mut Samples) {
    let &Ledger { user_bytes, kernel_bytes, backlog_bytes } = ledger;
    for (kind, bytes) in
        [("user", user_bytes), ("kernel", kernel_bytes), ("backlog", backlog_bytes)]
    {
        let help = "Bytes that connections cost, by kind.";
        out.gauge("ringpost_connection_bytes", help, &[("kind", kind)], bytes as i64);
    }
}

shows! {
    plain: counter of ConnectionCounters {
        received_bytes => "ringpost_edge_received_bytes", "Bytes received.";
        charged_bytes => "ringpost_edge_charged_bytes", "What input was charged for, in bytes of cost.";
        sent_bytes => "ringpost_edge_sent_bytes", "Bytes sent.";
        commands => "ringpost_edge_commands", "Commands decoded.";
        events => "ringpost_edge_events", "Events written to clients.";
        short_sends => "ringpost_edge_short_sends", "Sends taken only in part.";
        input_paused => "ringpost_edge_input_paused",
            "Times that a client was not read because its answers passed their limit.";
        input_crowded => "ringpost_edge_input_crowded",
            "Times that a client was not read because answers of others took the room of its own.";
        outboxes_shed => "ringpost_edge_outboxes_shed",
            "Connections let go because the answers waiting at a worker passed their limit.";
        inputs_shed => "ringpost_edge_inputs_shed",
            "Connections let go because incomplete input at a worker passed its limit.";
        accept_rests => "ringpost_edge_accept_rests",
            "Times that accepting rested because a turn had taken its fill.";
        turns_cut => "ringpost_edge_turns_cut",
            "Times that a turn left connections to flush to the next.";
        promoted => "ringpost_edge_promoted",
            "Cold connections that began to talk: a receive stays armed for them.";
        demoted => "ringpost_edge_demoted", "Hot connections that fell silent.";
    }
    elsewhere {
        accepted, moved_in, moved_out, handed_over, returned, lost, refused_full, refused_address,
        refused_unnamed, refused_garbage,
        refused_proxy_header, named, refused_upgrade, refused_credentials, moves_failed, moves_expired,
        malformed, rejections, tickets_expired, refused, handshakes_late, sign_ins_late,
        credentials_ended, assemblies_late, closings_late, leavings_late, paced_users,
        paced_addresses, discards_over, drains_late, closed, receive, decode, commit, send,
        assembled_bytes, gathered_bytes
    }
}

shows! {
    gauges: gauge of ConnectionGauges {
        open => "ringpost_edge_connections", "Open connections.";
        awake => "ringpost_edge_connections_awake", "Connections that are not at rest.";
        unauthenticated => "ringpost_edge_unauthenticated", "Connections not signed in.";
        moving => "ringpost_edge_moving", "Connections on their way to another worker.";
        arriving => "ringpost_edge_arriving",
            "Halves of moved connections whose other half has not come.";
        returning => "ringpost_edge_returning",
            "Connections that REST gave back and that have no slot yet.";
        outboxes_bytes => "ringpost_edge_outboxes_bytes",
            "Bytes of answers that wait to be written.";
        input_bytes => "ringpost_edge_input_bytes", "Bytes of input that is not complete.";
        committing => "ringpost_edge_committing", "Records that are not durable yet.";
    }
    elsewhere {}
}
