//! Commands in frames.

use std::borrow::Cow;

use bytes::BytesMut;

use super::{device, message_id, reply_to, text, timestamp_ms, user};
use crate::command::{
    ClientStatus, Command, Content, Credential, Hello, Named, Receipt, SendMessage,
};
use crate::error::DecodeError;
use crate::fixed::{
    self, AckPart, ClientReceiptPart, ClientTypingPart, EmptyPart, GapClosedPart, HelloPart,
    NoncePart, SendMessagePart,
};
use crate::frame::{CommandKind, FrameWriter, flag};
use crate::id::{MessageId, ServerId, UserId};
use crate::limits::{MESSAGE_BYTES_MAX, SUBSCRIBE_USERS_MAX, TICKET_BYTES_MAX, TOKEN_BYTES_MAX};

/// The command in a frame. It borrows from `payload`; nothing but a list of users is allocated.
///
/// # Errors
/// The first violation found, in the order structure, fixed part, sections.
pub fn decode_command(kind: u8, flags: u8, payload: &[u8]) -> Result<Command<'_>, DecodeError> {
    let kind = CommandKind::from_number(kind).ok_or(DecodeError::UnknownKind { kind })?;
    Ok(match kind {
        CommandKind::Hello => Command::Hello(hello(flags, payload)?),
        CommandKind::Auth => {
            let (_, mut sections) = fixed::read::<EmptyPart>(payload)?;
            Command::Auth { token: token(sections.next())? }
        }
        CommandKind::SendMessage => Command::SendMessage(send_message(flags, payload)?),
        CommandKind::Ack => {
            let (part, _) = fixed::read::<AckPart>(payload)?;
            Command::Ack { push: part.push.to_native() }
        }
        CommandKind::Receipt => Command::Receipt(receipt(payload)?),
        CommandKind::Typing => {
            let (part, _) = fixed::read::<ClientTypingPart>(payload)?;
            Command::Typing { to: user("to", part.to)?, active: flags & flag::ACTIVE != 0 }
        }
        CommandKind::PresenceSubscribe => Command::PresenceSubscribe { users: users(payload)? },
        CommandKind::PresenceUnsubscribe => Command::PresenceUnsubscribe { users: users(payload)? },
        CommandKind::ClientState => {
            fixed::read::<EmptyPart>(payload)?;
            Command::ClientState { active: flags & flag::ACTIVE != 0 }
        }
        CommandKind::Bye => {
            fixed::read::<EmptyPart>(payload)?;
            Command::Bye
        }
        CommandKind::GapClosed => {
            let (part, _) = fixed::read::<GapClosedPart>(payload)?;
            Command::GapClosed { gap: part.gap.to_native() }
        }
        CommandKind::Ping => Command::Ping { nonce: nonce(payload)? },
        CommandKind::Pong => Command::Pong { nonce: nonce(payload)? },
    })
}

/// The client's id of the message in a frame that [`decode_command`] refused, nil if it has none:
/// a refusal names what it refuses.
pub fn message_id_of(kind: u8, payload: &[u8]) -> MessageId {
    let id = match CommandKind::from_number(kind) {
        Some(CommandKind::SendMessage) => {
            fixed::read_alone::<SendMessagePart>(payload).map(|part| part.message_id)
        }
        Some(CommandKind::Receipt) => {
            fixed::read_alone::<ClientReceiptPart>(payload).map(|part| part.message_id)
        }
        _ => Ok([0; 16]),
    };
    MessageId(id.unwrap_or_default())
}

fn hello(flags: u8, payload: &[u8]) -> Result<Hello<'_>, DecodeError> {
    let (part, mut sections) = fixed::read::<HelloPart>(payload)?;
    let section = sections.next();
    let credential = if section.is_empty() {
        Credential::None
    } else if flags & flag::TICKET == 0 {
        Credential::Token(token(section)?)
    } else {
        Credential::Ticket(Cow::Borrowed(bounded("ticket", section, TICKET_BYTES_MAX)?))
    };
    Ok(Hello {
        credential,
        device: device("device", part.device)?,
        window_pushes: part.window_pushes.to_native(),
        window_bytes: part.window_bytes.to_native(),
        intents: part.intents.to_native(),
    })
}

fn send_message(flags: u8, payload: &[u8]) -> Result<SendMessage<'_>, DecodeError> {
    let (part, mut sections) = fixed::read::<SendMessagePart>(payload)?;
    let message_id = message_id(part.message_id)?;
    let to = user("to", part.to)?;
    let client_timestamp_ms = timestamp_ms(part.timestamp_ms.to_native())?;
    let content = sections.next();
    if content.is_empty() {
        return Err(DecodeError::Missing { field: "content" });
    }
    if content.len() > MESSAGE_BYTES_MAX {
        let content_bytes = content.len();
        return Err(DecodeError::ContentTooLarge { content_bytes, max: MESSAGE_BYTES_MAX });
    }
    let content = if flags & flag::PLAIN == 0 {
        Content::Encrypted(Cow::Borrowed(content))
    } else {
        Content::Plain(Cow::Borrowed(text("content", content)?))
    };
    Ok(SendMessage {
        message_id,
        to,
        reply_to: reply_to(part.reply_to),
        client_timestamp_ms,
        ephemeral: flags & flag::EPHEMERAL != 0,
        content,
    })
}

fn receipt(payload: &[u8]) -> Result<Receipt, DecodeError> {
    let (part, _) = fixed::read::<ClientReceiptPart>(payload)?;
    let status = match part.status {
        DELIVERED => ClientStatus::Delivered,
        READ => ClientStatus::Read,
        _ => return Err(DecodeError::UnknownValue { field: "status" }),
    };
    let id = ServerId(part.id);
    let message =
        if id.is_nil() { Named::MessageId(message_id(part.message_id)?) } else { Named::Id(id) };
    let client_timestamp_ms = timestamp_ms(part.timestamp_ms.to_native())?;
    Ok(Receipt { message, status, client_timestamp_ms })
}

/// Numbers of `status`, the same as the server's.
const DELIVERED: u8 = crate::event::Status::Delivered as u8;
const READ: u8 = crate::event::Status::Read as u8;

fn nonce(payload: &[u8]) -> Result<u64, DecodeError> {
    fixed::read::<NoncePart>(payload).map(|(part, _)| part.nonce.to_native())
}

fn users(payload: &[u8]) -> Result<Vec<UserId>, DecodeError> {
    let (_, mut sections) = fixed::read::<EmptyPart>(payload)?;
    let (ids, rest) = sections.next().as_chunks::<16>();
    if !rest.is_empty() {
        return Err(DecodeError::ListLength { field: "users" });
    }
    if ids.len() > SUBSCRIBE_USERS_MAX {
        return Err(DecodeError::TooMany { field: "users", max: SUBSCRIBE_USERS_MAX });
    }
    ids.iter().map(|id| user("users", *id)).collect()
}

fn token(section: &[u8]) -> Result<Cow<'_, str>, DecodeError> {
    Ok(Cow::Borrowed(text("token", bounded("token", section, TOKEN_BYTES_MAX)?)?))
}

/// A section that must be there and has a limit.
fn bounded<'a>(
    field: &'static str,
    section: &'a [u8],
    max: usize,
) -> Result<&'a [u8], DecodeError> {
    if section.is_empty() {
        return Err(DecodeError::Missing { field });
    }
    if section.len() > max {
        return Err(DecodeError::TooLong { field, max });
    }
    Ok(section)
}

/// Appends a command to `out`, as a client sends it.
pub fn encode_command(command: &Command<'_>, tag: u16, out: &mut BytesMut) {
    let (kind, flags) = head(command);
    let mut frame = FrameWriter::begin(out, kind.number(), flags, tag);
    match command {
        Command::Hello(hello) => {
            let part = HelloPart::new(
                hello.device.number(),
                hello.window_pushes,
                hello.window_bytes,
                hello.intents,
            );
            fixed::write(&part, frame.buffer());
            frame.section(match &hello.credential {
                Credential::Token(token) => token.as_bytes(),
                Credential::Ticket(ticket) => ticket,
                Credential::None => &[],
            });
        }
        Command::Auth { token } => {
            fixed::write(&EmptyPart::new(), frame.buffer());
            frame.section(token.as_bytes());
        }
        Command::SendMessage(message) => {
            let part = SendMessagePart::new(
                message.message_id.0,
                message.to.0,
                message.reply_to.unwrap_or_default(),
                message.client_timestamp_ms,
            );
            fixed::write(&part, frame.buffer());
            frame.section(match &message.content {
                Content::Encrypted(ciphertext) => ciphertext,
                Content::Plain(text) => text.as_bytes(),
            });
        }
        Command::Ack { push } => fixed::write(&AckPart::new(*push), frame.buffer()),
        Command::GapClosed { gap } => fixed::write(&GapClosedPart::new(*gap), frame.buffer()),
        Command::Receipt(receipt) => {
            fixed::write(&receipt_part(receipt), frame.buffer());
        }
        Command::Typing { to, .. } => fixed::write(&ClientTypingPart::new(to.0), frame.buffer()),
        Command::PresenceSubscribe { users } | Command::PresenceUnsubscribe { users } => {
            fixed::write(&EmptyPart::new(), frame.buffer());
            let users: Vec<u8> = users.iter().flat_map(|user| user.0).collect();
            frame.section(&users);
        }
        Command::ClientState { .. } | Command::Bye => {
            fixed::write(&EmptyPart::new(), frame.buffer());
        }
        Command::Ping { nonce } | Command::Pong { nonce } => {
            fixed::write(&NoncePart::new(*nonce), frame.buffer());
        }
    }
    frame.finish(0);
}

fn head(command: &Command<'_>) -> (CommandKind, u8) {
    let on = |condition: bool, flag: u8| if condition { flag } else { 0 };
    match command {
        Command::Hello(hello) => {
            let ticket = matches!(hello.credential, Credential::Ticket(_));
            (CommandKind::Hello, on(ticket, flag::TICKET))
        }
        Command::Auth { .. } => (CommandKind::Auth, 0),
        Command::SendMessage(message) => {
            let plain = matches!(message.content, Content::Plain(_));
            let flags = on(message.ephemeral, flag::EPHEMERAL) | on(plain, flag::PLAIN);
            (CommandKind::SendMessage, flags)
        }
        Command::Ack { .. } => (CommandKind::Ack, 0),
        Command::GapClosed { .. } => (CommandKind::GapClosed, 0),
        Command::Receipt(_) => (CommandKind::Receipt, 0),
        Command::Typing { active, .. } => (CommandKind::Typing, on(*active, flag::ACTIVE)),
        Command::PresenceSubscribe { .. } => (CommandKind::PresenceSubscribe, 0),
        Command::PresenceUnsubscribe { .. } => (CommandKind::PresenceUnsubscribe, 0),
        Command::ClientState { active } => (CommandKind::ClientState, on(*active, flag::ACTIVE)),
        Command::Ping { .. } => (CommandKind::Ping, 0),
        Command::Pong { .. } => (CommandKind::Pong, 0),
        Command::Bye => (CommandKind::Bye, 0),
    }
}

fn receipt_part(receipt: &Receipt) -> ClientReceiptPart {
    let (id, message_id) = match receipt.message {
        Named::Id(id) => (id.0, [0; 16]),
        Named::MessageId(message_id) => ([0; 16], message_id.0),
    };
    let status = match receipt.status {
        ClientStatus::Delivered => DELIVERED,
        ClientStatus::Read => READ,
    };
    ClientReceiptPart::new(status, id, message_id, receipt.client_timestamp_ms)
}
