//! Turns of one and of several real workers over the fake ring, in virtual time.
//!
//! `world` wires workers, rings, mailboxes and a journal as the server does, without threads;
//! `client` is the far end of a connection, `device` one that remembers and checks. Each other module is named by what it defends. The fake
//! ring defers, splits, reorders and fails by seed; a failing test says which one.

mod accounting;
mod callers;
mod client;
mod copies;
mod deadlines;
mod device;
mod displacement;
mod drain;
mod driver;
mod hand_over;
mod incomplete;
mod journal;
mod journal_room;
mod last_words;
mod leaving;
mod ledger;
mod mail;
mod many_workers;
mod moves;
mod outboxes;
mod pace;
mod questions;
mod relays;
mod returning;
mod ring_faults;
mod slow_commit;
mod slow_reader;
mod stages;
mod storm;
mod temperature;
mod transports;
mod walk;
mod world;
