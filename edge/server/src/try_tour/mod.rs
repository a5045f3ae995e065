//! `ringpost try`: a newcomer's tour against a real server process, every step checked.
//!
//! ```text
//!  start -> tokens -> alice (binary) and bob (WebSocket, JSON) sign in -> a message, its receipts
//!        -> an answer -> a repeated send -> bob leaves, a message waits for him
//!        -> kill -9 -> start -> both resume, bob gets what waited -> history -> SIGTERM
//! ```
//! Owns the story and what each step promises. The server is this same executable, started as
//! anybody would start it, on a directory of its own and free ports; the clients know nothing but
//! the protocol. A step that does not go as promised ends the tour with what was expected.

mod client;
mod link;
mod rest;
mod server;
mod transcript;

use anyhow::ensure;
use ringpost_wire::event::Status;
use ringpost_wire::{ServerId, UserId};
use uuid::{Uuid, uuid};

use self::client::{Client, Outgoing};
use self::link::{BinaryLink, JsonLink};
use self::server::{Directory, Server};
use self::transcript::{end, step, why};
use crate::exit::{Failure, Kind};

/// The users of the tour are those of the examples in PROTOCOL.md.
const ALICE: Uuid = uuid!("0a11ce00-0000-4000-8000-000000000001");
const BOB: Uuid = uuid!("0b0b0000-0000-4000-8000-000000000002");

/// Runs the tour and prints its transcript.
///
/// # Errors
/// What was expected and what came instead, with the end of the server's log.
pub(crate) fn run() -> Result<(), Failure> {
    let directory = Directory::create().map_err(|error| Failure::new(Kind::Host, error))?;
    tour(&directory).map_err(|error| {
        let log = directory.log_tail();
        let error = error.context(format!("not as promised; the server's last words:\n{log}"));
        Failure::new(Kind::Unavailable, error)
    })
}

/// The ids that the server gave to the three messages, in their order.
struct Accepted {
    first: ServerId,
    answer: ServerId,
    offline: ServerId,
}

fn tour(directory: &Directory) -> anyhow::Result<()> {
    step("A server, in a directory of its own");
    let server = Server::start(directory)?;
    step("Two people sign in");
    let (mut alice, mut bob) = sign_in(directory, &server)?;
    let (hello, first) = converse(&mut alice, &mut bob)?;
    let answer = reply(&mut alice, &mut bob, first)?;
    repeat(&mut alice, &hello, first)?;
    let (waiting, offline) = leave(&mut alice, &mut bob)?;

    step("The server is killed, and starts again");
    server.kill()?;
    why("SIGKILL: nothing could be written or said on the way out.");
    let server = Server::start(directory)?;
    resume(&server, &mut alice, &mut bob, offline)?;
    repeat(&mut alice, &waiting, offline)?;
    history(directory, &server, &Accepted { first, answer, offline })?;

    step("An orderly end");
    server.terminate()?;
    alice.expect_goaway()?;
    alice.bye()?;
    bob.expect_goaway()?;
    bob.bye()?;
    server.expect_exit()?;
    why("SIGTERM: clients are told when to come back, all is flushed, the exit code is 0.");
    end("All as promised.");
    Ok(())
}

fn sign_in(directory: &Directory, server: &Server) -> anyhow::Result<(Client, Client)> {
    let tokens = (server::token(directory, ALICE)?, server::token(directory, BOB)?);
    why("Signed with the key of the data directory. Behind a real identity provider, it signs.");
    let mut alice = Client::new("alice", ALICE, BinaryLink::connect(server.address())?);
    alice.sign_in_with_token(&tokens.0)?;
    why("Frames of the binary protocol over TCP, shown here as the JSON that says the same.");
    why("The ticket makes the next sign-in cheap; queue_empty: nothing was waiting.");
    let mut bob = Client::new("bob", BOB, JsonLink::connect(server.address())?);
    bob.sign_in_with_token(&tokens.1)?;
    why("Bob speaks JSON over WebSocket on the same port. He sees no difference, nor does Alice.");
    Ok((alice, bob))
}

/// A message from Alice to Bob with all its receipts.
fn converse(alice: &mut Client, bob: &mut Client) -> anyhow::Result<(Outgoing, ServerId)> {
    step("A message and its receipts: sent, delivered, read");
    let hello = Outgoing::new(bob.user(), b"ciphertext of: hello Bob");
    let id = alice.send_and_expect_sent(&hello)?;
    why("sent: the message is on disk. Nothing else, not even a write that succeeded, means so.");
    let push = bob.expect_message(id, &hello, alice.user())?;
    bob.ack(push)?;
    why("ack: Bob's device has stored it. Only then does it leave his queue.");
    let push = alice.expect_receipt(id, Status::Delivered)?;
    alice.ack(push)?;
    why("delivered: a device said that it has the message. Receipts are acked like messages.");
    bob.read(id)?;
    let push = alice.expect_receipt(id, Status::Read)?;
    alice.ack(push)?;
    Ok((hello, id))
}

/// Bob's answer, from JSON to binary.
fn reply(alice: &mut Client, bob: &mut Client, to: ServerId) -> anyhow::Result<ServerId> {
    step("An answer, the other way round");
    let answer = Outgoing::new(alice.user(), b"ciphertext of: hello Alice").in_reply_to(to);
    let id = bob.send_and_expect_sent(&answer)?;
    ensure!(id > to, "ids of a conversation rise: {id} is behind {to}");
    let push = alice.expect_message(id, &answer, bob.user())?;
    alice.ack(push)?;
    let push = bob.expect_receipt(id, Status::Delivered)?;
    bob.ack(push)?;
    why("Ids of one conversation rise in the order of acceptance: clients sort by them.");
    Ok(id)
}

/// The same message again: the same answer.
fn repeat(alice: &mut Client, message: &Outgoing, accepted: ServerId) -> anyhow::Result<()> {
    step("A repeated send");
    let again = alice.send_and_expect_sent(message)?;
    ensure!(again == accepted, "the same message_id gives the same id {accepted}, got {again}");
    why("Same message_id, same id: after a doubt a client repeats, and Bob is not told twice.");
    Ok(())
}

/// Bob leaves, and Alice writes to him all the same.
fn leave(alice: &mut Client, bob: &mut Client) -> anyhow::Result<(Outgoing, ServerId)> {
    step("Bob leaves; Alice writes all the same");
    bob.bye()?;
    let waiting = Outgoing::new(bob.user(), b"ciphertext of: are you there?");
    let id = alice.send_and_expect_sent(&waiting)?;
    why("sent again means: kept. Bob's device has a queue at the server.");
    Ok((waiting, id))
}

/// Both come back with their tickets, and Bob gets what waited.
fn resume(
    server: &Server,
    alice: &mut Client,
    bob: &mut Client,
    waiting: ServerId,
) -> anyhow::Result<()> {
    step("Both come back with their tickets");
    alice.resume(BinaryLink::connect(server.address())?)?;
    alice.expect_queue_empty()?;
    bob.resume(JsonLink::connect(server.address())?)?;
    let push = bob.expect_waiting(waiting, alice.user())?;
    why("The message that only a killed process had taken is here, ahead of queue_empty.");
    bob.expect_queue_empty()?;
    bob.ack(push)?;
    let push = alice.expect_receipt(waiting, Status::Delivered)?;
    alice.ack(push)
}

/// What both have said, by REST.
fn history(directory: &Directory, server: &Server, accepted: &Accepted) -> anyhow::Result<()> {
    step("History, by REST on the same port");
    let token = server::token(directory, BOB)?;
    let page = rest::history(server.address(), &token, ALICE)?;
    let expected =
        [(accepted.offline, "delivered"), (accepted.answer, "delivered"), (accepted.first, "read")];
    let expected = expected.map(|(id, status)| (id, status.to_owned()));
    ensure!(
        page == expected,
        "newest first, each with the status that its receipts gave it: expected {expected:?}, \
         got {page:?}"
    );
    why("Newest first; only one's own conversations; never behind what was sent.");
    Ok(())
}

fn user(uuid: Uuid) -> UserId {
    UserId::from(uuid)
}
