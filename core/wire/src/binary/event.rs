//! Events in frames.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{device, reply_to, text};
use crate::code::{CloseCode, ErrorCode};
use crate::error::DecodeError;
use crate::event::{
    DeviceChange, DeviceChanged, Error, Event, Gap, GroupChange, GroupEvent, NewMessage, Receipt,
    Status, Welcome,
};
use crate::fixed::{
    self, DeviceChangePart, ErrorPart, GoAwayPart, GroupEventPart, KeysLowPart, NewMessagePart,
    NoncePart, PresencePart, QueueEmptyPart, ReceiptPart, TypingPart, WelcomePart,
};
use crate::frame::{EventKind, FrameWriter, flag};
use crate::id::{GroupId, MessageId, ServerId, UserId};

/// Appends an event to `out`. `tag` is that of the command it answers, 0 for none.
pub fn encode_event(event: &Event, tag: u16, out: &mut BytesMut) {
    let (kind, flags) = head(event);
    let mut frame = FrameWriter::begin(out, kind.number(), flags, tag);
    match event {
        Event::Welcome(welcome) => {
            fixed::write(&welcome_part(welcome), frame.buffer());
            frame.section(&welcome.ticket);
        }
        Event::Receipt(receipt) => fixed::write(&receipt_part(receipt), frame.buffer()),
        Event::NewMessage(message) => {
            fixed::write(&message_part(message), frame.buffer());
            frame.section(&message.body);
        }
        Event::Typing { from, .. } => fixed::write(&TypingPart::new(from.0), frame.buffer()),
        Event::Presence { user, last_seen_ms, .. } => {
            fixed::write(&PresencePart::new(user.0, *last_seen_ms), frame.buffer());
        }
        Event::GroupEvent(event) => {
            fixed::write(&group_part(event), frame.buffer());
            frame.section(event.name.as_bytes());
        }
        Event::KeysLow { one_time_left, kyber_left } => {
            fixed::write(&KeysLowPart::new(*one_time_left, *kyber_left), frame.buffer());
        }
        Event::DeviceChange(change) => {
            let part = DeviceChangePart::new(
                change.change as u8,
                change.push,
                change.user.0,
                change.device.number(),
                change.timestamp_ms,
            );
            fixed::write(&part, frame.buffer());
        }
        Event::QueueEmpty { gap } => {
            let (number, after) = gap.as_ref().map_or((0, ""), |it| (it.number, &it.after));
            fixed::write(&QueueEmptyPart::new(number), frame.buffer());
            frame.section(after.as_bytes());
        }
        Event::Error(error) => {
            let part = ErrorPart::new(
                error.code.number(),
                error.retry_after_ms,
                error.message_id.0,
                error.id.0,
            );
            fixed::write(&part, frame.buffer());
            frame.section(error.detail.as_bytes());
        }
        Event::Close { code, retry_after_ms, detail } => {
            let part = ErrorPart::new(code.number(), *retry_after_ms, [0; 16], [0; 16]);
            fixed::write(&part, frame.buffer());
            frame.section(detail.as_bytes());
        }
        Event::GoAway { code, reconnect_after_ms } => {
            fixed::write(&GoAwayPart::new(code.number(), *reconnect_after_ms), frame.buffer());
        }
        Event::Ping { nonce } | Event::Pong { nonce } => {
            fixed::write(&NoncePart::new(*nonce), frame.buffer());
        }
    }
    frame.finish(0);
}

/// Appends the head of a `new_message` to `out`: head and `message.body` one after the other are
/// exactly the frame that [`encode_event`] writes. The body need not be copied to be sent.
pub fn encode_event_head<B: AsRef<[u8]>>(message: &NewMessage<B>, tag: u16, out: &mut BytesMut) {
    let body_bytes = message.body.as_ref().len();
    let kind = EventKind::NewMessage.number();
    let mut frame = FrameWriter::begin(out, kind, message_flags(message), tag);
    fixed::write(&message_part(message), frame.buffer());
    frame.section_head(body_bytes);
    frame.finish(body_bytes);
}

fn head(event: &Event) -> (EventKind, u8) {
    let on = |condition: bool, flag: u8| if condition { flag } else { 0 };
    match event {
        Event::Welcome(_) => (EventKind::Welcome, 0),
        Event::Receipt(_) => (EventKind::Receipt, 0),
        Event::NewMessage(message) => (EventKind::NewMessage, message_flags(message)),
        Event::Typing { active, .. } => (EventKind::Typing, on(*active, flag::ACTIVE)),
        Event::Presence { online, .. } => (EventKind::Presence, on(*online, flag::ONLINE)),
        Event::GroupEvent(_) => (EventKind::GroupEvent, 0),
        Event::KeysLow { .. } => (EventKind::KeysLow, 0),
        Event::DeviceChange(_) => (EventKind::DeviceChange, 0),
        Event::QueueEmpty { .. } => (EventKind::QueueEmpty, 0),
        Event::Error(_) | Event::Close { .. } => (EventKind::Error, 0),
        Event::GoAway { .. } => (EventKind::GoAway, 0),
        Event::Ping { .. } => (EventKind::Ping, 0),
        Event::Pong { .. } => (EventKind::Pong, 0),
    }
}

const fn message_flags<B>(message: &NewMessage<B>) -> u8 {
    (if message.ephemeral { flag::EPHEMERAL } else { 0 })
        | (if message.plain { flag::PLAIN } else { 0 })
}

const fn welcome_part(welcome: &Welcome) -> WelcomePart {
    WelcomePart::new(
        welcome.user.0,
        welcome.device.number(),
        welcome.ticket_ttl_ms,
        welcome.server_time_ms,
        welcome.window_pushes,
        welcome.window_bytes,
        welcome.message_bytes_max,
        welcome.ping_interval_ms,
    )
}

const fn receipt_part(receipt: &Receipt) -> ReceiptPart {
    ReceiptPart::new(
        receipt.status as u8,
        receipt.push,
        receipt.id.0,
        receipt.message_id.0,
        receipt.peer.0,
        receipt.timestamp_ms,
    )
}

fn message_part<B>(message: &NewMessage<B>) -> NewMessagePart {
    NewMessagePart::new(
        message.push,
        message.id.0,
        message.message_id.0,
        message.from.0,
        message.from_device.number(),
        message.to.0,
        message.reply_to.unwrap_or_default(),
        message.client_timestamp_ms,
    )
}

const fn group_part(event: &GroupEvent) -> GroupEventPart {
    GroupEventPart::new(
        event.change as u8,
        event.push,
        event.id.0,
        event.group.0,
        event.actor.0,
        event.subject.0,
        event.epoch,
        event.timestamp_ms,
    )
}

/// The event in a frame, as a client reads it.
///
/// # Errors
/// The first violation found. A client skips a frame that it cannot read: an unknown kind or
/// value is a newer server's.
pub fn decode_event(kind: u8, flags: u8, payload: &[u8]) -> Result<Event, DecodeError> {
    let kind = EventKind::from_number(kind).ok_or(DecodeError::UnknownKind { kind })?;
    Ok(match kind {
        EventKind::Welcome => Event::Welcome(welcome(payload)?),
        EventKind::Receipt => Event::Receipt(receipt(payload)?),
        EventKind::NewMessage => Event::NewMessage(new_message(flags, payload)?),
        EventKind::Typing => {
            let (part, _) = fixed::read::<TypingPart>(payload)?;
            Event::Typing { from: UserId(part.from), active: flags & flag::ACTIVE != 0 }
        }
        EventKind::Presence => {
            let (part, _) = fixed::read::<PresencePart>(payload)?;
            Event::Presence {
                user: UserId(part.user_id),
                online: flags & flag::ONLINE != 0,
                last_seen_ms: part.last_seen_ms.to_native(),
            }
        }
        EventKind::GroupEvent => Event::GroupEvent(group_event(payload)?),
        EventKind::KeysLow => {
            let (part, _) = fixed::read::<KeysLowPart>(payload)?;
            Event::KeysLow {
                one_time_left: part.one_time_left.to_native(),
                kyber_left: part.kyber_left.to_native(),
            }
        }
        EventKind::DeviceChange => Event::DeviceChange(device_change(payload)?),
        EventKind::QueueEmpty => {
            let (part, mut sections) = fixed::read::<QueueEmptyPart>(payload)?;
            let after = text("after", sections.next())?;
            Event::QueueEmpty { gap: Gap::told(part.gap.to_native(), after) }
        }
        EventKind::Error => error(payload)?,
        EventKind::GoAway => {
            let (part, _) = fixed::read::<GoAwayPart>(payload)?;
            let code = CloseCode::from_number(part.code.to_native());
            Event::GoAway {
                code: code.ok_or(DecodeError::UnknownValue { field: "code" })?,
                reconnect_after_ms: part.reconnect_after_ms.to_native(),
            }
        }
        EventKind::Ping => Event::Ping { nonce: nonce(payload)? },
        EventKind::Pong => Event::Pong { nonce: nonce(payload)? },
    })
}

fn nonce(payload: &[u8]) -> Result<u64, DecodeError> {
    fixed::read::<NoncePart>(payload).map(|(part, _)| part.nonce.to_native())
}

fn welcome(payload: &[u8]) -> Result<Welcome, DecodeError> {
    let (part, mut sections) = fixed::read::<WelcomePart>(payload)?;
    Ok(Welcome {
        user: UserId(part.user_id),
        device: device("device", part.device)?,
        ticket: Bytes::copy_from_slice(sections.next()),
        ticket_ttl_ms: part.ticket_ttl_ms.to_native(),
        server_time_ms: part.server_time_ms.to_native(),
        window_pushes: part.window_pushes.to_native(),
        window_bytes: part.window_bytes.to_native(),
        message_bytes_max: part.message_bytes_max.to_native(),
        ping_interval_ms: part.ping_interval_ms.to_native(),
    })
}

fn receipt(payload: &[u8]) -> Result<Receipt, DecodeError> {
    let (part, _) = fixed::read::<ReceiptPart>(payload)?;
    Ok(Receipt {
        push: part.push.to_native(),
        id: ServerId(part.id),
        message_id: MessageId(part.message_id),
        peer: UserId(part.peer),
        status: Status::from_number(part.status)
            .ok_or(DecodeError::UnknownValue { field: "status" })?,
        timestamp_ms: part.timestamp_ms.to_native(),
    })
}

fn new_message(flags: u8, payload: &[u8]) -> Result<NewMessage, DecodeError> {
    let (part, mut sections) = fixed::read::<NewMessagePart>(payload)?;
    let body = sections.next();
    let plain = flags & flag::PLAIN != 0;
    if plain {
        text("content", body)?;
    }
    Ok(NewMessage {
        push: part.push.to_native(),
        id: ServerId(part.id),
        message_id: MessageId(part.message_id),
        from: UserId(part.from),
        from_device: device("from_device", part.from_device)?,
        to: UserId(part.to),
        reply_to: reply_to(part.reply_to),
        client_timestamp_ms: part.timestamp_ms.to_native(),
        ephemeral: flags & flag::EPHEMERAL != 0,
        plain,
        body: Bytes::copy_from_slice(body),
    })
}

fn group_event(payload: &[u8]) -> Result<GroupEvent, DecodeError> {
    let (part, mut sections) = fixed::read::<GroupEventPart>(payload)?;
    Ok(GroupEvent {
        push: part.push.to_native(),
        id: ServerId(part.id),
        group: GroupId(part.group_id),
        change: GroupChange::from_number(part.change)
            .ok_or(DecodeError::UnknownValue { field: "change" })?,
        actor: UserId(part.actor),
        subject: UserId(part.subject),
        epoch: part.epoch.to_native(),
        timestamp_ms: part.timestamp_ms.to_native(),
        name: text("name", sections.next())?.to_owned(),
    })
}

fn device_change(payload: &[u8]) -> Result<DeviceChange, DecodeError> {
    let (part, _) = fixed::read::<DeviceChangePart>(payload)?;
    Ok(DeviceChange {
        push: part.push.to_native(),
        user: UserId(part.user_id),
        device: device("device", part.device)?,
        change: DeviceChanged::from_number(part.change)
            .ok_or(DecodeError::UnknownValue { field: "change" })?,
        timestamp_ms: part.timestamp_ms.to_native(),
    })
}

/// A refusal, or from code 1000 on the last word before the close.
fn error(payload: &[u8]) -> Result<Event, DecodeError> {
    let (part, mut sections) = fixed::read::<ErrorPart>(payload)?;
    let number = part.code.to_native();
    let retry_after_ms = part.retry_after_ms.to_native();
    let detail = Cow::Owned(text("detail", sections.next())?.to_owned());
    if let Some(code) = CloseCode::from_number(number) {
        return Ok(Event::Close { code, retry_after_ms, detail });
    }
    Ok(Event::Error(Error {
        code: ErrorCode::from_number(number).ok_or(DecodeError::UnknownValue { field: "code" })?,
        retry_after_ms,
        message_id: MessageId(part.message_id),
        id: ServerId(part.id),
        detail,
    }))
}
