//! Listening sockets: one for each worker and address, sharing the port.
//!
//! Options set here are inherited by accepted connections: small writes leave at once, a dead
//! peer is noticed, and the kernel holds no megabytes for a client that does not read.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen,
    setsockopt, socket, sockopt,
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Bytes that the kernel may hold for a client that does not read (doubled by the kernel for its
/// own bookkeeping).
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Bytes not yet sent above which a connection does not count as writable again.
const UNSENT_BYTES_MAX: u32 = 32 * 1024;

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT_MS: u32 = 30_000;

/// How long an address may be in use. The kernel takes a ring apart behind the end of its process,
/// and the ring of a server that was killed holds its listening sockets until then.
const TAKEN_MAX: Duration = Duration::from_secs(5);

/// Between two looks whether it is free.
const TAKEN_POLL: Duration = Duration::from_millis(20);

/// Opens a listening socket at `address` that others may share.
///
/// # Errors
/// If the address is taken by another process, or not of this host.
pub(super) fn open(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    setsockopt(&fd, sockopt::SndBuf, &SEND_BUFFER_BYTES)?;
    setsockopt(&fd, sockopt::TcpUserTimeout, &USER_TIMEOUT_MS)?;
    ringpost_ring::set_unsent_bytes_max(fd.as_fd(), UNSENT_BYTES_MAX)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

/// Addresses as bound, and for each worker its socket of each address.
pub(super) type Listening = (Vec<SocketAddr>, Vec<Vec<OwnedFd>>);

/// Opens `workers` sockets for each address; port 0 becomes one free port for all of them.
///
/// # Errors
/// The address that could not be opened, and why.
pub(super) fn open_all(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<Listening, (SocketAddr, nix::Error)> {
    let mut bound = Vec::new();
    let mut sockets: Vec<Vec<OwnedFd>> = std::iter::repeat_with(Vec::new).take(workers).collect();
    for &wanted in addresses {
        // Sharing the port among workers must not mean sharing it with another server. (One that
        // starts in the instant between this look and the sockets below is not seen.)
        let guard = take(wanted)
            .map_err(|error| (wanted, nix::Error::from_raw(error.raw_os_error().unwrap_or(0))))?;
        let address = guard.local_addr().map_or(wanted, |address| address);
        drop(guard);
        for own in &mut sockets {
            own.push(open(address).map_err(|error| (address, error))?);
        }
        bound.push(address);
    }
    Ok((bound, sockets))
}

/// Takes an address that nobody else has; waits for one that a killed server still seems to have.
fn take(address: SocketAddr) -> io::Result<TcpListener> {
    let begun = Instant::now();
    // Ends: when the address is free or the time is over. A round is one sleep.
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < TAKEN_MAX => {
                thread::sleep(TAKEN_POLL);
            }
            outcome => return outcome,
        }
    }
}
