//! The boot self-test: does this kernel, in this container, do what the driver relies on?
//!
//! Two small ring sets and real connections over loopback go through every operation that a
//! worker uses; the echo runs with a buffer ring far too small for it, so that every receive
//! starves and must be armed again. Nothing is assumed from a version number. A refusal says
//! which step failed and, where it is known, how to enable what is missing. Takes a few
//! milliseconds, a port of the loopback interface, and sleeps at most [`TURNS_MAX`] turns in a
//! step.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

use crate::config::{OpenError, RingConfig};
use crate::ring_set::RingSet;
use crate::rings::{Completion, MoveToken, Operation, ReceiveMode, Rings, Slot, Wait};
use crate::send_buffer::SendBuffer;
use crate::stats::RingStats;

/// Lengths that are echoed: within a buffer, around its end, many of them.
const ECHO_LENGTHS: [usize; 6] = [1, 511, 512, 513, 64 << 10, 1 << 20];
/// A buffer ring that starves: two buffers of half a kilobyte.
const STARVED_BUFFERS: u16 = 2;
const STARVED_BUFFER_BYTES: u32 = 512;
/// Turns of one step, and the longest sleep of one: a step ends within ten seconds.
const TURNS_MAX: u32 = 10_000;
const TURN: Duration = Duration::from_millis(1);
/// Slots of a test ring; what a worker may have is asked for apart.
const TEST_SLOTS: u32 = 64;
const TOKEN: u64 = 0x5e1f_7e57;

/// What the self-test has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Slots that one ring set can have in this process.
    pub slots: u32,
    /// The kernel caps what one connection receives in a turn (Linux 6.17).
    pub caps_receives: bool,
    /// A sleep is not ended by the sends that were submitted with it (Linux 6.12).
    pub sleeps_past_sends: bool,
    /// The peer's address is read without installing a descriptor.
    pub reads_peer_address: bool,
    /// Bytes that were echoed.
    pub echoed_bytes: u64,
    /// What the ring set under test has counted.
    pub stats: RingStats,
}

/// Why the io_uring driver cannot serve here.
#[derive(Debug, Error)]
pub enum SelfTestError {
    /// The rings could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kernel does not know operations that are needed.
    #[error("this kernel lacks io_uring operations: {}. Linux 6.8 or later is needed", .0.join(", "))]
    Operations(Vec<&'static str>),
    /// Loopback connections cannot be made, so nothing could be tested.
    #[error("the self-test needs connections over 127.0.0.1, which failed")]
    Loopback(#[from] io::Error),
    /// An operation was refused.
    #[error("{step}: the kernel answered {errno}")]
    Refused {
        /// Which step.
        step: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// Something else happened than what the step expects.
    #[error("{step}: expected {expected}, and it did not happen")]
    Unexpected {
        /// Which step.
        step: &'static str,
        /// What should have happened.
        expected: &'static str,
    },
}

/// Runs the self-test on the calling thread.
///
/// # Errors
///
/// [`SelfTestError`] names the step, and what to enable where that is known.
pub fn self_test() -> Result<Report, SelfTestError> {
    let mut full = RingSet::open(&RingConfig::default())?;
    let slots = full.slots();
    let missing = full.bank.main().missing_operations()?;
    if !missing.is_empty() {
        return Err(SelfTestError::Operations(missing));
    }
    let (caps_receives, sleeps_past_sends) =
        (full.caps_receives(), full.bank.main().sleeps_past_sends());
    drop(full);
    let mut bench = Bench::new()?;
    let mut echoed_bytes = 0;
    let (slot, mut far) = bench.connect()?;
    bench.rings.receive(slot, ReceiveMode::Multishot);
    for length in ECHO_LENGTHS {
        bench.echo(slot, &mut far, length)?;
        echoed_bytes += length as u64;
    }
    bench.stop(slot)?;
    bench.peer_address(slot, &far)?;
    bench.wakes()?;
    let moved = bench.move_to_other(slot)?;
    bench.serve_on_other(moved, &mut far)?;
    let (slot, far) = bench.connect()?;
    let installed = bench.install(slot, &far)?;
    bench.admit(installed, &far)?;
    bench.close()?;
    Ok(Report {
        slots,
        caps_receives,
        sleeps_past_sends,
        reads_peer_address: !bench.rings.peer_by_install,
        echoed_bytes,
        stats: bench.rings.stats(),
    })
}

struct Bench {
    rings: RingSet,
    other: RingSet,
    address: SocketAddr,
}

impl Bench {
    fn new() -> Result<Self, SelfTestError> {
        let config = RingConfig {
            submission_entries: 64,
            completion_entries: 128,
            slots_max: TEST_SLOTS,
            buffers: STARVED_BUFFERS,
            buffer_bytes: STARVED_BUFFER_BYTES,
            receive_turn_bytes: 0,
            ..RingConfig::default()
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (mut rings, other) = (RingSet::open(&config)?, RingSet::open(&config)?);
        rings.listen(listener.into());
        Ok(Self { rings, other, address })
    }

    fn connect(&mut self) -> Result<(Slot, TcpStream), SelfTestError> {
        let far = TcpStream::connect(self.address)?;
        far.set_nonblocking(true)?;
        let slot =
            until(&mut self.rings, "accept", "a connection", |completion| match completion {
                Completion::Accepted { slot } => Ok(Some(slot)),
                Completion::AcceptFailed { errno } => Err(errno),
                _ => Ok(None),
            })?;
        Ok((slot, far))
    }

    /// Writes, and expects the same bytes back, through a receive that starves all the time.
    fn echo(
        &mut self,
        slot: Slot,
        far: &mut TcpStream,
        length: usize,
    ) -> Result<(), SelfTestError> {
        const STEP: &str = "echo (multishot receive from the buffer ring, send)";
        let bytes: Vec<u8> = (0..length).map(|position| (position ^ position >> 8) as u8).collect();
        let (mut written, mut back) = (0, Vec::with_capacity(length));
        let (mut queued, mut ready) = (SendBuffer::new(), true);
        for _ in 0..TURNS_MAX {
            written += or_zero(far.write(&bytes[written..]))?;
            if ready && !queued.is_empty() {
                self.rings.send(slot, std::mem::take(&mut queued));
                ready = false;
            }
            let mut room = Ok(());
            let mut blocked = false;
            self.rings.submit_and_wait(Wait::at_most(TURN), |completion| match completion {
                Completion::Received { bytes, .. } => queued.push(bytes.to_vec()),
                Completion::Sent { buffer, result: Ok(_) | Err(Errno::EAGAIN), .. } => {
                    // What was not sent goes before what has been received since.
                    blocked = !buffer.is_empty();
                    ready = !blocked;
                    let later = std::mem::replace(&mut queued, buffer);
                    later.remaining().for_each(|chunk| queued.push(chunk.to_vec()));
                }
                Completion::Writable { .. } => ready = true,
                Completion::Sent { result: Err(errno), .. } | Completion::Failed { errno, .. } => {
                    room = Err(SelfTestError::Refused { step: STEP, errno });
                }
                _ => {}
            });
            room?;
            if blocked {
                self.rings.poll_writable(slot);
            }
            read_into(far, &mut back)?;
            if back.len() >= length && ready {
                let expected = "every byte to come back in order";
                return (back == bytes)
                    .then_some(())
                    .ok_or(SelfTestError::Unexpected { step: STEP, expected });
            }
        }
        Err(SelfTestError::Unexpected { step: STEP, expected: "every byte to come back" })
    }

    fn stop(&mut self, slot: Slot) -> Result<(), SelfTestError> {
        self.rings.stop_receive(slot);
        let step = "cancel of a receive";
        until(&mut self.rings, step, "the receive to stop", |completion| {
            Ok(matches!(completion, Completion::ReceiveStopped { .. }).then_some(()))
        })
    }

    fn peer_address(&mut self, slot: Slot, far: &TcpStream) -> Result<(), SelfTestError> {
        const STEP: &str = "peer address (socket command, or install)";
        self.rings.peer_address(slot);
        let address = until(&mut self.rings, STEP, "an address", |completion| match completion {
            Completion::PeerAddress { address, .. } => Ok(Some(address)),
            Completion::Failed { errno, .. } => Err(errno),
            _ => Ok(None),
        })?;
        let expected = "the address of the other end";
        (address == far.local_addr()?)
            .then_some(())
            .ok_or(SelfTestError::Unexpected { step: STEP, expected })
    }

    fn wakes(&mut self) -> Result<(), SelfTestError> {
        let woken =
            |completion: Completion<'_>| Ok(matches!(completion, Completion::Woken).then_some(()));
        self.rings.wake(&self.other.handle());
        self.rings.submit_and_wait(Wait::POLL, |_| {});
        until(&mut self.other, "wake of a ring by a ring (MSG_RING)", "a wake", woken)?;
        self.rings.event_waker().wake();
        until(&mut self.rings, "wake of a ring by an eventfd", "a wake", woken)
    }

    fn move_to_other(&mut self, slot: Slot) -> Result<Slot, SelfTestError> {
        const STEP: &str = "move of a connection between rings (MSG_RING_SEND_FD)";
        self.rings.move_out(slot, &self.other.handle(), MoveToken::new(TOKEN));
        let moved = |completion: Completion<'_>| match completion {
            Completion::MoveFailed { errno, .. } => Err(errno),
            Completion::MovedIn { slot, token } => Ok((token.value() == TOKEN).then_some(slot)),
            _ => Ok(None),
        };
        self.rings.submit_and_wait(Wait::POLL, |_| {});
        let arrived = until(&mut self.other, STEP, "the connection to arrive", moved)?;
        until(&mut self.rings, STEP, "the slot to be closed at its source", |completion| {
            match completion {
                Completion::MoveFailed { errno, .. } => Err(errno),
                Completion::Closed { .. } => Ok(Some(())),
                _ => Ok(None),
            }
        })?;
        Ok(arrived)
    }

    /// Poll, one-shot receive, send of several chunks, shutdown and close on the moved slot.
    fn serve_on_other(&mut self, slot: Slot, far: &mut TcpStream) -> Result<(), SelfTestError> {
        const STEP: &str = "a moved connection (poll, one-shot receive, sendmsg, shutdown, close)";
        self.other.poll_readable(slot);
        far.write_all(b"ping")?;
        until(&mut self.other, STEP, "input", |completion| {
            Ok(matches!(completion, Completion::Readable { .. }).then_some(()))
        })?;
        self.other.receive(slot, ReceiveMode::OneShot);
        until(&mut self.other, STEP, "the bytes", |completion| match completion {
            Completion::Received { bytes, more, .. } => {
                Ok((*bytes == *b"ping" && !more).then_some(()))
            }
            Completion::Failed { errno, .. } => Err(errno),
            _ => Ok(None),
        })?;
        let mut answer = SendBuffer::from(b"po".to_vec());
        answer.push(b"ng".to_vec());
        self.other.send(slot, answer);
        until(&mut self.other, STEP, "the answer to leave", |completion| match completion {
            Completion::Sent { result: Ok(4), .. } => Ok(Some(())),
            Completion::Sent { result: Err(errno), .. } => Err(errno),
            _ => Ok(None),
        })?;
        self.other.shutdown_write(slot);
        until(&mut self.other, STEP, "the shutdown", |completion| match completion {
            Completion::WriteShut { .. } => Ok(Some(())),
            Completion::Failed { errno, .. } => Err(errno),
            _ => Ok(None),
        })?;
        self.other.close(slot);
        until(&mut self.other, STEP, "the end of the slot", |completion| {
            Ok(matches!(completion, Completion::Closed { .. }).then_some(()))
        })?;
        far.set_nonblocking(false)?;
        far.set_read_timeout(Some(TURN * TURNS_MAX))?;
        let mut answer = Vec::new();
        far.read_to_end(&mut answer)?;
        (answer == b"pong")
            .then_some(())
            .ok_or(SelfTestError::Unexpected { step: STEP, expected: "the answer and the end" })
    }

    fn install(&mut self, slot: Slot, far: &TcpStream) -> Result<OwnedFd, SelfTestError> {
        const STEP: &str = "hand-over of a connection to the process (FIXED_FD_INSTALL)";
        self.rings.install(slot);
        let fd = until(&mut self.rings, STEP, "a descriptor", |completion| match completion {
            Completion::Installed { fd, .. } => Ok(Some(fd)),
            Completion::Failed { operation: Operation::Install, errno, .. } => Err(errno),
            _ => Ok(None),
        })?;
        let stream = TcpStream::from(fd);
        (stream.peer_addr()? == far.local_addr()?)
            .then_some(stream.into())
            .ok_or(SelfTestError::Unexpected { step: STEP, expected: "the same connection" })
    }

    /// The descriptor becomes a slot again, which answers for the connection.
    fn admit(&mut self, fd: OwnedFd, far: &TcpStream) -> Result<(), SelfTestError> {
        const STEP: &str = "return of a connection from the process (FILES_UPDATE)";
        self.rings.admit(fd, 0);
        let slot = until(&mut self.rings, STEP, "a slot", |completion| match completion {
            Completion::Admitted { slot, .. } => Ok(Some(slot)),
            Completion::AdmitFailed { errno, .. } => Err(errno),
            _ => Ok(None),
        })?;
        self.peer_address(slot, far)?;
        self.rings.close(slot);
        Ok(())
    }

    /// Nothing is left behind, and the starved echo did starve.
    fn close(&mut self) -> Result<(), SelfTestError> {
        const STEP: &str = "the end of the self-test";
        for _ in 0..TURNS_MAX {
            if self.rings.slots_in_use() + self.other.slots_in_use() == 0 {
                let starved = self.rings.stats().buffer_starvations > 0;
                let expected = "the small buffer ring to have starved";
                return starved
                    .then_some(())
                    .ok_or(SelfTestError::Unexpected { step: STEP, expected });
            }
            self.rings.submit_and_wait(Wait::at_most(TURN), |_| {});
        }
        Err(SelfTestError::Unexpected { step: STEP, expected: "every slot to be free" })
    }
}

/// Turns until `pick` takes a completion, or the kernel refuses.
fn until<T>(
    rings: &mut RingSet,
    step: &'static str,
    expected: &'static str,
    mut pick: impl FnMut(Completion<'_>) -> Result<Option<T>, Errno>,
) -> Result<T, SelfTestError> {
    for _ in 0..TURNS_MAX {
        let mut outcome = Ok(None);
        rings.submit_and_wait(Wait::at_most(TURN), |completion| {
            if matches!(outcome, Ok(None)) {
                outcome = pick(completion);
            }
        });
        if let Some(picked) = outcome.map_err(|errno| SelfTestError::Refused { step, errno })? {
            return Ok(picked);
        }
    }
    Err(SelfTestError::Unexpected { step, expected })
}

fn or_zero(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn read_into(far: &mut TcpStream, back: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 16 << 10];
    loop {
        match or_zero(far.read(&mut chunk))? {
            0 => return Ok(()),
            read => back.extend_from_slice(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes_and_the_echo_starved() {
        let report = self_test().expect("the machine that builds can serve");
        assert!(report.slots > 0);
        assert_eq!(report.echoed_bytes, ECHO_LENGTHS.iter().sum::<usize>() as u64);
        let stats = report.stats;
        assert!(stats.buffer_starvations > 0, "{stats:?}");
        assert!(stats.receive_re_arms >= stats.buffer_starvations, "{stats:?}");
        assert_eq!((stats.moved_out, stats.moves_failed, stats.stale_completions), (1, 0, 0));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = SelfTestError::Operations(vec!["MSG_RING", "FIXED_FD_INSTALL"]);
        let message = error.to_string();
        assert!(message.contains("MSG_RING, FIXED_FD_INSTALL"), "{message}");
        let open = OpenError::of_errno("io_uring_setup", Errno::EPERM);
        let message = SelfTestError::from(open).to_string();
        assert!(message.contains("kernel.io_uring_disabled"), "{message}");
    }
}
