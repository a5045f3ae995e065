//! The one option of listening sockets for which `nix` has no safe call.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Above so many bytes not yet sent the kernel calls a socket not writable (TCP_NOTSENT_LOWAT of
/// tcp(7)): what waits, waits here, where it is counted, and not in the kernel. Accepted
/// connections inherit it. A send that has begun may still fill the socket's send buffer.
///
/// # Errors
/// What setsockopt(2) says; `ENOPROTOOPT` where the descriptor is no TCP socket.
pub fn set_unsent_bytes_max(socket: BorrowedFd<'_>, bytes: u32) -> nix::Result<()> {
    let length = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `bytes` during the call, and `bytes` outlives it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_tcp_socket_takes_it_and_another_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_unsent_bytes_max(listener.as_fd(), 4_096).unwrap();
        let (other, _) = UnixDatagram::pair().unwrap();
        set_unsent_bytes_max(other.as_fd(), 4_096).unwrap_err();
    }
}
