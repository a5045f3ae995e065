//! Events in JSON.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::fields::Fields;
use super::writer::ObjectWriter;
use crate::code::{CloseCode, ErrorCode};
use crate::error::DecodeError;
use crate::event::{
    DeviceChange, DeviceChanged, Error, Event, Gap, GroupChange, GroupEvent, NewMessage, Receipt,
    Status, Welcome,
};
use crate::frame::EventKind;
use crate::id::{GroupId, MessageId, ServerId, UserId};
use crate::limits::{MESSAGE_BYTES_MAX, TICKET_BYTES_MAX};

/// Appends an event to `out` as one text. `tag` is that of the command it answers, 0 for none.
pub fn encode_event(event: &Event, tag: u16, out: &mut BytesMut) {
    let mut object = ObjectWriter::begin(out, kind(event).name());
    match event {
        Event::Welcome(welcome) => write_welcome(welcome, &mut object),
        Event::Receipt(receipt) => {
            object.integer_unless_0("push", receipt.push);
            object.id("id", receipt.id.0);
            object.id_unless_nil("message_id", receipt.message_id.0);
            object.id("peer", receipt.peer.0);
            object.string("status", receipt.status.word());
            object.timestamp_ms(receipt.timestamp_ms);
        }
        Event::NewMessage(message) => write_message(message, &mut object),
        Event::Typing { from, active } => {
            object.id("from", from.0);
            object.flag("active", *active);
        }
        Event::Presence { user, online, last_seen_ms } => {
            object.id("user_id", user.0);
            object.flag("online", *online);
            object.integer_unless_0("last_seen_ms", *last_seen_ms);
        }
        Event::GroupEvent(event) => write_group_event(event, &mut object),
        Event::KeysLow { one_time_left, kyber_left } => {
            object.integer("one_time_left", (*one_time_left).into());
            object.integer("kyber_left", (*kyber_left).into());
        }
        Event::DeviceChange(change) => {
            object.integer_unless_0("push", change.push);
            object.id("user_id", change.user.0);
            object.integer("device", change.device.number().into());
            object.string("change", change.change.word());
            object.timestamp_ms(change.timestamp_ms);
        }
        Event::QueueEmpty { gap } => {
            if let Some(gap) = gap {
                object.integer("gap", gap.number);
                object.string("after", &gap.after);
            }
        }
        Event::Error(error) => write_error(error, &mut object),
        Event::Close { code, retry_after_ms, detail } => {
            object.integer("code", code.number().into());
            object.string("name", code.name());
            object.integer_unless_0("retry_after_ms", (*retry_after_ms).into());
            object.string_unless_empty("detail", detail);
        }
        Event::GoAway { code, reconnect_after_ms } => {
            object.integer("code", code.number().into());
            object.string("name", code.name());
            object.integer("reconnect_after_ms", (*reconnect_after_ms).into());
        }
        Event::Ping { nonce } | Event::Pong { nonce } => object.integer("nonce", *nonce),
    }
    object.finish(tag);
}

/// Appends a `new_message` to `out`, whoever holds its body.
///
/// # Panics
/// If a plain body is not UTF-8: it was checked when it came in.
pub fn encode_message<B: AsRef<[u8]>>(message: &NewMessage<B>, tag: u16, out: &mut BytesMut) {
    let mut object = ObjectWriter::begin(out, EventKind::NewMessage.name());
    write_message(message, &mut object);
    object.finish(tag);
}

fn write_welcome(welcome: &Welcome, object: &mut ObjectWriter<'_>) {
    object.id("user_id", welcome.user.0);
    object.integer("device", welcome.device.number().into());
    object.bytes("ticket", &welcome.ticket);
    object.integer("ticket_ttl_ms", welcome.ticket_ttl_ms.into());
    object.integer("server_time_ms", welcome.server_time_ms);
    object.integer("window_pushes", welcome.window_pushes.into());
    object.integer("window_bytes", welcome.window_bytes.into());
    object.integer("message_bytes_max", welcome.message_bytes_max.into());
    object.integer("ping_interval_ms", welcome.ping_interval_ms.into());
}

/// # Panics
/// If a plain body is not UTF-8: it was checked when it came in.
fn write_message<B: AsRef<[u8]>>(message: &NewMessage<B>, object: &mut ObjectWriter<'_>) {
    object.integer_unless_0("push", message.push);
    object.id("id", message.id.0);
    object.id("message_id", message.message_id.0);
    object.id("from", message.from.0);
    object.integer("from_device", message.from_device.number().into());
    object.id("to", message.to.0);
    if message.plain {
        let text =
            std::str::from_utf8(message.body.as_ref()).expect("plain content came in as UTF-8");
        object.string("content", text);
    } else {
        object.bytes("encrypted_content", message.body.as_ref());
    }
    object.timestamp_ms(message.client_timestamp_ms);
    object.id_unless_nil("reply_to", message.reply_to.unwrap_or_default());
    object.flag_if("ephemeral", message.ephemeral);
}

fn write_group_event(event: &GroupEvent, object: &mut ObjectWriter<'_>) {
    object.integer_unless_0("push", event.push);
    object.id("id", event.id.0);
    object.id("group_id", event.group.0);
    object.string("change", event.change.word());
    object.id("actor", event.actor.0);
    object.id_unless_nil("subject", event.subject.0);
    object.integer("epoch", event.epoch);
    object.string("name", &event.name);
    object.timestamp_ms(event.timestamp_ms);
}

fn write_error(error: &Error, object: &mut ObjectWriter<'_>) {
    object.integer("code", error.code.number().into());
    object.string("name", error.code.name());
    object.integer_unless_0("retry_after_ms", error.retry_after_ms.into());
    object.id_unless_nil("message_id", error.message_id.0);
    object.id_unless_nil("id", error.id.0);
    object.string_unless_empty("detail", &error.detail);
}

const fn kind(event: &Event) -> EventKind {
    match event {
        Event::Welcome(_) => EventKind::Welcome,
        Event::Receipt(_) => EventKind::Receipt,
        Event::NewMessage(_) => EventKind::NewMessage,
        Event::Typing { .. } => EventKind::Typing,
        Event::Presence { .. } => EventKind::Presence,
        Event::GroupEvent(_) => EventKind::GroupEvent,
        Event::KeysLow { .. } => EventKind::KeysLow,
        Event::DeviceChange(_) => EventKind::DeviceChange,
        Event::QueueEmpty { .. } => EventKind::QueueEmpty,
        Event::Error(_) | Event::Close { .. } => EventKind::Error,
        Event::GoAway { .. } => EventKind::GoAway,
        Event::Ping { .. } => EventKind::Ping,
        Event::Pong { .. } => EventKind::Pong,
    }
}

/// The event in a text and the tag it answers (0 = none), as a client reads it.
///
/// # Errors
/// The first violation found. A client skips a text that it cannot read: an unknown type or value
/// is a newer server's.
pub fn decode_event(text: &str) -> Result<(Event, u16), DecodeError> {
    let mut fields = Fields::read(text)?;
    let tag = fields.tag()?;
    let name = fields.string("type")?.ok_or(DecodeError::Missing { field: "type" })?;
    let kind = EventKind::from_name(&name).ok_or(DecodeError::UnknownType)?;
    let event = match kind {
        EventKind::Welcome => Event::Welcome(welcome(&mut fields)?),
        EventKind::Receipt => Event::Receipt(Receipt {
            push: fields.count("push")?,
            id: ServerId(fields.id("id")?),
            message_id: MessageId(fields.id_or_nil("message_id")?),
            peer: UserId(fields.id("peer")?),
            status: fields.word("status", Status::from_word)?,
            timestamp_ms: fields.timestamp_ms()?,
        }),
        EventKind::NewMessage => Event::NewMessage(new_message(&mut fields)?),
        EventKind::Typing => {
            Event::Typing { from: UserId(fields.id("from")?), active: fields.flag("active")? }
        }
        EventKind::Presence => Event::Presence {
            user: UserId(fields.id("user_id")?),
            online: fields.flag("online")?,
            last_seen_ms: fields.count("last_seen_ms")?,
        },
        EventKind::GroupEvent => Event::GroupEvent(GroupEvent {
            push: fields.count("push")?,
            id: ServerId(fields.id("id")?),
            group: GroupId(fields.id("group_id")?),
            change: fields.word("change", GroupChange::from_word)?,
            actor: UserId(fields.id("actor")?),
            subject: UserId(fields.id_or_nil("subject")?),
            epoch: fields.count("epoch")?,
            timestamp_ms: fields.timestamp_ms()?,
            name: fields.string("name")?.unwrap_or_default().into_owned(),
        }),
        EventKind::KeysLow => Event::KeysLow {
            one_time_left: fields.small_count("one_time_left")?,
            kyber_left: fields.small_count("kyber_left")?,
        },
        EventKind::DeviceChange => Event::DeviceChange(DeviceChange {
            push: fields.count("push")?,
            user: UserId(fields.id("user_id")?),
            device: fields.device("device")?,
            change: fields.word("change", DeviceChanged::from_word)?,
            timestamp_ms: fields.timestamp_ms()?,
        }),
        EventKind::QueueEmpty => {
            let number = fields.count("gap")?;
            let after = fields.string("after")?.unwrap_or_default();
            Event::QueueEmpty { gap: Gap::told(number, &after) }
        }
        EventKind::Error => error(&mut fields)?,
        EventKind::GoAway => Event::GoAway {
            code: fields
                .number16("code")?
                .and_then(CloseCode::from_number)
                .ok_or(DecodeError::UnknownValue { field: "code" })?,
            reconnect_after_ms: fields.small_count("reconnect_after_ms")?,
        },
        EventKind::Ping => Event::Ping { nonce: fields.count("nonce")? },
        EventKind::Pong => Event::Pong { nonce: fields.count("nonce")? },
    };
    Ok((event, tag))
}

fn welcome(fields: &mut Fields<'_>) -> Result<Welcome, DecodeError> {
    let too_long = |_| DecodeError::TooLong { field: "ticket", max: TICKET_BYTES_MAX };
    Ok(Welcome {
        user: UserId(fields.id("user_id")?),
        device: fields.device("device")?,
        ticket: fields.bytes("ticket", TICKET_BYTES_MAX, too_long)?.unwrap_or_default().into(),
        ticket_ttl_ms: fields.small_count("ticket_ttl_ms")?,
        server_time_ms: fields.count("server_time_ms")?,
        window_pushes: fields.small_count("window_pushes")?,
        window_bytes: fields.small_count("window_bytes")?,
        message_bytes_max: fields.small_count("message_bytes_max")?,
        ping_interval_ms: fields.small_count("ping_interval_ms")?,
    })
}

fn new_message(fields: &mut Fields<'_>) -> Result<NewMessage, DecodeError> {
    let too_large =
        |content_bytes| DecodeError::ContentTooLarge { content_bytes, max: MESSAGE_BYTES_MAX };
    let plain = fields.string("content")?;
    let encrypted = fields.bytes("encrypted_content", MESSAGE_BYTES_MAX, too_large)?;
    let is_plain = plain.is_some();
    let body = match plain {
        Some(text) => Bytes::from(text.into_owned()),
        None => Bytes::from(encrypted.unwrap_or_default()),
    };
    Ok(NewMessage {
        push: fields.count("push")?,
        id: ServerId(fields.id("id")?),
        message_id: MessageId(fields.id("message_id")?),
        from: UserId(fields.id("from")?),
        from_device: fields.device("from_device")?,
        to: UserId(fields.id("to")?),
        reply_to: Some(fields.id_or_nil("reply_to")?).filter(|id| *id != [0; 16]),
        client_timestamp_ms: fields.timestamp_ms()?,
        ephemeral: fields.flag("ephemeral")?,
        plain: is_plain,
        body,
    })
}

/// A refusal, or from code 1000 on the last word before the close.
fn error(fields: &mut Fields<'_>) -> Result<Event, DecodeError> {
    let unknown = DecodeError::UnknownValue { field: "code" };
    let number = fields.number16("code")?.ok_or(DecodeError::Missing { field: "code" })?;
    let retry_after_ms = fields.small_count("retry_after_ms")?;
    let detail = Cow::Owned(fields.string("detail")?.unwrap_or_default().into_owned());
    if let Some(code) = CloseCode::from_number(number) {
        return Ok(Event::Close { code, retry_after_ms, detail });
    }
    Ok(Event::Error(Error {
        code: ErrorCode::from_number(number).ok_or(unknown)?,
        retry_after_ms,
        message_id: MessageId(fields.id_or_nil("message_id")?),
        id: ServerId(fields.id_or_nil("id")?),
        detail,
    }))
}
