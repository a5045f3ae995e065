//! The promises, one function each.

use super::*;

/// Bytes in, the same bytes out, for sizes from one byte to many buffers.
pub(crate) fn echo_returns_every_byte<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    world.rings().receive(slot, MULTISHOT);
    for length in [1, 2, 100, 4_095, 4_096, 4_097, 70_000, 1 << 20] {
        echo(world, slot, &mut far, &pattern(length));
    }
    close(world.rings(), slot);
    assert_eq!(world.rings().slots_in_use(), 0);
}

/// One round: a worker that sends back what it receives, one send at a time, with a cursor.
pub(crate) fn echo<W: World>(world: &mut W, slot: Slot, far: &mut W::Far, bytes: &[u8]) {
    let (mut written, mut back) = (0, Vec::new());
    let (mut queued, mut sending) = (Vec::new(), false);
    for _ in 0..TURNS_MAX {
        written += far.write(&bytes[written..]);
        for seen in turn(world.rings(), Wait::at_most(TURN)) {
            match seen {
                Seen::Received(of, bytes, more) => {
                    assert_eq!((of, more), (slot, true));
                    queued.extend_from_slice(&bytes);
                }
                Seen::Sent(_, buffer, Ok(_)) if buffer.is_empty() => sending = false,
                Seen::Sent(_, buffer, Ok(_)) => world.rings().send(slot, buffer),
                Seen::Sent(_, buffer, Err(Errno::EAGAIN)) => {
                    let rest = buffer.remaining().flatten().copied();
                    queued = rest.chain(queued.iter().copied()).collect();
                    world.rings().poll_writable(slot);
                }
                Seen::Writable(_) => sending = false,
                other => panic!("an echo does not expect {other:?}"),
            }
        }
        if !sending && !queued.is_empty() {
            world.rings().send(slot, std::mem::take(&mut queued).into());
            sending = true;
        }
        back.extend(far.read(bytes.len()).expect("the stream is open"));
        if back.len() == bytes.len() && !sending {
            assert!(back == bytes, "an echo of {} bytes returns them in order", bytes.len());
            return;
        }
    }
    panic!("{} of {} bytes came back", back.len(), bytes.len());
}

/// One completion for each one-shot receive; the rest waits in the socket.
pub(crate) fn a_one_shot_receive_reports_once<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    let sent = pattern(3);
    world.rings().receive(slot, ONE_SHOT);
    write_all(world, &mut far, &sent);
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let (bytes, more) = turns_until_some(world.rings(), |seen| match seen {
            Seen::Received(_, bytes, more) => Some((bytes, more)),
            _ => None,
        });
        assert!(!more, "a one-shot receive is not armed after its completion");
        got.extend(bytes);
        if got.len() < sent.len() {
            world.rings().receive(slot, ONE_SHOT);
        }
    }
    assert_eq!(got, sent);
    assert_eq!(far.write(b"unread"), 6);
    for _ in 0..10 {
        assert!(turn(world.rings(), Wait::POLL).is_empty(), "nothing is armed");
    }
    close(world.rings(), slot);
}

/// The cheap wait of an idle connection: told that there is input, then reads it.
pub(crate) fn a_poll_tells_of_input_and_leaves_it<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    world.rings().poll_readable(slot);
    assert!(turn(world.rings(), Wait::POLL).is_empty(), "there is no input yet");
    write_all(world, &mut far, b"hello");
    turns_until(world.rings(), |seen| matches!(seen, Seen::Readable(of) if *of == slot));
    world.rings().receive(slot, MULTISHOT);
    let mut got = Vec::new();
    turns_until(world.rings(), |seen| {
        if let Seen::Received(_, bytes, _) = seen {
            got.extend_from_slice(bytes);
        }
        got.len() == 5
    });
    assert_eq!(got, b"hello");
    close(world.rings(), slot);
}

/// The end of the stream comes after its last byte, and disarms.
pub(crate) fn the_end_comes_after_the_last_byte<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    let sent = pattern(30_000);
    world.rings().receive(slot, MULTISHOT);
    let mut seen = write_all(world, &mut far, &sent);
    far.shutdown_write();
    seen.extend(turns_until(world.rings(), |seen| matches!(seen, Seen::Eof(of) if *of == slot)));
    assert!(received(&seen, slot) == sent, "all bytes come before the end");
    // The other direction still works.
    send_all(world.rings(), slot, b"last words".to_vec().into());
    world.rings().shutdown_write(slot);
    turns_until(world.rings(), |seen| matches!(seen, Seen::WriteShut(_)));
    let mut got = Vec::new();
    while let Some(bytes) = far.read(100) {
        got.extend(bytes);
        turn(world.rings(), Wait::POLL);
    }
    assert_eq!(got, b"last words");
    close(world.rings(), slot);
}

/// A peer that breaks the connection: the receive fails, the slot waits to be closed.
pub(crate) fn a_reset_fails_the_receive<W: World>(world: &mut W) {
    let (slot, far) = connect(world);
    world.rings().receive(slot, MULTISHOT);
    turn(world.rings(), Wait::POLL);
    far.reset();
    let errno = turns_until_some(world.rings(), |seen| match seen {
        Seen::Failed(of, Operation::Receive, errno) if of == slot => Some(errno),
        _ => None,
    });
    assert_eq!(errno, Errno::ECONNRESET);
    world.rings().send(slot, b"too late".to_vec().into());
    let (buffer, result) = turns_until_some(world.rings(), |seen| match seen {
        Seen::Sent(_, buffer, result) => Some((buffer, result)),
        _ => None,
    });
    assert!(matches!(result, Err(Errno::EPIPE | Errno::ECONNRESET)), "{result:?}");
    assert_eq!(buffer.remaining_bytes(), 8, "what was not sent comes back whole");
    close(world.rings(), slot);
}

/// A receive stopped in the middle of a stream: what was reported before and what is received
/// after make the whole.
pub(crate) fn a_stopped_receive_loses_no_bytes<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    let sent = pattern(300_000);
    let (mut written, mut got) = (0, Vec::new());
    for round in 0.. {
        let mode = if round % 3 == 2 { ONE_SHOT } else { MULTISHOT };
        world.rings().receive(slot, mode);
        written += far.write(&sent[written..sent.len().min(written + 7_000)]);
        for _ in 0..round % 4 {
            got.extend(received(&turn(world.rings(), Wait::at_most(TURN)), slot));
        }
        world.rings().stop_receive(slot);
        let is_stop = |seen: &Seen| matches!(seen, Seen::ReceiveStopped(of) if *of == slot);
        let seen = turns_until(world.rings(), is_stop);
        let stop = seen.iter().position(is_stop).expect("it was seen");
        got.extend(received(&seen, slot));
        assert!(received(&seen[stop..], slot).is_empty(), "nothing is received after the stop");
        if got.len() == sent.len() {
            break;
        }
        assert!(round < TURNS_MAX, "{} of {} bytes", got.len(), sent.len());
    }
    assert!(got == sent, "the parts make the whole");
    close(world.rings(), slot);
}

/// Stopping what is not armed, or a poll, is answered too: once.
pub(crate) fn every_stop_is_answered_once<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    for armed in 0..4 {
        match armed {
            1 => world.rings().poll_readable(slot),
            2 => world.rings().receive(slot, ONE_SHOT),
            3 => world.rings().receive(slot, MULTISHOT),
            _ => {}
        }
        world.rings().stop_receive(slot);
        turns_until(world.rings(), |seen| matches!(seen, Seen::ReceiveStopped(of) if *of == slot));
        write_all(world, &mut far, b"x");
        for _ in 0..5 {
            assert!(turn(world.rings(), Wait::POLL).is_empty(), "stopped is stopped");
        }
    }
    close(world.rings(), slot);
}

/// A reader that does not read: sends become short, then refused; POLLOUT tells when to go on;
/// nothing is lost.
pub(crate) fn a_slow_reader_gets_every_byte<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    let sent = pattern(6 << 20);
    let (mut ready, mut waiting) = (Some(SendBuffer::from(sent.clone())), false);
    let (mut short, mut refused, mut got) = (0, 0, Vec::new());
    for _ in 0..TURNS_MAX {
        if let Some(buffer) = ready.take_if(|_| !waiting) {
            world.rings().send(slot, buffer);
        }
        for seen in turn(world.rings(), Wait::at_most(TURN)) {
            match seen {
                Seen::Sent(_, back, Ok(_)) => {
                    short += usize::from(!back.is_empty());
                    ready = (!back.is_empty()).then_some(back);
                }
                Seen::Sent(_, back, Err(Errno::EAGAIN)) => {
                    refused += 1;
                    ready = Some(back);
                    waiting = true;
                    world.rings().poll_writable(slot);
                }
                Seen::Writable(_) => waiting = false,
                other => panic!("unexpected {other:?}"),
            }
        }
        // Only after the first refusal does the reader begin.
        if refused > 0 {
            got.extend(far.read(1 << 20).expect("open"));
        }
        if got.len() == sent.len() && !waiting {
            break;
        }
    }
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    assert!(short > 0 && refused > 0, "{short} short, {refused} refused: the case was met");
    let stats = world.rings().stats();
    assert!(stats.short_sends > 0 && stats.blocked_sends > 0);
    close(world.rings(), slot);
}

/// Several chunks leave as one stretch, more of them than one send takes too.
pub(crate) fn chunks_leave_in_order<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    let whole = pattern(3 * SendBuffer::CHUNKS_PER_SEND_MAX);
    let mut buffer = SendBuffer::new();
    for byte in &whole {
        buffer.push(vec![*byte]);
    }
    let mut got = Vec::new();
    send_all(world.rings(), slot, buffer);
    while got.len() < whole.len() {
        got.extend(far.read(1_000).expect("open"));
        turn(world.rings(), Wait::POLL);
    }
    assert_eq!(got, whole);
    close(world.rings(), slot);
}

/// Closing with everything armed: the send gives its memory back, then comes the end, and only
/// that.
pub(crate) fn a_close_ends_what_is_in_flight<W: World>(world: &mut W) {
    for mode in [None, Some(MULTISHOT), Some(ONE_SHOT)] {
        let (slot, mut far) = connect(world);
        match mode {
            Some(mode) => world.rings().receive(slot, mode),
            None => world.rings().poll_readable(slot),
        }
        turn(world.rings(), Wait::POLL);
        world.rings().poll_writable(slot);
        write_all(world, &mut far, b"arrives while it is being closed");
        world.rings().send(slot, b"in flight".to_vec().into());
        world.rings().peer_address(slot);
        world.rings().close(slot);
        let is_end = |seen: &Seen| matches!(seen, Seen::Closed(of) if *of == slot);
        let seen = turns_until(world.rings(), is_end);
        let kinds: Vec<_> = seen.iter().filter(|seen| seen.slot() == Some(slot)).collect();
        assert!(
            matches!(kinds.as_slice(), [Seen::Sent(..), Seen::Closed(_)]),
            "the send and the end: {kinds:?}"
        );
        assert_eq!(world.rings().slots_in_use(), 0);
    }
}

/// A slot is used again: nothing of its earlier life is reported as the new one's.
pub(crate) fn a_new_life_hears_nothing_of_the_old<W: World>(world: &mut W) {
    let mut lives = Vec::new();
    for round in 0..50u8 {
        let (slot, mut far) = connect(world);
        assert!(!lives.contains(&slot), "each life has its own name");
        lives.push(slot);
        world.rings().receive(slot, MULTISHOT);
        if round % 2 == 0 {
            turn(world.rings(), Wait::POLL);
        }
        write_all(world, &mut far, &[round; 100]);
        if round % 3 == 0 {
            let mut got = Vec::new();
            turns_until(world.rings(), |seen| {
                if let Seen::Received(_, bytes, _) = seen {
                    got.extend_from_slice(bytes);
                }
                got.len() == 100
            });
            assert_eq!(got, [round; 100], "only what this life was sent");
        }
        // The next connection waits already when the slot becomes free.
        let mut next = world.connect();
        write_all(world, &mut next, b"next");
        world.rings().close(slot);
        let seen =
            turns_until(world.rings(), |seen| matches!(seen, Seen::Closed(of) if *of == slot));
        let accepted = seen.iter().find_map(|seen| match seen {
            Seen::Accepted(slot) => Some(*slot),
            _ => None,
        });
        let next_slot = accepted.unwrap_or_else(|| {
            turns_until_some(world.rings(), |seen| match seen {
                Seen::Accepted(slot) => Some(slot),
                _ => None,
            })
        });
        lives.push(next_slot);
        close(world.rings(), next_slot);
    }
    assert_eq!(world.rings().stats().stale_completions, 0);
}

/// A connection goes to another ring set, with bytes under way, and works there.
pub(crate) fn a_moved_connection_keeps_its_stream<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    let sent = pattern(5_000);
    write_all(world, &mut far, &sent[..1_000]);
    let token = MoveToken::new(0xab_cdef_0123_4567);
    let target = world.other().handle();
    world.rings().move_out(slot, &target, token);
    let (mut out, mut closed, mut new) = (false, false, None);
    for _ in 0..TURNS_MAX {
        for seen in turn(world.rings(), Wait::POLL) {
            match seen {
                Seen::MovedOut(of) => out = of == slot,
                Seen::Closed(of) => {
                    assert!(out, "closed after it was moved");
                    closed = of == slot;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        for seen in turn(world.other(), Wait::POLL) {
            match seen {
                Seen::MovedIn(slot, arrived) => {
                    assert_eq!(arrived, token);
                    new = Some(slot);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        if out && closed && new.is_some() {
            break;
        }
    }
    let new = new.expect("the connection arrives");
    assert!(out && closed, "the source is told, and its slot is free");
    write_all(world, &mut far, &sent[1_000..]);
    world.other().receive(new, MULTISHOT);
    let mut got = Vec::new();
    turns_until(world.other(), |seen| {
        if let Seen::Received(_, bytes, _) = seen {
            got.extend_from_slice(bytes);
        }
        got.len() == sent.len()
    });
    assert!(got == sent, "what arrived before the move and after it, in order");
    send_all(world.other(), new, b"from there".to_vec().into());
    let mut back = Vec::new();
    while back.len() < 10 {
        back.extend(far.read(10).expect("open"));
        turn(world.other(), Wait::POLL);
    }
    assert_eq!(back, b"from there");
    close(world.other(), new);
}

/// The peer's address is that of the far end.
pub(crate) fn the_peer_address_is_the_far_end<W: World>(world: &mut W) {
    let (slot, far) = connect(world);
    world.rings().peer_address(slot);
    let address = turns_until_some(world.rings(), |seen| match seen {
        Seen::PeerAddress(of, address) if of == slot => Some(address),
        _ => None,
    });
    assert_eq!(address, far.address());
    close(world.rings(), slot);
}

/// A wake is reported by the ring set that it was sent to.
pub(crate) fn a_wake_arrives<W: World>(world: &mut W) {
    let other = world.other().handle();
    world.rings().wake(&other);
    turn(world.rings(), Wait::POLL);
    turns_until(world.other(), |seen| matches!(seen, Seen::Woken));
    let stats = (world.rings().stats().wakes_sent, world.other().stats().wakes_received);
    assert_eq!(stats, (1, 1));
}

/// Nothing is accepted while accepting is paused; afterwards those who waited are.
pub(crate) fn a_pause_holds_connections_back<W: World>(world: &mut W) {
    let (slot, _far) = connect(world);
    world.rings().pause_accept();
    for _ in 0..5 {
        turn(world.rings(), Wait::POLL);
    }
    let _waiting = world.connect();
    for _ in 0..20 {
        assert!(turn(world.rings(), Wait::POLL).is_empty(), "paused");
    }
    world.rings().resume_accept();
    let second = turns_until_some(world.rings(), |seen| match seen {
        Seen::Accepted(slot) => Some(slot),
        _ => None,
    });
    close(world.rings(), slot);
    close(world.rings(), second);
}

/// An installed connection is an ordinary descriptor with the unread bytes, and its slot is free.
pub(crate) fn an_installed_connection_leaves_the_ring<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    write_all(world, &mut far, b"GET / HTTP/1.1\r\n");
    world.rings().install(slot);
    let mut installed = None;
    for _ in 0..TURNS_MAX {
        let mut closed = false;
        for seen in turn(world.rings(), Wait::at_most(TURN)) {
            match seen {
                Seen::Installed(of, fd) => {
                    assert_eq!(of, slot);
                    installed = Some(fd);
                }
                Seen::Closed(of) => closed = of == slot,
                other => panic!("unexpected {other:?}"),
            }
        }
        if closed {
            break;
        }
    }
    let fd = installed.expect("installed before it is closed");
    assert_eq!(world.rings().slots_in_use(), 0);
    if world.installs() {
        read_installed(world, fd, &mut far);
    }
}

/// An installed connection comes back as a slot, with what is unread, and waits for more as any
/// other; its descriptor is gone.
pub(crate) fn an_installed_connection_comes_back<W: World>(world: &mut W) {
    let (slot, mut far) = connect(world);
    world.rings().install(slot);
    let fd = turns_until_some(world.rings(), |seen| match seen {
        Seen::Installed(_, fd) => Some(fd),
        _ => None,
    });
    write_all(world, &mut far, b"unread");
    world.rings().admit(fd, 7);
    let slot = turns_until_some(world.rings(), |seen| match seen {
        Seen::Admitted(slot, 7) => Some(slot),
        Seen::Closed(_) => None,
        other => panic!("unexpected {other:?}"),
    });
    assert_eq!(receive_some(world, slot, b"unread".len()), b"unread");
    world.rings().receive(slot, ONE_SHOT);
    turn(world.rings(), Wait::POLL);
    write_all(world, &mut far, b"b");
    let waited = turns_until_some(world.rings(), |seen| match seen {
        Seen::Received(of, bytes, _) if of == slot => Some(bytes),
        // The slot of before the install.
        Seen::Closed(_) => None,
        other => panic!("a receive waits for bytes, and does not end by {other:?}"),
    });
    assert_eq!(waited, b"b");
    send_all(world.rings(), slot, SendBuffer::from(b"answer".to_vec()));
    let mut answer = Vec::new();
    for _ in 0..TURNS_MAX {
        answer.extend(far.read(6).expect("open"));
        if answer == b"answer" {
            break;
        }
        turn(world.rings(), Wait::at_most(TURN));
    }
    assert_eq!(answer, b"answer");
    close(world.rings(), slot);
    assert_eq!(world.rings().slots_in_use(), 0);
}

/// Receives so many bytes, in as many pieces as they come.
fn receive_some<W: World>(world: &mut W, slot: Slot, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        world.rings().receive(slot, ONE_SHOT);
        bytes.extend(turns_until_some(world.rings(), |seen| match seen {
            Seen::Received(of, bytes, _) if of == slot => Some(bytes),
            _ => None,
        }));
    }
    bytes
}

fn read_installed<W: World>(_world: &mut W, fd: OwnedFd, far: &mut W::Far) {
    use std::io::{ErrorKind, Read, Write};
    let mut stream = std::net::TcpStream::from(fd);
    let mut bytes = [0; 100];
    assert_eq!(stream.read(&mut bytes).expect("the bytes are there"), 16);
    let again = stream.read(&mut bytes).expect_err("non-blocking, and nothing more");
    assert_eq!(again.kind(), ErrorKind::WouldBlock);
    assert_eq!(stream.peer_addr().expect("connected"), far.address());
    stream.write_all(b"204").expect("room");
    for _ in 0..TURNS_MAX {
        if far.read(3).expect("open") == b"204" {
            return;
        }
    }
    panic!("the answer arrives");
}
