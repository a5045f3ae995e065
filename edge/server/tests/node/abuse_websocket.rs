//! Violations of RFC 6455 against the real server: each ends with its close code.

use uuid::Uuid;

use crate::peer::{BINARY, Encoding, PING, Peer, TEXT, frame};
use crate::siege::Siege;

/// A violation: what it is, how the connection speaks, the bytes, the close code.
type Violation = (&'static str, Encoding, Vec<u8>, u16);

/// Commits each violation on a connection of its own, signed in.
fn commit(violations: &[Violation], counter: &str) {
    let siege = Siege::begin(&[]);
    for (what, encoding, bytes, code) in violations {
        let mut peer = Peer::sign_in_live(&siege.node, *encoding, Uuid::new_v4(), 1);
        peer.write(bytes);
        assert_eq!(peer.last_word(), Some(*code), "{what}");
    }
    let name = format!("ringpost_edge_closed_total{{code=\"{counter}\"}}");
    siege.end(&[(&name, violations.len() as u64)]);
}

/// A frame whose payload is not masked.
fn bare(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, payload.len() as u8];
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn abuse_row_09_a_flood_of_fragments_is_ended() {
    let mut flood = frame(0x01, b"{");
    flood.extend(frame(0x00, b" ").repeat(1_100));
    let empty = [frame(0x02, b""), frame(0x00, b"").repeat(1_100)].concat();
    commit(
        &[("one octet each", Encoding::Json, flood, 1008), ("empty", Encoding::Bin, empty, 1008)],
        "policy",
    );
}

#[test]
fn abuse_row_10_a_message_inside_another_is_refused() {
    let inside = [frame(0x01, b"{"), frame(TEXT, b"{}")].concat();
    let bare_continuation = frame(0x80, b"}");
    commit(
        &[
            ("a text inside a text", Encoding::Json, inside, 1002),
            ("a continuation of nothing", Encoding::Json, bare_continuation, 1002),
        ],
        "protocol",
    );
}

#[test]
fn abuse_row_12_control_frames_are_short_and_whole() {
    commit(
        &[
            ("a ping of 126 bytes", Encoding::Json, frame(PING, &[0; 126]), 1002),
            ("a fragmented ping", Encoding::Json, frame(0x09, b"x"), 1002),
            ("a fragmented close", Encoding::Bin, frame(0x08, b""), 1002),
            ("a close with half a code", Encoding::Bin, frame(0x88, &[3]), 1002),
            ("a close with a code of none", Encoding::Json, frame(0x88, &[3, 0xed]), 1002),
        ],
        "protocol",
    );
}

#[test]
fn abuse_row_13_unmasked_frames_reserved_bits_and_opcodes_are_refused() {
    let reserved = |first: u8| frame(first, b"{}");
    commit(
        &[
            ("unmasked", Encoding::Json, bare(TEXT, b"{}"), 1002),
            ("an unmasked ping", Encoding::Bin, bare(PING, b""), 1002),
            ("RSV1", Encoding::Json, reserved(TEXT | 0x40), 1002),
            ("RSV2", Encoding::Json, reserved(TEXT | 0x20), 1002),
            ("RSV3", Encoding::Bin, reserved(BINARY | 0x10), 1002),
            ("opcode 3", Encoding::Json, reserved(0x83), 1002),
            ("opcode 15", Encoding::Bin, reserved(0x8f), 1002),
        ],
        "protocol",
    );
}

#[test]
fn abuse_row_13_a_message_of_the_other_type_is_refused() {
    commit(
        &[
            ("binary in JSON", Encoding::Json, frame(BINARY, b"{}"), 1003),
            ("text in binary", Encoding::Bin, frame(TEXT, b"{}"), 1003),
        ],
        "unsupported",
    );
}

#[test]
fn abuse_row_14_invalid_text_is_refused_also_across_frames() {
    let split = [frame(0x01, b"{\"x\":\"\xf0\x9f"), frame(0x80, b"\xff\xff\"}")].concat();
    let surrogate = frame(TEXT, br#"{"type":"ping","x":"\ud800"}"#);
    commit(
        &[
            ("invalid UTF-8", Encoding::Json, frame(TEXT, b"{\"x\":\"\xc3\x28\"}"), 1007),
            ("a surrogate in UTF-8", Encoding::Json, frame(TEXT, b"\"\xed\xa0\x80\""), 1007),
            ("split across frames", Encoding::Json, split, 1007),
            // Without its end: the first bad byte decides.
            ("a first fragment", Encoding::Json, frame(0x01, b"\"\xff"), 1007),
            ("half a surrogate pair", Encoding::Json, surrogate, 1007),
        ],
        "invalid_data",
    );
}
