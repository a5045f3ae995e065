//! Numbers of a worker's ring.

use ringpost_ring::{RingStats, SIZE_BOUNDS};

use crate::metrics::Samples;

/// Shows everything that a ring set counts.
pub(super) fn collect(stats: &RingStats, out: &mut Samples) {
    plain(stats, out);
    for (kind, count) in [
        ("sent", stats.wakes_sent),
        ("failed", stats.wakes_failed),
        ("received", stats.wakes_received),
        ("by_eventfd", stats.event_wakes),
        ("by_parking_ring", stats.parking_wakes),
    ] {
        let help = "Wakes between workers, and of workers by other threads.";
        out.counter("ringpost_ring_wakes", help, &[("kind", kind)], count);
    }
    for (name, help, sizes) in [
        (
            "ringpost_ring_submissions",
            "Operations submitted, by call of io_uring_enter.",
            &stats.submissions,
        ),
        (
            "ringpost_ring_wait_completions",
            "Completions that a wait found.",
            &stats.completions_per_wait,
        ),
    ] {
        out.sizes(name, help, &SIZE_BOUNDS, (&sizes.buckets, sizes.sum));
    }
    let help = "Operations that the kernel holds.";
    out.gauge("ringpost_ring_in_flight", help, &[], stats.in_flight as i64);
    let help = "Rings of the workers, parking rings included.";
    out.gauge("ringpost_ring_rings", help, &[], stats.rings as i64);
    let help = "Connections on parking rings.";
    out.gauge("ringpost_ring_parked", help, &[], stats.parked as i64);
}

// The edge counts what it accepted and moved, and the bytes of connections that live; a server
// connects to nobody.
shows! {
    plain: counter of RingStats {
        enters => "ringpost_ring_enters", "Calls of io_uring_enter.";
        enters_refused => "ringpost_ring_enters_refused", "Calls that the kernel put off.";
        waits => "ringpost_ring_waits", "Calls that were ready to wait for completions.";
        submission_queue_full => "ringpost_ring_submission_queue_full",
            "Calls made because the submission queue was full.";
        completions => "ringpost_ring_completions", "Completions taken.";
        completion_queue_overflows => "ringpost_ring_overflows",
            "Times that the completion queue was full.";
        accepts_refused => "ringpost_ring_accepts_refused", "Connections without a slot.";
        admits_failed => "ringpost_ring_admits_failed",
            "Connections of the process that got no slot.";
        accept_re_arms => "ringpost_ring_accept_re_arms", "Accepts armed again.";
        buffer_starvations => "ringpost_ring_buffer_starvations",
            "Receives that ended for want of a buffer.";
        receive_re_arms => "ringpost_ring_re_arms", "Receives armed again.";
        discarded_bytes => "ringpost_ring_discarded_bytes",
            "Bytes that came for connections being closed.";
        blocked_sends => "ringpost_ring_blocked_sends", "Sends that found the socket full.";
        cancelled => "ringpost_ring_cancelled", "Operations cancelled.";
        cancel_retries => "ringpost_ring_cancel_retries", "Cancels that had to be repeated.";
        stale_completions => "ringpost_ring_stale_completions",
            "Completions of an earlier use of their slot.";
        closed => "ringpost_ring_closed", "Slots closed.";
        reclaimed => "ringpost_ring_reclaimed", "Slots found occupied unannounced, and closed.";
        peer_address_fallbacks => "ringpost_ring_peer_address_fallbacks",
            "Addresses read from an installed descriptor.";
    }
    elsewhere {
        submissions, completions_per_wait, accepted, admitted, received_bytes, sent_bytes, short_sends, moved_in, moved_out, moves_failed,
        connected, connects_failed, wakes_sent, wakes_failed, wakes_received, event_wakes, in_flight,
        parking_wakes, rings, parked
    }
}
