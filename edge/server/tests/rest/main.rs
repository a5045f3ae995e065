//! The REST service and the private port over real sockets, with the engines in memory.
//!
//! Setup: a [`rig::Rig`] with a service, a store of a few messages, and doubles for the homes and
//! the code sender. Action: HTTP/1.1 as a client writes it. Expectation: answers, and what the
//! doubles were told.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod admin;
mod callers;
mod connections;
mod history;
mod logs;
mod pages;
mod rig;
mod sign_in;
