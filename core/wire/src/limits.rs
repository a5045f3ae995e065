//! Limits of the wire: each once, with unit, default and the arithmetic behind it.
//!
//! What a configuration may lower says so; what follows from the formats is fixed. The sums are
//! asserted at compile time, so that no limit can be changed alone.

/// Largest content of one message, bytes: 64 KiB, a long text with its envelope. Media travels by
/// reference. A configuration may lower it; `welcome` says what holds.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// Bytes of the preamble of a binary connection.
pub const PREAMBLE_BYTES: usize = 4;

/// Largest fixed part, bytes. The largest today has 99; the rest is for fields to come.
pub const FIXED_BYTES_MAX: usize = 256;

/// Bytes of the length before each section.
pub const SECTION_HEAD_BYTES: usize = 4;

/// What a frame may need beside the content of a message, bytes: fixed part, heads of sections,
/// and 740 for sections to come (names, envelopes). 1 KiB with the header.
pub const FRAME_OVERHEAD_BYTES_MAX: usize = 1024;

/// Largest frame, header included, bytes: a message of the largest content, or any other frame.
/// A longer one is refused from its header, before anything is allocated: 65,536 + 1,024.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX;

/// Largest payload of a frame, bytes.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;

/// Largest JSON text, bytes: the content in base64 (4 for every 3, rounded up: 87,384) and 4 KiB
/// for the fields around it.
pub const JSON_TEXT_BYTES_MAX: usize = MESSAGE_BYTES_MAX.div_ceil(3) * 4 + 4096;

/// Deepest nesting of a JSON text; the outermost object is level 1. Ours need 2.
pub const JSON_DEPTH_MAX: usize = 32;

/// Most keys in one JSON object: bounds the search for duplicates. Ours have at most 16.
pub const JSON_KEYS_MAX: usize = 64;

/// Largest integer in JSON: 2^53 - 1, the largest that a double holds exactly (RFC 8259
/// section 6, RFC 7493 section 2.2).
pub const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Latest timestamp, milliseconds since 1970: what JSON can carry, so that a binary client cannot
/// send what a JSON client could not be told.
pub const TIMESTAMP_MS_MAX: u64 = JSON_INTEGER_MAX;

/// Longest access token, bytes. Ours have about 300; an outside identity provider's may have 2 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Longest resume ticket, bytes. Ours have about 64.
pub const TICKET_BYTES_MAX: usize = 512;

/// Largest payload of a frame, and largest JSON text, of a connection that has no session yet, bytes:
/// a `hello` with the longest token. Nobody unknown makes the server hold more.
pub const HELLO_BYTES_MAX: usize = TOKEN_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX;

/// Most users in one `presence_subscribe` or `presence_unsubscribe`: what a screen shows, with
/// room for a fast scroll. 256 users = 4 KiB in binary, 10 KiB in JSON.
pub const SUBSCRIBE_USERS_MAX: usize = 256;

/// Unacked stored pushes that a connection gets if it asks for 0.
pub const WINDOW_PUSHES_DEFAULT: u32 = 64;

/// Most unacked stored pushes that a connection may ask for; more is granted as this.
pub const WINDOW_PUSHES_MAX: u32 = 1024;

/// Unacked stored bytes that a connection gets if it asks for 0: four messages of the largest size.
pub const WINDOW_BYTES_DEFAULT: u32 = 256 * 1024;

/// Most unacked stored bytes that a connection may ask for; more is granted as this.
pub const WINDOW_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Input that a user, or an address before `welcome`, may bring in a second for long, in bytes of
/// cost: some 28,000 small frames, or 23 of the largest texts. A server's default.
pub const INPUT_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// The same at once, after a pause. A server's default.
pub const INPUT_BURST_BYTES: u64 = 16 * 1024 * 1024;

/// What a frame, a text or a control frame costs beside its bytes, and what a piece costs in which
/// bytes arrive: so much work is done for each whatever is in it.
pub const INPUT_COST_BYTES: u32 = 32;

/// What a token costs beside that, in `hello` or `auth`: its signature is checked, which is work for
/// so many bytes. A resume ticket spares it.
pub const TOKEN_COST_BYTES: u32 = 16 * 1024;

/// Largest frame of an ack, a receipt or a pong that costs nothing, bytes: twice what any needs.
pub const ANSWER_BYTES_FREE: u32 = 512;

/// What is read and thrown away behind the last word, bytes.
pub const DISCARDED_BYTES_MAX: usize = 64 * 1024;

/// Durable messages of one user in a second.
pub const SENDS_PER_SECOND: u32 = 500;

/// The same at once.
pub const SENDS_BURST: u32 = 2_000;

/// Content of them in a second, bytes.
pub const SENT_BYTES_PER_SECOND: u32 = 2 * 1024 * 1024;

/// The same at once.
pub const SENT_BURST_BYTES: u32 = 16 * 1024 * 1024;

const _: () = {
    assert!(HEADER_BYTES + FIXED_BYTES_MAX + SECTION_HEAD_BYTES <= FRAME_OVERHEAD_BYTES_MAX);
    assert!(SUBSCRIBE_USERS_MAX * 16 <= MESSAGE_BYTES_MAX);
    // A UUID in JSON: 36 characters, two quotes, a comma.
    assert!(SUBSCRIBE_USERS_MAX * 39 <= JSON_TEXT_BYTES_MAX - 4096);
    assert!(FRAME_BYTES_MAX <= u32::MAX as usize);
    assert!(WINDOW_PUSHES_DEFAULT <= WINDOW_PUSHES_MAX);
    assert!(WINDOW_BYTES_DEFAULT <= WINDOW_BYTES_MAX);
};
