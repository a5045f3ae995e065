//! The operations of a connection to somebody else, and what they lend to the kernel.

use std::mem::size_of;
use std::net::SocketAddrV4;

use io_uring::opcode;
use io_uring::types::DestinationSlot;
use nix::errno::Errno;

use super::{Kernel, Lent};
use crate::connect::OnClose;
use crate::rings::Slot;
use crate::token::{Kind, Token};

/// Operations behind the socket: three options, bind, connect.
const STEPS: u8 = 5;

/// A connect on its way, as its owner sees it.
pub(crate) struct Connecting {
    /// Known once the socket is made.
    pub(crate) slot: Option<Slot>,
    /// What the caller gave.
    pub(crate) key: u32,
    /// What the first step that failed said.
    pub(crate) failed: Option<Errno>,
}

/// The same with what the kernel reads.
pub(super) struct ConnectInFlight {
    connecting: Connecting,
    steps_left: u8,
    from: libc::sockaddr_in,
    to: libc::sockaddr_in,
    on: libc::c_int,
    linger: libc::linger,
}

impl Kernel {
    pub(crate) fn socket(
        &mut self,
        from: SocketAddrV4,
        to: SocketAddrV4,
        key: u32,
        on_close: OnClose,
    ) {
        let entry = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        let connect = Lent::new(ConnectInFlight {
            connecting: Connecting { slot: None, key, failed: None },
            steps_left: STEPS,
            from: socket_address(from),
            to: socket_address(to),
            on: 1,
            linger: libc::linger {
                l_onoff: libc::c_int::from(on_close == OnClose::Reset),
                l_linger: 0,
            },
        });
        let key = self.connects.insert(connect);
        // SAFETY: names nothing of ours.
        unsafe { self.push(entry, Token::of_key(Kind::Socket, key)) };
    }

    /// The socket stands in `slot`: queues the rest. The kernel begins entries in their
    /// order and only the last of these waits for anything, so they need no links: a chain of
    /// links must not be parted by a full submission queue, and these may be.
    pub(crate) fn connect_steps(&mut self, socket: Token, slot: Slot) {
        let lent = self.connects[socket.key()].as_ptr();
        // SAFETY: allocated in `socket`; no step is queued yet, so the kernel does not know it.
        unsafe { (*lent).connecting.slot = Some(slot) };
        // SAFETY: points into the live allocation; nothing is read.
        let from = unsafe { &raw const (*lent).from };
        // SAFETY: as above.
        let to = unsafe { &raw const (*lent).to };
        // SAFETY: as above.
        let on = unsafe { &raw const (*lent).on };
        // SAFETY: as above.
        let linger = unsafe { &raw const (*lent).linger };
        let fixed = self.fixed(slot);
        let option = |level: i32, name: i32| {
            let bytes = size_of::<libc::c_int>() as u32;
            opcode::SetSockOpt::new(fixed, level as u32, name as u32, on.cast(), bytes).build()
        };
        let linger_bytes = size_of::<libc::linger>() as u32;
        let linger = opcode::SetSockOpt::new(
            fixed,
            libc::SOL_SOCKET as u32,
            libc::SO_LINGER as u32,
            linger.cast(),
            linger_bytes,
        );
        let bytes = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let steps = [
            linger.build(),
            option(libc::IPPROTO_TCP, libc::TCP_NODELAY),
            // The port is chosen at connect, when it need be free for one destination only.
            option(libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT),
            opcode::Bind::new(fixed, from.cast(), bytes).build(),
            opcode::Connect::new(fixed, to.cast(), bytes).build(),
        ];
        const { assert!(STEPS == 5) };
        for entry in steps {
            let token = Token::of_key(Kind::ConnectStep, socket.key());
            // SAFETY: names the addresses and the options of a `Lent`, which is taken back at the
            // completion of the last step (each has one).
            unsafe { self.push(entry, token) };
        }
    }

    /// A step is over; `Some` when it was the last.
    pub(crate) fn connect_step_done(
        &mut self,
        step: Token,
        result: Result<u32, Errno>,
    ) -> Option<Connecting> {
        let lent = self.connects[step.key()].as_ptr();
        // SAFETY: the kernel only reads, and not these two fields; nobody else refers to them.
        let left = unsafe { &mut (*lent).steps_left };
        *left -= 1;
        let last = *left == 0;
        // SAFETY: as above.
        let failed = unsafe { &mut (*lent).connecting.failed };
        if let Err(errno) = result {
            failed.get_or_insert(errno);
        }
        last.then(|| self.take_connect(step))
    }

    /// The connect of this completion, which was its last.
    pub(crate) fn take_connect(&mut self, token: Token) -> Connecting {
        self.connects.remove(token.key()).take_back().connecting
    }
}

fn socket_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}
