//! Abuse of the WebSocket codec, by the numbers of the catalogue of hostile input.
//!
//! Setup: a decoder with the limits of the row. Action: the bad input, whole and octet by octet.
//! Expectation: the right close code at the first byte that shows it; memory stays bounded
//! (asserted at every step by the client).

mod websocket_client;

use std::time::Duration;

use ringpost_conn::websocket::{Accepts, Limits, Violation};
use ringpost_wire::CloseCode;
use websocket_client::*;

const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const TEXT: Limits = Limits::new(Accepts::Text, MESSAGE_BYTES_MAX as u32);
const BINARY: Limits = Limits::new(Accepts::Binary, MESSAGE_BYTES_MAX as u32);

/// `bytes` are refused at exactly their last byte.
fn check_refused(bytes: &[u8], limits: Limits, violation: Violation, code: CloseCode) {
    assert_eq!(violation.reason().code(), code);
    let mut client = Client::new(limits);
    for &byte in &bytes[..bytes.len() - 1] {
        client.feed(&[byte]);
    }
    assert_eq!(client.outcome.violation, None, "too early: {bytes:x?}");
    client.feed(&bytes[bytes.len() - 1..]);
    assert_eq!(client.outcome.violation, Some(violation), "{bytes:x?}");
    assert_eq!(client.decoder.pinned_bytes(), 0, "a failed decoder holds nothing");
    assert_eq!(decode_whole(bytes, limits).violation, Some(violation));
}

#[test]
fn abuse_row_07_a_length_beyond_all_bounds_is_refused_from_the_header() {
    for length in [1 << 31, 0xffff_ffff, 1 << 32, (1 << 63) - 1] {
        let bytes = header(0x82, length);
        check_refused(&bytes, BINARY, Violation::MessageTooBig, CloseCode::TooBig);
    }
    for length in [1 << 63, u64::MAX] {
        let bytes = header(0x82, length);
        check_refused(&bytes, BINARY, Violation::LengthOverflow, CloseCode::TooBig);
    }
    // Behind an open message the sum must not wrap either.
    let begun = frame(0x02, &[0; 100]);
    for length in [u64::from(u32::MAX) - 50, u64::from(u32::MAX)] {
        let bytes = [begun.clone(), header(0x80, length)].concat();
        check_refused(&bytes, BINARY, Violation::MessageTooBig, CloseCode::TooBig);
    }
}

#[test]
fn abuse_row_07_a_large_length_without_its_bytes_pins_none_of_it() {
    let mut client = Client::new(BINARY);
    client.feed(&header(0x82, MESSAGE_BYTES_MAX as u64));
    client.feed(&[1, 2, 3, 4, 5]);
    assert!(client.decoder.pinned_bytes() <= ASSEMBLY_OVERHEAD_BYTES + 2);
}

#[test]
fn abuse_row_08_the_limit_passes_and_one_more_byte_is_too_big() {
    let limit = vec![b'a'; MESSAGE_BYTES_MAX];
    let whole = decode_whole(&frame(0x82, &limit), BINARY);
    assert_eq!(whole.items, [Owned::Binary(limit.clone())]);

    let bytes = header(0x82, MESSAGE_BYTES_MAX as u64 + 1);
    check_refused(&bytes, BINARY, Violation::MessageTooBig, CloseCode::TooBig);
}

#[test]
fn abuse_row_08_the_limit_is_that_of_all_fragments_together() {
    let text = "a".repeat(MESSAGE_BYTES_MAX);
    let (head, tail) = text.as_bytes().split_at(1000);
    let begun = frame(0x01, head);
    let fragments = [begun.clone(), frame(0x80, tail)].concat();
    assert_eq!(decode_whole(&fragments, TEXT).items, [Owned::Text(text.clone())]);

    let one_more = [begun, header(0x80, tail.len() as u64 + 1)].concat();
    check_refused(&one_more, TEXT, Violation::MessageTooBig, CloseCode::TooBig);
}

#[test]
fn abuse_row_09_a_flood_of_fragments_ends_at_the_limit() {
    let mut bytes = frame(0x02, b"x");
    for _ in 1..Limits::FRAGMENTS_MAX {
        bytes.extend(frame(0x00, b"x"));
    }
    // The limit itself passes: the last of them may be final.
    let mut closed = bytes.clone();
    let last = closed.len() - frame(0x00, b"x").len();
    closed[last] = 0x80;
    let whole = Owned::Binary(vec![b'x'; usize::from(Limits::FRAGMENTS_MAX)]);
    assert_eq!(decode_whole(&closed, BINARY).items, [whole]);

    bytes.push(0x00);
    check_refused(&bytes, BINARY, Violation::TooManyFragments, CloseCode::Policy);
}

#[test]
fn abuse_row_09_empty_fragments_count() {
    let mut bytes = frame(0x02, b"");
    for _ in 1..Limits::FRAGMENTS_MAX {
        bytes.extend(frame(0x00, b""));
    }
    bytes.push(0x80);
    check_refused(&bytes, BINARY, Violation::TooManyFragments, CloseCode::Policy);
}

#[test]
fn abuse_row_09_a_message_that_trickles_fails_at_its_deadline() {
    let mut client = Client::new(BINARY);
    let start = Duration::from_secs(100);
    client.now = start;
    client.feed(&frame(0x02, b"x"));
    let deadline = start + Limits::ASSEMBLY_TIME_MAX;
    assert_eq!(client.decoder.deadline(&BINARY), Some(deadline));

    // More fragments, and pings between them, do not move the deadline.
    client.now = deadline - Duration::from_millis(1);
    client.feed(&[frame(0x00, b"x"), frame(0x89, b""), frame(0x00, b"x")].concat());
    assert_eq!(client.decoder.deadline(&BINARY), Some(deadline));
    assert_eq!(client.decoder.check_deadline(&BINARY, client.now), Ok(()));

    let slow = client.decoder.check_deadline(&BINARY, deadline);
    assert_eq!(slow, Err(Violation::AssemblyTooSlow));
    assert_eq!(Violation::AssemblyTooSlow.reason().code(), CloseCode::Policy);
    assert_eq!(client.decoder.pinned_bytes(), 0);
    client.feed(&frame(0x80, b"x"));
    assert_eq!(client.outcome.violation, Some(Violation::AssemblyTooSlow));
}

#[test]
fn abuse_row_09_each_message_has_a_deadline_of_its_own() {
    let mut client = Client::new(BINARY);
    client.feed(&frame(0x02, b"x"));
    client.now = Duration::from_secs(5);
    // The first ends and the next begins within one buffer.
    client.feed(&[frame(0x80, b"y"), frame(0x02, b"z")].concat());
    assert_eq!(client.decoder.assembling_since(), Some(client.now));
    client.feed(&frame(0x80, b""));
    assert_eq!(client.decoder.deadline(&BINARY), None);
    assert_eq!(client.decoder.check_deadline(&BINARY, Duration::MAX), Ok(()));
}

#[test]
fn abuse_row_10_a_message_inside_another_is_refused() {
    for opcode in [0x01, 0x02, 0x81, 0x82] {
        let bytes = [frame(0x02, b"begun"), vec![opcode]].concat();
        check_refused(&bytes, BINARY, Violation::InterleavedMessage, CloseCode::Protocol);
    }
    for opcode in [0x00, 0x80] {
        let bytes = [frame(0x82, b"whole"), vec![opcode]].concat();
        check_refused(&bytes, BINARY, Violation::OrphanContinuation, CloseCode::Protocol);
    }
}

#[test]
fn abuse_row_12_control_frames_are_short_and_whole() {
    for opcode in [0x8, 0x9, 0xa] {
        check_refused(&[opcode], TEXT, Violation::ControlFragmented, CloseCode::Protocol);
        for length in [126, 65536] {
            let bytes = &header(0x80 | opcode, length)[..2];
            check_refused(bytes, TEXT, Violation::ControlTooLong, CloseCode::Protocol);
        }
    }
    let longest = vec![7; 125];
    let ping = decode_octets(&frame(0x89, &longest), TEXT);
    assert_eq!(ping.items, [Owned::Ping(longest)]);
}

#[test]
fn abuse_row_12_a_close_frame_with_a_bad_body_is_refused() {
    let refused = |body: &[u8], violation, code| {
        check_refused(&frame(0x88, body), TEXT, violation, code);
    };
    refused(b"\x03", Violation::CloseTruncated, CloseCode::Protocol);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        refused(&code.to_be_bytes(), Violation::CloseCodeInvalid, CloseCode::Protocol);
    }
    refused(b"\x03\xe8\xf0\x9f\x92", Violation::CloseReasonNotUtf8, CloseCode::InvalidData);
}

#[test]
fn abuse_row_13_unmasked_frames_reserved_bits_and_opcodes_are_refused() {
    check_refused(&[0x81, 0x05], TEXT, Violation::Unmasked, CloseCode::Protocol);
    check_refused(&[0x89, 0x00], TEXT, Violation::Unmasked, CloseCode::Protocol);
    for bit in [0x10, 0x20, 0x40] {
        check_refused(&[0x81 | bit], TEXT, Violation::ReservedBit, CloseCode::Protocol);
        check_refused(&[0x89 | bit], TEXT, Violation::ReservedBit, CloseCode::Protocol);
    }
    for opcode in (0x3..0x8).chain(0xb..0x10) {
        check_refused(&[0x80 | opcode], TEXT, Violation::ReservedOpcode, CloseCode::Protocol);
    }
}

#[test]
fn abuse_row_13_a_length_in_a_longer_form_than_needed_is_refused() {
    for bytes in [&b"\x82\xfe\x00\x7d"[..], b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff"] {
        check_refused(bytes, BINARY, Violation::LengthNotMinimal, CloseCode::Protocol);
    }
}

#[test]
fn abuse_row_14_bad_utf8_fails_at_its_first_bad_byte() {
    // Lone surrogate, overlong, beyond the last code point, lone continuation.
    for bad in [&b"ok \xed\xa0"[..], b"ok \xc0", b"ok \xf4\x90", b"ok \x80", b"ok \xce\xba\xff"] {
        // The frame announces more than comes: the verdict does not wait for it.
        let mut announced = frame(0x81, &[bad, &[b'x'; 20]].concat());
        announced.truncate(announced.len() - 20);
        check_refused(&announced, TEXT, Violation::TextNotUtf8, CloseCode::InvalidData);
    }
}

#[test]
fn abuse_row_14_bad_utf8_across_frames_fails_at_its_first_bad_byte() {
    for (head, tail) in [(&b"\xed"[..], &b"\xa0"[..]), (b"\xf4", b"\x90"), (b"\xe2\x82", b"(")] {
        let bytes = [frame(0x01, head), frame(0x89, b"between"), frame(0x00, tail)].concat();
        check_refused(&bytes, TEXT, Violation::TextNotUtf8, CloseCode::InvalidData);
    }
}

#[test]
fn abuse_row_14_text_that_ends_inside_a_character_is_refused() {
    let bytes = frame(0x81, b"caf\xc3");
    check_refused(&bytes, TEXT, Violation::TextNotUtf8, CloseCode::InvalidData);
    // The key completes the header of an empty last frame.
    let bytes = [frame(0x01, b"caf\xc3"), frame(0x80, b"")].concat();
    check_refused(&bytes, TEXT, Violation::TextNotUtf8, CloseCode::InvalidData);
}
