//! A connection in memory: two bounded pipes, and what TCP makes of their ends.
//!
//! "Near" is the end in a ring, "far" the end in a test.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// The writer has said that no more will come.
    ended: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::new(), capacity, ended: false }
    }

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Takes what fits; says how much.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    pub(super) fn read(&mut self, most: usize) -> Vec<u8> {
        let taken = most.min(self.bytes.len());
        self.bytes.drain(..taken).collect()
    }

    /// Takes everything, also what does not fit: it was on its way elsewhere already.
    pub(super) fn overfill(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn discard(&mut self) {
        self.bytes.clear();
    }
}

/// A connection that is an ordinary descriptor of the process.
#[derive(Debug)]
pub(super) struct Installed {
    /// The other end of that descriptor.
    pub(super) far: UnixStream,
    /// What the descriptor is known by when it comes back.
    pub(super) inode: u64,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) to_near: Pipe,
    pub(super) to_far: Pipe,
    /// The connection is broken.
    broken: bool,
    /// The near end has been told so: it fails once with ECONNRESET, then with EPIPE.
    pub(super) near_was_told: bool,
    near_open: bool,
    far_open: bool,
    /// After an install: the other end of the descriptor that was handed out.
    pub(super) installed: Option<Installed>,
    pub(super) far_address: SocketAddr,
}

impl Socket {
    pub(super) fn new(far_address: SocketAddr, capacity: usize) -> Self {
        Self {
            to_near: Pipe::new(capacity),
            to_far: Pipe::new(capacity),
            broken: false,
            near_was_told: false,
            near_open: true,
            far_open: true,
            installed: None,
            far_address,
        }
    }

    /// The descriptor has come back: what lies unread in either direction is this socket's again.
    pub(super) fn uninstall(&mut self, near: File) {
        let Some(Installed { far, .. }) = self.installed.take() else { return };
        let far = File::from(OwnedFd::from(far));
        for (mut end, pipe) in [(near, &mut self.to_near), (far, &mut self.to_far)] {
            let mut unread = Vec::new();
            // It ends where nothing is left: by an error, because both ends are non-blocking.
            let _ = end.read_to_end(&mut unread);
            pipe.overfill(&unread);
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Input, the end of it, or an error can be received.
    pub(super) fn is_readable(&self) -> bool {
        self.broken || self.to_near.len() > 0 || self.to_near.has_ended()
    }

    /// A send would be taken, or would fail.
    pub(super) fn is_writable(&self) -> bool {
        self.broken || self.to_far.has_ended() || self.to_far.room() > 0
    }

    /// Bytes under way are lost in both directions.
    pub(super) fn reset(&mut self) {
        self.broken = true;
        self.to_near.discard();
        self.to_far.discard();
    }

    /// Closed with unread input, TCP resets; otherwise the far end reads on to the end.
    pub(super) fn close_near(&mut self) {
        self.near_open = false;
        if self.to_near.len() > 0 {
            self.reset();
        }
        self.to_far.end();
    }

    pub(super) fn close_far(&mut self) {
        self.far_open = false;
        if self.to_far.len() > 0 {
            self.reset();
        }
        self.to_near.end();
    }

    /// The far end has closed: what is sent to it breaks the connection.
    pub(super) fn far_is_gone(&self) -> bool {
        !self.far_open
    }

    pub(super) fn near_is_gone(&self) -> bool {
        !self.near_open
    }

    pub(super) fn is_unused(&self) -> bool {
        !self.near_open && !self.far_open
    }
}
