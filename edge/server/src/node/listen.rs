//! Listening sockets: one for each worker and address, sharing the port.
//!
//! Options set here are inherited by accepted connections: small writes leave at once, a dead
//! peer is noticed, and the kernel holds no megabytes for a client that does not read.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, getsockname,
    listen, setsockopt, socket, sockopt,
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

/// Opens a listening socket at `address` that others may share; one of IPv6 for IPv6 alone, if asked.
///
/// # Errors
/// If the address is taken by another process, or not of this host.
fn open(address: SocketAddr, is_v6_alone: bool) -> nix::Result<OwnedFd> {
    let fd = bound(address, is_v6_alone, true)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

/// A socket at `address` that takes no connections yet.
fn bound(address: SocketAddr, is_v6_alone: bool, is_shared: bool) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &is_shared)?;
    if is_v6_alone {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    setsockopt(&fd, sockopt::SndBuf, &SEND_BUFFER_BYTES)?;
    setsockopt(&fd, sockopt::TcpUserTimeout, &USER_TIMEOUT_MS)?;
    ringpost_ring::set_unsent_bytes_max(fd.as_fd(), UNSENT_BYTES_MAX)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
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
        // A socket of IPv6 takes IPv4 too, unless another of ours takes that at the same port.
        let takes_its_v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == wanted.port();
        let is_v6_alone = wanted.is_ipv6() && addresses.iter().any(takes_its_v4);
        // Sharing the port among workers must not mean sharing it with another server. (One that
        // starts in the instant between this look and the sockets below is not seen.)
        let guard = take(wanted, is_v6_alone).map_err(|error| (wanted, error))?;
        let address = address_of(&guard).unwrap_or(wanted);
        drop(guard);
        for own in &mut sockets {
            own.push(open(address, is_v6_alone).map_err(|error| (address, error))?);
        }
        bound.push(address);
    }
    Ok((bound, sockets))
}

/// Takes an address that nobody else has; waits for one that a killed server still seems to have.
fn take(address: SocketAddr, is_v6_alone: bool) -> nix::Result<OwnedFd> {
    let begun = Instant::now();
    // Ends: when the address is free or the time is over. A round is one sleep.
    loop {
        // Whoever listens there is only seen by who would listen too.
        let taken = bound(address, is_v6_alone, false)
            .and_then(|fd| listen(&fd, Backlog::new(1)?).map(|()| fd));
        match taken {
            Err(nix::Error::EADDRINUSE) if begun.elapsed() < TAKEN_MAX => thread::sleep(TAKEN_POLL),
            outcome => return outcome,
        }
    }
}

/// The address that a socket is bound to.
fn address_of(fd: &OwnedFd) -> Option<SocketAddr> {
    let address: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
    let v4 = address.as_sockaddr_in().map(|&it| SocketAddr::V4(it.into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|&it| SocketAddr::V6(it.into())))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    /// A port that nobody has, of either family.
    fn free_port() -> u16 {
        TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn all_of_ipv4_and_all_of_ipv6_listen_at_one_port_in_either_order() {
        for is_v4_first in [true, false] {
            let port = free_port();
            let mut wanted =
                [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
            if !is_v4_first {
                wanted.reverse();
            }
            let (bound, sockets) = open_all(&wanted, 2).unwrap();
            assert_eq!((bound.as_slice(), sockets.len()), (&wanted[..], 2));
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn all_of_ipv6_alone_takes_ipv4_as_well() {
        let (bound, _sockets) = open_all(&["[::]:0".parse().unwrap()], 1).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, bound[0].port())).unwrap();
    }
}
