//! Sans-IO connections of the edge: bytes, events and `now` in; bytes, effects and deadlines out.
//!
//! Owns what happens on a connection between the first byte and the shard, and the order of a
//! worker's turn. Does not own sockets, rings, clocks or threads: it is given them.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod budgets;
pub mod caller;
pub mod config;
pub mod connection;
mod connections;
pub mod counters;
pub mod driver;
mod encode;
pub mod forwarded;
pub mod http;
pub mod idle;
pub mod ledger;
pub mod letter;
pub mod outbox;
pub mod outgoing;
pub mod output;
pub mod proxy_header;
pub mod question;
pub mod sniff;
pub mod tables;
pub mod tickets;
pub mod timer;
pub mod websocket;
pub mod worker;

pub use addresses::Addresses;
pub use budgets::InputRate;
pub use caller::{Caller, TrustedProxies};
pub use config::ConnectionConfig;
pub use driver::{Driver, WORKERS_MAX};
pub use ledger::Ledger;
pub use letter::Letter;
pub use outgoing::Outgoing;
pub use output::{Operation, Output};
pub use tables::Tables;
pub use tickets::{Ticket, Tickets};
pub use worker::Worker;
