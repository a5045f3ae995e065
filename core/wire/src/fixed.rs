//! Fixed parts: the records at the head of a payload, as any language's struct reader sees them.
//!
//! Each is a pointer-free rkyv archive with the features `little_endian` and `unaligned`: packed,
//! fields in the order of declaration, every integer little-endian, ids in their 16 bytes. The
//! first field, `fixed_bytes`, is the length of the fixed part as its writer knew it. Fields are
//! only ever appended:
//! - a short record (an older writer) is read as if zeros followed,
//! - a long one (a newer writer, at most 256 bytes) is read as far as this reader knows it,
//! - an empty payload is a record of zeros.
//!
//! So 0 and the nil id must always mean "not given". No field is a bool, an enum or anything else
//! that has invalid bit patterns; the codecs check values.

use bytes::{BufMut, BytesMut};
use rkyv::api::low::LowValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Failure, Infallible, Strategy};
use rkyv::ser::{Positional, Writer};
use rkyv::{Archive, Portable, Serialize};

use crate::error::DecodeError;
use crate::frame::{CommandKind, EventKind, Sections};
use crate::limits::FIXED_BYTES_MAX;

/// One field of a fixed part, for the tables of the specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Offset from the start of the payload, bytes.
    pub offset: usize,
    /// Its type: `u8`, `u16`, `u32`, `u64` (little-endian) or `id` (16 bytes).
    pub type_name: &'static str,
}

/// A record that stands at the head of a payload.
pub(crate) trait FixedPart: Archive<Archived: Portable + Copy> {
    /// Its length in this version, bytes.
    const BYTES: usize = size_of::<Self::Archived>();
}

macro_rules! type_name {
    (Id) => {
        "id"
    };
    ($type:ident) => {
        stringify!($type)
    };
}

/// Declares fixed parts: `fixed_bytes` in front, `new`, the table, and a compile-time check.
macro_rules! fixed_parts {
    ($($name:ident / $archived:ident { $($field:ident: $type:ident,)* })*) => {
        $(
            #[derive(Archive, Serialize)]
            #[rkyv(archived = $archived, derive(Clone, Copy))]
            pub(crate) struct $name {
                fixed_bytes: u16,
                $(pub(crate) $field: $type,)*
            }

            impl FixedPart for $name {}

            const _: () = assert!(<$name as FixedPart>::BYTES <= FIXED_BYTES_MAX);

            impl $name {
                /// The record with its length filled in.
                #[allow(clippy::too_many_arguments, reason = "one argument for each field")]
                pub(crate) const fn new($($field: $type),*) -> Self {
                    Self { fixed_bytes: <Self as FixedPart>::BYTES as u16, $($field),* }
                }

                /// The fields in their order.
                pub(crate) const FIELDS: &'static [Field] = &[
                    Field { name: "fixed_bytes", offset: 0, type_name: "u16" },
                    $(Field {
                        name: stringify!($field),
                        offset: std::mem::offset_of!($archived, $field),
                        type_name: type_name!($type),
                    },)*
                ];
            }
        )*
    };
}

/// An id of any sort; the codecs give it its sort.
type Id = [u8; 16];

fixed_parts! {
    HelloPart / ArchivedHelloPart {
        device: u8,
        window_pushes: u32,
        window_bytes: u32,
        intents: u32,
    }
    EmptyPart / ArchivedEmptyPart {}
    SendMessagePart / ArchivedSendMessagePart {
        message_id: Id,
        to: Id,
        reply_to: Id,
        timestamp_ms: u64,
    }
    AckPart / ArchivedAckPart {
        push: u64,
    }
    ClientReceiptPart / ArchivedClientReceiptPart {
        status: u8,
        id: Id,
        message_id: Id,
        timestamp_ms: u64,
    }
    ClientTypingPart / ArchivedClientTypingPart {
        to: Id,
    }
    GapClosedPart / ArchivedGapClosedPart {
        gap: u64,
    }
    NoncePart / ArchivedNoncePart {
        nonce: u64,
    }
    WelcomePart / ArchivedWelcomePart {
        user_id: Id,
        device: u8,
        ticket_ttl_ms: u32,
        server_time_ms: u64,
        window_pushes: u32,
        window_bytes: u32,
        message_bytes_max: u32,
        ping_interval_ms: u32,
    }
    ReceiptPart / ArchivedReceiptPart {
        status: u8,
        push: u64,
        id: Id,
        message_id: Id,
        peer: Id,
        timestamp_ms: u64,
    }
    NewMessagePart / ArchivedNewMessagePart {
        push: u64,
        id: Id,
        message_id: Id,
        from: Id,
        from_device: u8,
        to: Id,
        reply_to: Id,
        timestamp_ms: u64,
    }
    TypingPart / ArchivedTypingPart {
        from: Id,
    }
    PresencePart / ArchivedPresencePart {
        user_id: Id,
        last_seen_ms: u64,
    }
    GroupEventPart / ArchivedGroupEventPart {
        change: u8,
        push: u64,
        id: Id,
        group_id: Id,
        actor: Id,
        subject: Id,
        epoch: u64,
        timestamp_ms: u64,
    }
    KeysLowPart / ArchivedKeysLowPart {
        one_time_left: u32,
        kyber_left: u32,
    }
    DeviceChangePart / ArchivedDeviceChangePart {
        change: u8,
        push: u64,
        user_id: Id,
        device: u8,
        timestamp_ms: u64,
    }
    QueueEmptyPart / ArchivedQueueEmptyPart {
        gap: u64,
    }
    ErrorPart / ArchivedErrorPart {
        code: u16,
        retry_after_ms: u32,
        message_id: Id,
        id: Id,
    }
    GoAwayPart / ArchivedGoAwayPart {
        code: u16,
        reconnect_after_ms: u32,
    }
}

/// The fields of a command's fixed part, in their order.
pub const fn command_fields(kind: CommandKind) -> &'static [Field] {
    match kind {
        CommandKind::Hello => HelloPart::FIELDS,
        CommandKind::SendMessage => SendMessagePart::FIELDS,
        CommandKind::Ack => AckPart::FIELDS,
        CommandKind::Receipt => ClientReceiptPart::FIELDS,
        CommandKind::Typing => ClientTypingPart::FIELDS,
        CommandKind::GapClosed => GapClosedPart::FIELDS,
        CommandKind::Ping | CommandKind::Pong => NoncePart::FIELDS,
        CommandKind::Auth
        | CommandKind::PresenceSubscribe
        | CommandKind::PresenceUnsubscribe
        | CommandKind::ClientState
        | CommandKind::Bye => EmptyPart::FIELDS,
    }
}

/// The fields of an event's fixed part, in their order.
pub const fn event_fields(kind: EventKind) -> &'static [Field] {
    match kind {
        EventKind::Welcome => WelcomePart::FIELDS,
        EventKind::Receipt => ReceiptPart::FIELDS,
        EventKind::NewMessage => NewMessagePart::FIELDS,
        EventKind::Typing => TypingPart::FIELDS,
        EventKind::Presence => PresencePart::FIELDS,
        EventKind::GroupEvent => GroupEventPart::FIELDS,
        EventKind::KeysLow => KeysLowPart::FIELDS,
        EventKind::DeviceChange => DeviceChangePart::FIELDS,
        EventKind::QueueEmpty => QueueEmptyPart::FIELDS,
        EventKind::Error => ErrorPart::FIELDS,
        EventKind::GoAway => GoAwayPart::FIELDS,
        EventKind::Ping | EventKind::Pong => NoncePart::FIELDS,
    }
}

/// The record at the head of `payload` and the sections behind it.
///
/// # Errors
/// If `fixed_bytes` is not a length that a record can have here, or a section is not whole.
pub(crate) fn read<T>(payload: &[u8]) -> Result<(T::Archived, Sections<'_>), DecodeError>
where
    T: FixedPart,
    T::Archived: for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
    let (fixed, sections) = split(payload)?;
    Ok((record::<T>(fixed), Sections::of(sections)?))
}

/// The record at the head of `payload`, whatever is behind it.
///
/// # Errors
/// If `fixed_bytes` is not a length that a record can have here.
pub(crate) fn read_alone<T>(payload: &[u8]) -> Result<T::Archived, DecodeError>
where
    T: FixedPart,
    T::Archived: for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
    split(payload).map(|(fixed, _)| record::<T>(fixed))
}

/// The record is validated in place and copied out (at most 99 bytes); a short one is first copied
/// onto zeros.
fn record<T>(fixed: &[u8]) -> T::Archived
where
    T: FixedPart,
    T::Archived: for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
    if let Some(known) = fixed.get(..T::BYTES) {
        return access::<T>(known);
    }
    let mut filled = [0; FIXED_BYTES_MAX];
    filled[..fixed.len()].copy_from_slice(fixed);
    access::<T>(&filled[..T::BYTES])
}

/// Where the fixed part ends and the sections begin.
fn split(payload: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    if payload.is_empty() {
        // A record of zeros.
        return Ok((&[], &[]));
    }
    // One byte cannot be a length.
    let fixed_bytes = payload.first_chunk().map_or(0, |stated| u16::from_le_bytes(*stated));
    Some(usize::from(fixed_bytes))
        .filter(|stated| (2..=FIXED_BYTES_MAX).contains(stated))
        .and_then(|stated| payload.split_at_checked(stated))
        .ok_or(DecodeError::FixedLength { fixed_bytes, payload_bytes: payload.len() })
}

/// Reads a record of exactly its own length.
fn access<T>(bytes: &[u8]) -> T::Archived
where
    T: FixedPart,
    T::Archived: for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
    *rkyv::api::low::access::<T::Archived, Failure>(bytes)
        .expect("a record of integers and ids has no invalid bytes, and its length is its own")
}

/// Appends a record to `out`.
pub(crate) fn write<T>(part: &T, out: &mut BytesMut)
where
    T: FixedPart + for<'a> Serialize<Strategy<Tail<'a>, Infallible>>,
{
    let start = out.len();
    let mut tail = Tail { out, start };
    let Ok(_) = rkyv::api::serialize_using::<_, Infallible>(part, &mut tail);
    debug_assert_eq!(out.len() - start, T::BYTES, "a fixed part is written as one record");
}

/// The end of a buffer as a place to archive into; positions count from where it began.
pub(crate) struct Tail<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl Positional for Tail<'_> {
    fn pos(&self) -> usize {
        self.out.len() - self.start
    }
}

impl<E> Writer<E> for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.out.put_slice(bytes);
        Ok(())
    }
}
