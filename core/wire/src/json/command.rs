//! Commands in JSON.

use std::borrow::Cow;

use bytes::BytesMut;

use super::fields::{self, Fields};
use super::writer::ObjectWriter;
use crate::command::{
    ClientStatus, Command, Content, Credential, Hello, Named, Receipt, SendMessage, intent,
};
use crate::error::{DecodeError, Refused};
use crate::frame::CommandKind;
use crate::id::{MessageId, ServerId, UserId};
use crate::limits::{MESSAGE_BYTES_MAX, SUBSCRIBE_USERS_MAX, TICKET_BYTES_MAX, TOKEN_BYTES_MAX};

/// The words of the intents and their bits. Unknown words are ignored.
const INTENTS: [(&str, u32); 2] = [("typing", intent::TYPING), ("presence", intent::PRESENCE)];

/// The command in a text, and its tag (0 = none). Strings are borrowed unless they hold escapes;
/// base64 is decoded into a buffer of its own.
///
/// # Errors
/// The first violation found: in the text, then field by field; with the tag and the message id of
/// the command, wherever they stand in the text.
pub fn decode_command(text: &str) -> Result<(Command<'_>, u16), Refused> {
    let (mut fields, read) = Fields::read_what_can_be(text);
    let tag = fields.tag();
    let message_id = fields.id_or_nil("message_id");
    let decoded = read.and(tag).and_then(|tag| Ok((command(&mut fields, message_id)?, tag)));
    decoded.map_err(|error| Refused {
        error,
        tag: tag.unwrap_or(0),
        message_id: MessageId(message_id.unwrap_or_default()),
    })
}

/// An id that was looked for already, and what was wrong with it.
type MaybeId = Result<[u8; 16], DecodeError>;

fn command<'a>(fields: &mut Fields<'a>, message_id: MaybeId) -> Result<Command<'a>, DecodeError> {
    let name = fields.string("type")?.ok_or(DecodeError::Missing { field: "type" })?;
    let kind = CommandKind::from_name(&name).ok_or(DecodeError::UnknownType)?;
    Ok(match kind {
        CommandKind::Hello => Command::Hello(hello(fields)?),
        CommandKind::Auth => Command::Auth { token: required_token(fields)? },
        CommandKind::SendMessage => Command::SendMessage(send_message(fields, message_id)?),
        CommandKind::Ack => Command::Ack { push: fields.required_count("push")? },
        CommandKind::Receipt => Command::Receipt(receipt(fields, message_id)?),
        CommandKind::Typing => {
            Command::Typing { to: UserId(fields.id("to")?), active: fields.flag("active")? }
        }
        CommandKind::PresenceSubscribe => Command::PresenceSubscribe { users: users(fields)? },
        CommandKind::PresenceUnsubscribe => Command::PresenceUnsubscribe { users: users(fields)? },
        CommandKind::ClientState => Command::ClientState { active: fields.flag("active")? },
        CommandKind::Bye => Command::Bye,
        CommandKind::GapClosed => Command::GapClosed { gap: fields.required_count("gap")? },
        CommandKind::Ping => Command::Ping { nonce: fields.count("nonce")? },
        CommandKind::Pong => Command::Pong { nonce: fields.required_count("nonce")? },
    })
}

/// The message that a command is about.
fn named(message_id: MaybeId) -> Result<MessageId, DecodeError> {
    message_id.and_then(|id| fields::given("message_id", id)).map(MessageId)
}

fn hello<'a>(fields: &mut Fields<'a>) -> Result<Hello<'a>, DecodeError> {
    let too_long = |_| DecodeError::TooLong { field: "ticket", max: TICKET_BYTES_MAX };
    let ticket = fields.bytes("ticket", TICKET_BYTES_MAX, too_long)?;
    let ticket = ticket.filter(|ticket| !ticket.is_empty());
    let credential = match (token(fields)?, ticket) {
        (Some(token), None) => Credential::Token(token),
        (None, Some(ticket)) => Credential::Ticket(Cow::Owned(ticket)),
        (None, None) => Credential::None,
        (Some(_), Some(_)) => {
            return Err(DecodeError::Exclusive { field: "token", other: "ticket" });
        }
    };
    let device = fields.device("device")?;
    let window_pushes = fields.small_count("window_pushes")?;
    let window_bytes = fields.small_count("window_bytes")?;
    let mut intents = 0;
    fields.strings("intents", |word| {
        let known = INTENTS.iter().find(|(name, _)| *name == word);
        intents |= known.map_or(0, |(_, bit)| *bit);
        Ok(())
    })?;
    Ok(Hello { credential, device, window_pushes, window_bytes, intents })
}

/// A token; an empty one is none.
fn token<'a>(fields: &mut Fields<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    let token = fields.string("token")?.filter(|token| !token.is_empty());
    if token.as_ref().is_some_and(|token| token.len() > TOKEN_BYTES_MAX) {
        return Err(DecodeError::TooLong { field: "token", max: TOKEN_BYTES_MAX });
    }
    Ok(token)
}

fn required_token<'a>(fields: &mut Fields<'a>) -> Result<Cow<'a, str>, DecodeError> {
    token(fields)?.ok_or(DecodeError::Missing { field: "token" })
}

fn send_message<'a>(
    fields: &mut Fields<'a>,
    message_id: MaybeId,
) -> Result<SendMessage<'a>, DecodeError> {
    let message_id = named(message_id)?;
    let to = UserId(fields.id("to")?);
    let reply_to = Some(fields.id_or_nil("reply_to")?).filter(|id| *id != [0; 16]);
    let client_timestamp_ms = fields.timestamp_ms()?;
    let ephemeral = fields.flag("ephemeral")?;
    let content = content(fields)?;
    Ok(SendMessage { message_id, to, reply_to, client_timestamp_ms, ephemeral, content })
}

fn content<'a>(fields: &mut Fields<'a>) -> Result<Content<'a>, DecodeError> {
    let too_large =
        |content_bytes| DecodeError::ContentTooLarge { content_bytes, max: MESSAGE_BYTES_MAX };
    let plain = fields.string("content")?;
    let encrypted = fields.bytes("encrypted_content", MESSAGE_BYTES_MAX, too_large)?;
    match (plain, encrypted) {
        (Some(_), Some(_)) => Err(DecodeError::PlaintextBesideCiphertext),
        (None, Some(ciphertext)) if !ciphertext.is_empty() => {
            Ok(Content::Encrypted(Cow::Owned(ciphertext)))
        }
        (Some(text), None) if text.len() > MESSAGE_BYTES_MAX => Err(too_large(text.len())),
        (Some(text), None) if !text.is_empty() => Ok(Content::Plain(text)),
        _ => Err(DecodeError::Missing { field: "encrypted_content" }),
    }
}

fn receipt(fields: &mut Fields<'_>, message_id: MaybeId) -> Result<Receipt, DecodeError> {
    let status = fields.word("status", |word| match word {
        "delivered" => Some(ClientStatus::Delivered),
        "read" => Some(ClientStatus::Read),
        _ => None,
    })?;
    let id = ServerId(fields.id_or_nil("id")?);
    let message = if id.is_nil() { Named::MessageId(named(message_id)?) } else { Named::Id(id) };
    Ok(Receipt { message, status, client_timestamp_ms: fields.timestamp_ms()? })
}

fn users(fields: &mut Fields<'_>) -> Result<Vec<UserId>, DecodeError> {
    let mut users = Vec::new();
    fields.required_strings("users", |text| {
        if users.len() == SUBSCRIBE_USERS_MAX {
            return Err(DecodeError::TooMany { field: "users", max: SUBSCRIBE_USERS_MAX });
        }
        let user = UserId(fields::id("users", text)?);
        if user.is_nil() {
            return Err(DecodeError::Missing { field: "users" });
        }
        users.push(user);
        Ok(())
    })?;
    Ok(users)
}

/// Appends a command to `out`, as a client sends it.
pub fn encode_command(command: &Command<'_>, tag: u16, out: &mut BytesMut) {
    let mut object = ObjectWriter::begin(out, kind(command).name());
    match command {
        Command::Hello(hello) => {
            match &hello.credential {
                Credential::Token(token) => object.string("token", token),
                Credential::Ticket(ticket) => object.bytes("ticket", ticket),
                Credential::None => {}
            }
            object.integer("device", hello.device.number().into());
            object.integer_unless_0("window_pushes", hello.window_pushes.into());
            object.integer_unless_0("window_bytes", hello.window_bytes.into());
            let wanted = INTENTS.iter().filter(|(_, bit)| hello.intents & bit != 0);
            object.words("intents", wanted.map(|(name, _)| *name));
        }
        Command::Auth { token } => object.string("token", token),
        Command::SendMessage(message) => {
            object.id("message_id", message.message_id.0);
            object.id("to", message.to.0);
            match &message.content {
                Content::Encrypted(ciphertext) => object.bytes("encrypted_content", ciphertext),
                Content::Plain(text) => object.string("content", text),
            }
            object.timestamp_ms(message.client_timestamp_ms);
            object.id_unless_nil("reply_to", message.reply_to.unwrap_or_default());
            object.flag_if("ephemeral", message.ephemeral);
        }
        Command::Ack { push } => object.integer("push", *push),
        Command::GapClosed { gap } => object.integer("gap", *gap),
        Command::Receipt(receipt) => {
            match receipt.message {
                Named::Id(id) => object.id("id", id.0),
                Named::MessageId(id) => object.id("message_id", id.0),
            }
            object.string(
                "status",
                match receipt.status {
                    ClientStatus::Delivered => "delivered",
                    ClientStatus::Read => "read",
                },
            );
            object.timestamp_ms(receipt.client_timestamp_ms);
        }
        Command::Typing { to, active } => {
            object.id("to", to.0);
            object.flag("active", *active);
        }
        Command::PresenceSubscribe { users } | Command::PresenceUnsubscribe { users } => {
            object.ids("users", users.iter().map(|user| user.0));
        }
        Command::ClientState { active } => object.flag("active", *active),
        Command::Ping { nonce } | Command::Pong { nonce } => object.integer("nonce", *nonce),
        Command::Bye => {}
    }
    object.finish(tag);
}

const fn kind(command: &Command<'_>) -> CommandKind {
    match command {
        Command::Hello(_) => CommandKind::Hello,
        Command::Auth { .. } => CommandKind::Auth,
        Command::SendMessage(_) => CommandKind::SendMessage,
        Command::Ack { .. } => CommandKind::Ack,
        Command::GapClosed { .. } => CommandKind::GapClosed,
        Command::Receipt(_) => CommandKind::Receipt,
        Command::Typing { .. } => CommandKind::Typing,
        Command::PresenceSubscribe { .. } => CommandKind::PresenceSubscribe,
        Command::PresenceUnsubscribe { .. } => CommandKind::PresenceUnsubscribe,
        Command::ClientState { .. } => CommandKind::ClientState,
        Command::Ping { .. } => CommandKind::Ping,
        Command::Pong { .. } => CommandKind::Pong,
        Command::Bye => CommandKind::Bye,
    }
}
