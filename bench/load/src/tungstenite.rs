//! A relay on tokio-tungstenite as one would write it: a task that reads and a task that writes
//! for each connection, a bounded queue between them, one thread. A peer, not part of a server.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::rc::Rc;

use anyhow::Context;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::dialect::raw::to;
use crate::exit::Outcome;

/// Messages that may wait for one client; whoever sends more waits too.
const QUEUE_MAX: usize = 4_096;
/// The library's default is 128 KiB for each connection, which nobody would leave so.
const READ_BUFFER_BYTES: usize = 4_096;

type Users = Rc<RefCell<HashMap<u32, mpsc::Sender<Message>>>>;

/// Serves until it is killed.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn serve(listen: SocketAddrV4) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen);
        let listener = listener.await.with_context(|| format!("cannot listen on {listen}"))?;
        let users = Users::default();
        loop {
            let (stream, _) = listener.accept().await.context("accepting")?;
            spawn_local(attend(stream, Rc::clone(&users)));
        }
    })
}

/// One connection until it ends, however it ends.
async fn attend(stream: TcpStream, users: Users) {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let Ok(()) = stream.set_nodelay(true) else { return };
    let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await;
    let Ok(stream) = accepted else { return };
    let (sink, stream) = stream.split();
    let (queue, messages) = mpsc::channel(QUEUE_MAX);
    spawn_local(write(sink, messages));
    let mut user = None;
    read(stream, &queue, &users, &mut user).await;
    if let Some(user) = user {
        let mut users = users.borrow_mut();
        if users.get(&user).is_some_and(|known| known.same_channel(&queue)) {
            users.remove(&user);
        }
    }
}

async fn read(
    mut stream: SplitStream<WebSocketStream<TcpStream>>,
    queue: &mpsc::Sender<Message>,
    users: &Users,
    user: &mut Option<u32>,
) {
    while let Some(Ok(message)) = stream.next().await {
        // The library answers pings by itself.
        let Message::Binary(bytes) = message else { continue };
        let Some((head, content)) = bytes.split_first_chunk::<4>() else { return };
        match u32::from_le_bytes(*head) {
            to::HELLO => {
                let Ok(number) = content.try_into().map(u32::from_le_bytes) else { return };
                *user = Some(number);
                users.borrow_mut().insert(number, queue.clone());
                if queue.send(Message::Binary(bytes.slice(..4))).await.is_err() {
                    return;
                }
            }
            to::ALL => {
                for other in others(users, *user) {
                    hand(&other, bytes.slice(4..)).await;
                }
            }
            receiver => {
                let known = users.borrow().get(&receiver).cloned();
                if let Some(known) = known {
                    hand(&known, bytes.slice(4..)).await;
                }
            }
        }
    }
}

/// The queues of everybody else: the map is not borrowed while one of them is waited for.
fn others(users: &Users, user: Option<u32>) -> Vec<mpsc::Sender<Message>> {
    let users = users.borrow();
    let others = users.iter().filter(|(known, _)| Some(**known) != user);
    others.map(|(_, queue)| queue.clone()).collect()
}

/// A receiver that has gone meanwhile gets nothing.
async fn hand(queue: &mpsc::Sender<Message>, content: Bytes) {
    let _ = queue.send(Message::Binary(content)).await;
}

/// All that waits leaves with one flush.
async fn write(
    mut sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    mut messages: mpsc::Receiver<Message>,
) {
    while let Some(message) = messages.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if sink.feed(message).await.is_err() {
                return;
            }
            next = messages.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}
