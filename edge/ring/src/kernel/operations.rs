//! One method for each operation: it builds the entry, lends what the entry names, and pushes.
//!
//! Every SAFETY comment says what the entry names and until when that stays valid. `Slot`s are
//! direct descriptors: they live in the kernel's table, so an entry that names one borrows no
//! memory of ours.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{opcode, squeue};
use nix::errno::Errno;
use smallvec::SmallVec;

use super::{
    ADDRESS_BYTES, BATCH, Kernel, Lent, MoveInFlight, PeerQuestion, SendInFlight, is_counted,
};
use crate::buffers::BUFFER_GROUP;
use crate::handle::RingHandle;
use crate::rings::{MoveToken, ReceiveMode, Slot, Wait};
use crate::send_buffer::SendBuffer;
use crate::token::{Kind, Token};

/// `IORING_RECVSEND_POLL_FIRST` and `IORING_RECV_MULTISHOT`, bits of `ioprio` (io_uring_enter(2)).
const POLL_FIRST: u16 = 1;
const RECV_MULTISHOT: u16 = 2;
/// `SOCKET_URING_OP_GETSOCKOPT`; the crate builds only SETSOCKOPT.
const GETSOCKOPT: u32 = 2;
/// Where `cmd_op` stands in a submission queue entry.
const COMMAND_OFFSET: usize = 8;
/// Enters that the probe at opening may take: one, unless a signal or a lack of memory interferes.
const PROBE_ENTERS_MAX: u32 = 16;
/// Sends never wait in the kernel and never raise SIGPIPE.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Every operation that is built below.
pub(super) const NEEDED: [(u8, &str); 13] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
    (opcode::Shutdown::CODE, "SHUTDOWN"),
    (opcode::SetSockOpt::CODE, "URING_CMD"),
    (opcode::FixedFdInstall::CODE, "FIXED_FD_INSTALL"),
    (opcode::MsgRingData::CODE, "MSG_RING"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Read::CODE, "READ"),
    (opcode::FilesUpdate::CODE, "FILES_UPDATE"),
];

impl Kernel {
    /// The slot in this ring's own table.
    pub(super) fn fixed(&self, slot: Slot) -> Fixed {
        Fixed(slot.index() - self.base)
    }

    pub(crate) fn accept(&mut self, listener: usize, fd: RawFd) {
        let entry = opcode::AcceptMulti::new(Fd(fd)).allocate_file_index(true).build();
        // SAFETY: names the listener's descriptor, which `Acceptor` closes only after the last
        // completion of its accept.
        unsafe { self.push(entry, Token::of_key(Kind::Accept, listener)) };
    }

    pub(crate) fn cancel_accept(&mut self, listener: usize) {
        let target = Token::of_key(Kind::Accept, listener);
        self.cancel(target, Token::of_key(Kind::CancelAccept, listener));
    }

    pub(crate) fn poll_readable(&mut self, slot: Slot) {
        let entry = opcode::PollAdd::new(self.fixed(slot), libc::POLLIN as u32).build();
        // SAFETY: names a slot only.
        unsafe { self.push(entry, Token::of_slot(Kind::PollReadable, slot)) };
    }

    pub(crate) fn poll_writable(&mut self, slot: Slot) {
        let entry = opcode::PollAdd::new(self.fixed(slot), libc::POLLOUT as u32).build();
        // SAFETY: names a slot only.
        unsafe { self.push(entry, Token::of_slot(Kind::PollWritable, slot)) };
    }

    /// `poll_first`: nothing is expected to be there yet, so do not try before waiting.
    pub(crate) fn receive(&mut self, slot: Slot, mode: ReceiveMode, poll_first: bool) {
        let (mut bits, cap) = match mode {
            ReceiveMode::OneShot => (0, 0),
            ReceiveMode::Multishot => (RECV_MULTISHOT, self.receive_turn_bytes),
        };
        if poll_first {
            bits |= POLL_FIRST;
        }
        let entry = receive_entry(self.fixed(slot), bits, cap);
        // SAFETY: names a slot and the buffer ring, which is freed only after `wind_down`.
        unsafe { self.push(entry, Token::of_slot(Kind::Receive, slot)) };
    }

    /// Cancels the operation of the input side, which is of this kind.
    pub(crate) fn cancel_input(&mut self, slot: Slot, kind: Kind) {
        self.cancel(Token::of_slot(kind, slot), Token::of_slot(Kind::CancelInput, slot));
    }

    pub(crate) fn cancel_poll_writable(&mut self, slot: Slot) {
        let target = Token::of_slot(Kind::PollWritable, slot);
        self.cancel(target, Token::of_slot(Kind::CancelOutput, slot));
    }

    pub(crate) fn send(&mut self, slot: Slot, buffer: SendBuffer) {
        let (fixed, message) = (self.fixed(slot), MaybeUninit::zeroed());
        let send = Lent::new(SendInFlight { slot, buffer, vectors: SmallVec::new(), message });
        // SAFETY: just allocated, and unknown to the kernel until the push below.
        let lent = unsafe { &mut *send.as_ptr() };
        for chunk in lent.buffer.remaining().take(SendBuffer::CHUNKS_PER_SEND_MAX) {
            let iov_base = chunk.as_ptr().cast_mut().cast();
            lent.vectors.push(libc::iovec { iov_base, iov_len: chunk.len() });
        }
        let entry = match lent.vectors.as_slice() {
            [one] if u32::try_from(one.iov_len).is_ok() => {
                opcode::Send::new(fixed, one.iov_base.cast(), one.iov_len as u32)
                    .flags(SEND_FLAGS)
                    .build()
            }
            _ => {
                let message = lent.message.as_mut_ptr();
                // SAFETY: zeroed bytes are a valid msghdr, and nobody else refers to it yet.
                let message = unsafe { &mut *message };
                message.msg_iov = lent.vectors.as_mut_ptr();
                message.msg_iovlen = lent.vectors.len();
                opcode::SendMsg::new(fixed, message).flags(SEND_FLAGS as u32).build()
            }
        };
        let key = self.sends.insert(send);
        // SAFETY: names the message, the vectors and the bytes of a `Lent`, which is taken back
        // at the completion of this send (it has one).
        unsafe { self.push(entry, Token::of_key(Kind::Send, key)) };
    }

    pub(crate) fn shutdown_write(&mut self, slot: Slot) {
        let entry = opcode::Shutdown::new(self.fixed(slot), libc::SHUT_WR).build();
        // SAFETY: names a slot only.
        unsafe { self.push(entry, Token::of_slot(Kind::ShutdownWrite, slot)) };
    }

    /// Asks for `bytes` of the peer's address: the kernel refuses to be asked for more than the
    /// address family has.
    pub(crate) fn peer_name(&mut self, slot: Slot, bytes: usize) {
        assert!(bytes <= ADDRESS_BYTES, "the answer fits the buffer");
        let question = Lent::new(PeerQuestion { slot, address: [0; ADDRESS_BYTES] });
        // SAFETY: points into a live allocation of `PeerQuestion`; nothing is read.
        let address = unsafe { &raw mut (*question.as_ptr()).address };
        let mut entry = opcode::SetSockOpt::new(
            self.fixed(slot),
            libc::SOL_SOCKET as u32,
            libc::SO_PEERNAME as u32,
            address.cast_const().cast(),
            bytes as u32,
        )
        .build();
        const { assert!(size_of::<squeue::Entry>() == 64) };
        // SAFETY: an entry is the 64 bytes of the kernel's `io_uring_sqe`, so byte 8 is inside.
        let command = unsafe { (&raw mut entry).cast::<u8>().add(COMMAND_OFFSET) };
        // SAFETY: `cmd_op` is the u32 at that offset; an entry is aligned to 8.
        unsafe { command.cast::<u32>().write(GETSOCKOPT) };
        let key = self.questions.insert(question);
        // SAFETY: names `ADDRESS_BYTES` of a `Lent`, which is taken back at the completion.
        unsafe { self.push(entry, Token::of_key(Kind::PeerName, key)) };
    }

    /// Makes an ordinary descriptor of a slot, for the caller (`Install`) or to read the peer's
    /// address from (`PeerInstall`).
    pub(crate) fn install(&mut self, slot: Slot, kind: Kind) {
        // No flags: close-on-exec, the kernel's default here.
        let entry = opcode::FixedFdInstall::new(self.fixed(slot), 0).build();
        // SAFETY: names a slot only.
        unsafe { self.push(entry, Token::of_slot(kind, slot)) };
    }

    pub(crate) fn move_out(&mut self, slot: Slot, to: &RingHandle, token: MoveToken) {
        let door = to.take_place();
        let entry = opcode::MsgRingSendFd::new(
            Fd(to.doors()[door].raw_fd()),
            self.fixed(slot),
            DestinationSlot::auto_target(),
            Token::moved_in(token).0,
        )
        .build();
        let key = self.moves.insert(MoveInFlight { slot, to: to.clone(), door });
        // SAFETY: names a slot and the target's descriptor, which `moves` keeps open until the
        // completion.
        unsafe { self.push(entry, Token::of_key(Kind::Move, key)) };
    }

    /// Takes a slot out of the table: `Close`, or `Reclaim` for one that may be empty.
    pub(crate) fn close(&mut self, slot: Slot, kind: Kind) {
        let entry = opcode::Close::new(self.fixed(slot)).build();
        // SAFETY: names a slot only.
        unsafe { self.push(entry, Token::of_slot(kind, slot)) };
    }

    /// Looks whether a slot is in use, by a send of nothing: EBADF says that it is not.
    pub(crate) fn probe(&mut self, slot: Slot) {
        let entry =
            opcode::Send::new(self.fixed(slot), std::ptr::null(), 0).flags(SEND_FLAGS).build();
        // SAFETY: names a slot, and no bytes.
        unsafe { self.push(entry, Token::of_slot(Kind::Probe, slot)) };
    }

    pub(crate) fn wake(&mut self, to: &RingHandle) {
        let entry = opcode::MsgRingData::new(Fd(to.raw_fd()), 0, Token::bare(Kind::Woken).0, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.wake_targets.push(to.clone());
        // SAFETY: names the target's descriptor, which `wake_targets` keeps open until the entry
        // has been submitted; the kernel resolves it then.
        unsafe { self.push(entry, Token::bare(Kind::Wake)) };
    }

    /// Reads the eventfd; completes when somebody has written it.
    pub(super) fn read_bell(&mut self) {
        let fd = self.bell.file.as_raw_fd();
        let count = self.bell_count.get_or_insert_with(|| Lent::new(0)).as_ptr();
        let entry = read_count(fd, count);
        // SAFETY: names the eventfd and eight bytes, both kept by `self` until it is dropped,
        // and then until `wind_down` has seen the completion.
        unsafe { self.push(entry, Token::bare(Kind::Event)) };
    }

    /// The same for the eventfd of the parking rings, where there is one.
    pub(super) fn read_parking_bell(&mut self) {
        let Some((bell, count)) = &self.parking_bell else { return };
        let entry = read_count(bell.as_raw_fd(), count.as_ptr());
        // SAFETY: as in `read_bell`.
        unsafe { self.push(entry, Token::bare(Kind::ParkingEvent)) };
    }

    /// Whether a multishot receive takes a cap on its bytes per turn: the kernel looks at that
    /// before it finds the slot empty.
    pub(super) fn knows_receive_cap(&mut self) -> bool {
        let entry = receive_entry(Fixed(0), RECV_MULTISHOT | POLL_FIRST, 1);
        // SAFETY: names an empty slot and the buffer ring; it completes before this returns.
        unsafe { self.push(entry, Token::of_slot(Kind::Receive, Slot::new(self.base, 0))) };
        let mut batch = SmallVec::new();
        for _ in 0..PROBE_ENTERS_MAX {
            self.submit_and_wait(Wait::FOREVER);
            self.take(BATCH, &mut batch);
            if !batch.is_empty() {
                break;
            }
        }
        matches!(batch.as_slice(), [done] if done.result == Err(Errno::EBADF))
    }

    pub(super) fn cancel_everything(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: names nothing.
        unsafe { self.push(entry, Token::bare(Kind::CancelAll)) };
    }

    /// Completes only if `target` was not found or is running.
    fn cancel(&mut self, target: Token, token: Token) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(target.0)).build();
        // SAFETY: names nothing.
        unsafe { self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), token) };
    }

    /// # Safety
    ///
    /// As [`crate::uring::Uring::push`]: what the entry names stays valid until its last
    /// completion.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, token: Token) {
        if is_counted(token.kind()) {
            self.stats.in_flight += 1;
        }
        // SAFETY: passed on to our caller.
        unsafe { self.uring.push(entry.user_data(token.0), &mut self.stats) };
    }
}

fn read_count(fd: RawFd, count: *mut u64) -> squeue::Entry {
    opcode::Read::new(Fd(fd), count.cast(), size_of::<u64>() as u32).build()
}

fn receive_entry(slot: Fixed, bits: u16, cap: u32) -> squeue::Entry {
    opcode::Recv::new(slot, std::ptr::null_mut(), cap)
        .ioprio(bits)
        .buf_group(BUFFER_GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
}
