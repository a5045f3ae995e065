//! The far end of a connection, in the hands of a test.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use nix::errno::Errno;

use super::State;
use super::socket::{Installed, Socket};

/// What [`FakePeer::read`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerRead {
    /// Bytes; none if nothing has arrived.
    Bytes(Vec<u8>),
    /// The near end has closed or shut its direction, and all was read.
    End,
    /// The connection is broken.
    Reset,
}

/// The far end of a connection. Dropping it closes it: in order, or by a reset if it has not read
/// everything, as TCP does. A far end that does not read is a stalled reader.
pub struct FakePeer {
    state: Rc<RefCell<State>>,
    id: usize,
    address: SocketAddr,
}

impl FakePeer {
    pub(super) fn new(state: Rc<RefCell<State>>, id: usize, address: SocketAddr) -> Self {
        Self { state, id, address }
    }

    /// The address that the ring sees.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes what fits; 0 if the connection is full.
    ///
    /// # Errors
    ///
    /// `EPIPE` if the near end is closed or the connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.with(|socket| {
            if let Some(Installed { far: stream, .. }) = &mut socket.installed {
                return match stream.write(bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                    written => written.map_err(|_| Errno::EPIPE),
                };
            }
            if socket.is_broken() || socket.near_is_gone() || socket.to_near.has_ended() {
                return Err(Errno::EPIPE);
            }
            Ok(socket.to_near.write(bytes))
        })
    }

    /// Reads what has arrived, at most `most` bytes.
    pub fn read(&mut self, most: usize) -> PeerRead {
        self.with(|socket| {
            let bytes = socket.to_far.read(most);
            if !bytes.is_empty() {
                return PeerRead::Bytes(bytes);
            }
            if let Some(Installed { far: stream, .. }) = &mut socket.installed {
                let mut bytes = vec![0; most];
                return match stream.read(&mut bytes) {
                    Ok(0) => PeerRead::End,
                    Ok(read) => {
                        bytes.truncate(read);
                        PeerRead::Bytes(bytes)
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        PeerRead::Bytes(Vec::new())
                    }
                    Err(_) => PeerRead::Reset,
                };
            }
            match (socket.is_broken(), socket.to_far.has_ended()) {
                (true, _) => PeerRead::Reset,
                (false, true) => PeerRead::End,
                (false, false) => PeerRead::Bytes(bytes),
            }
        })
    }

    /// Ends its own direction; it can still read.
    pub fn shutdown_write(&mut self) {
        self.with(|socket| socket.to_near.end());
    }

    /// Breaks the connection: bytes under way are lost.
    pub fn reset(self) {
        self.with(Socket::reset);
    }

    /// Bytes that it could read now.
    #[must_use]
    pub fn readable_bytes(&self) -> usize {
        self.with(|socket| socket.to_far.len())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Socket) -> T) -> T {
        act(&mut self.state.borrow_mut().sockets[self.id])
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.sockets[self.id].close_far();
        state.forget_if_unused(self.id);
    }
}
