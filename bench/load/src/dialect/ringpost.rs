//! ringpost's binary protocol, plain (ephemeral) or full (durable `sent`, push, ack, receipt).

use std::borrow::Cow;
use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use ringpost_wire::binary::{decode_event, encode_command};
use ringpost_wire::command::{Content, Credential, Hello, SendMessage};
use ringpost_wire::event::Status;
use ringpost_wire::frame::PREAMBLE;
use ringpost_wire::limits::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use ringpost_wire::{Command, DeviceId, Event, MessageId, UserId};
use uuid::Uuid;

use super::{Dialect, Inbound, Parsed};

/// Unacked pushes that a client asks for: more than any scenario has outstanding.
const WINDOW_PUSHES: u32 = 1024;
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Which form of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Ephemeral: what peers without storage promise.
    Plain,
    /// Durable.
    Full,
}

enum Proof {
    Token(String),
    Ticket(Bytes),
}

/// ringpost's clients.
pub(crate) struct Ringpost {
    form: Form,
    seed: u64,
    /// By user. A token is needed once; what is known after it is the ticket, if tickets are kept.
    proofs: RefCell<Vec<Option<Proof>>>,
    keep_tickets: bool,
}

impl Ringpost {
    /// Clients of which none can sign in yet.
    pub(crate) fn new(form: Form, seed: u64, keep_tickets: bool) -> Self {
        Self { form, seed, proofs: RefCell::default(), keep_tickets }
    }

    /// The id of a user: the same in each call, spread evenly over the id space.
    pub(crate) fn user_id(&self, user: u32) -> UserId {
        let number = (u128::from(self.seed) << 64 | u128::from(user))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            .to_le_bytes();
        UserId::from(uuid::Builder::from_random_bytes(number).into_uuid())
    }

    /// The token that `user` signs in with.
    pub(crate) fn admit(&self, user: u32, token: String) {
        let mut proofs = self.proofs.borrow_mut();
        let position = user as usize;
        if proofs.len() <= position {
            proofs.resize_with(position + 1, || None);
        }
        proofs[position] = Some(Proof::Token(token));
    }

    fn welcome(&self, user: u32, ticket: Bytes) {
        if let Some(proof) = self.proofs.borrow_mut().get_mut(user as usize) {
            *proof = self.keep_tickets.then_some(Proof::Ticket(ticket));
        }
    }
}

impl Dialect for Ringpost {
    fn greet(&self, user: u32, _stage: u8, out: &mut BytesMut) {
        out.extend_from_slice(&PREAMBLE);
        let proofs = self.proofs.borrow();
        let credential = match proofs.get(user as usize) {
            Some(Some(Proof::Token(token))) => Credential::Token(Cow::Borrowed(token)),
            Some(Some(Proof::Ticket(ticket))) => Credential::Ticket(Cow::Borrowed(ticket)),
            _ => Credential::Token(Cow::Borrowed("none")),
        };
        let hello = Hello {
            credential,
            device: device(),
            window_pushes: WINDOW_PUSHES,
            window_bytes: WINDOW_BYTES,
            intents: 0,
        };
        encode_command(&Command::Hello(hello), 0, out);
    }

    fn parse<'a>(
        &self,
        user: u32,
        _stage: u8,
        input: &'a [u8],
        out: &mut BytesMut,
    ) -> Result<Parsed<'a>, String> {
        let Some(header) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = ringpost_wire::frame::Header::from_bytes(*header);
        let bytes = header.payload_bytes as usize;
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(format!("a frame of {bytes} bytes"));
        }
        let Some(payload) = input.get(HEADER_BYTES..HEADER_BYTES + bytes) else { return Ok(None) };
        let event = decode_event(header.kind, header.flags, payload)
            .map_err(|error| format!("a frame that cannot be read: {error}"))?;
        let inbound = match event {
            Event::Welcome(welcome) => {
                self.welcome(user, welcome.ticket);
                Inbound::Nothing
            }
            Event::QueueEmpty { gap: None } => Inbound::Ready,
            Event::NewMessage(message) => {
                // The content is the last section of the frame.
                let content = &payload[payload.len() - message.body.len()..];
                Inbound::Message { content: content.into(), ack: message.push }
            }
            Event::Receipt(receipt) if receipt.status == Status::Sent => Inbound::Accepted,
            Event::Receipt(receipt) => Inbound::Delivered { ack: receipt.push },
            Event::Ping { nonce } => {
                encode_command(&Command::Pong { nonce }, 0, out);
                Inbound::Nothing
            }
            Event::Pong { .. } => Inbound::Pong,
            other => Inbound::Refused(format!("{other:?}")),
        };
        Ok(Some((HEADER_BYTES + bytes, inbound)))
    }

    fn message(&self, _from: u32, to: u32, content: &[u8], out: &mut BytesMut) {
        let message = SendMessage {
            message_id: MessageId::from(Uuid::now_v7()),
            to: self.user_id(to),
            reply_to: None,
            client_timestamp_ms: 0,
            ephemeral: self.form == Form::Plain,
            content: Content::Encrypted(Cow::Borrowed(content)),
        };
        encode_command(&Command::SendMessage(message), 0, out);
    }

    fn acknowledge(&self, ack: u64, out: &mut BytesMut) {
        encode_command(&Command::Ack { push: ack }, 0, out);
    }

    fn ping(&self, out: &mut BytesMut) {
        encode_command(&Command::Ping { nonce: 1 }, 0, out);
    }
}

/// Every user of a run has this one device.
pub(crate) fn device() -> DeviceId {
    DeviceId::new(1).expect("1 is a device number")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Form, Ringpost};

    #[test]
    fn users_have_ids_of_their_own() {
        let dialect = Ringpost::new(Form::Plain, 7, false);
        let ids = (0..10_000).map(|user| dialect.user_id(user)).collect::<HashSet<_>>();
        assert_eq!(ids.len(), 10_000);
    }
}
