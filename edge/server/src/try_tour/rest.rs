//! The one REST request of the tour, over a plain socket.

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use ringpost_wire::ServerId;
use serde::Deserialize;
use uuid::Uuid;

use super::link::connect;
use super::transcript::{command, line};

/// Most bytes of an answer that the tour reads.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

#[derive(Deserialize)]
struct Page {
    messages: Vec<Message>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Message {
    id: Uuid,
    status: String,
}

/// The whole history with a peer, as id and status of each message, in the order of the answer.
///
/// # Errors
/// If the answer is not one whole page of messages.
pub(super) fn history(
    address: SocketAddr,
    token: &str,
    peer: Uuid,
) -> anyhow::Result<Vec<(ServerId, String)>> {
    let target = format!("/v1/messages?user_id={peer}");
    command(&format!("curl http://{address}{target} -H 'Authorization: Bearer TOKEN'"));
    let mut stream = connect(address)?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    line("bob", "<-", body);
    ensure!(head.starts_with("HTTP/1.1 200 "), "expected 200, got {head}");
    let page = serde_json::from_str::<Page>(body).context("expected a page of messages")?;
    ensure!(!page.has_more, "expected that the whole history fits a page");
    Ok(page.messages.into_iter().map(|one| (ServerId::from(one.id), one.status)).collect())
}
