//! The io_uring island: a mechanism without policy.
//!
//! This crate owns the rings of one worker and everything that the kernel may read or write on
//! the worker's behalf: submission and completion queues, the table of direct descriptors, the
//! buffer ring, the memory of sends in flight. It knows slots, operations, buffers and
//! completions. It does not know frames, sessions, timers or other workers' state; a worker
//! tells it what to do and is told what happened.
//!
//! ```text
//!   worker --- receive, send, close, move_out, wake --->  RingSet  --- SQEs --->  kernel
//!          <-- Accepted, Received, Sent, Closed, Woken --          <-- CQEs ---
//! ```
//!
//! Invariants, each held by a test of the conformance suite that runs over both drivers:
//! - A [`Slot`] begins with exactly one [`Completion::Accepted`], [`Completion::MovedIn`],
//!   [`Completion::Admitted`] or [`Completion::Connected`] and ends with exactly one [`Completion::Closed`]; nothing is reported about it afterwards.
//! - Bytes of one connection are reported in the order of the stream and none is lost, whatever
//!   ends a receive (starvation of the buffer ring, a cancel, a full completion queue).
//! - A buffer or a descriptor stays valid until the kernel has reported the last completion of
//!   the operation that uses it. Nothing is dropped before.
//! - Full means refuse and count, never block: a full submission queue is flushed, a full table
//!   of slots refuses connections, a full completion queue is drained in order.
//!
//! `unsafe` is allowed in four modules: `uring` (set-up and `io_uring_enter`), `buffers`
//! (the memory shared with the kernel), `kernel` (operations that lend memory to it) and `socket`
//! (an option of listening sockets for which no safe call exists).
//!
//! Needs Linux 6.8 (`FIXED_FD_INSTALL`); developed and measured on 6.18.

mod accept;
mod admit;
mod bank;
#[expect(unsafe_code, reason = "the buffer ring is memory shared with the kernel")]
mod buffers;
mod cancels;
mod completions;
mod config;
mod connect;
pub mod fake;
mod handle;
#[expect(unsafe_code, reason = "submission lends memory and descriptors to the kernel")]
mod kernel;
mod ring_set;
mod rings;
mod self_test;
mod send_buffer;
mod sleep;
mod slots;
#[expect(unsafe_code, reason = "setsockopt is a system call")]
mod socket;
mod stats;
mod token;
#[expect(unsafe_code, reason = "ring set-up and io_uring_enter are system calls")]
mod uring;

pub use nix::errno::Errno;

pub use self::config::{OpenError, RingConfig, RingPlan};
pub use self::connect::OnClose;
pub use self::handle::{EventWaker, RingHandle};
pub use self::ring_set::RingSet;
pub use self::rings::{Completion, MoveToken, Operation, ReceiveMode, Rings, Slot, Wait};
pub use self::self_test::{Report, SelfTestError, self_test};
pub use self::send_buffer::SendBuffer;
pub use self::sleep::{SleepFlag, WakeOnce};
pub use self::socket::set_unsent_bytes_max;
pub use self::stats::{RingStats, SIZE_BOUNDS, Sizes};
