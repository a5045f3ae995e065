//! Events as bytes, in what a connection is told things in.

use std::borrow::Cow;

use bytes::BytesMut;
use ringpost_wire::event::{Event, NewMessage};
use ringpost_wire::{CloseReason, binary, json};

use crate::connection::Speech;
use crate::outbox::Outbox;
use crate::websocket::{self, Opcode};

/// What a connection is told.
#[derive(Clone, Copy)]
pub(crate) enum Said<'a> {
    /// An event, which owns its body or shares it.
    Event(&'a Event),
    /// A message whose body is still where it arrived.
    Lent(&'a NewMessage<Cow<'a, [u8]>>),
}

/// Appends what is said; answers how many bytes of a body were copied as they are. `scratch` is room
/// to encode in: a WebSocket header needs the length first.
///
/// # Panics
/// If the connection has not decided how it speaks.
pub(crate) fn said(
    said: Said<'_>,
    tag: u16,
    speech: Speech,
    outbox: &mut Outbox,
    scratch: &mut BytesMut,
) -> usize {
    scratch.clear();
    if speech == Speech::WebSocketJson {
        match said {
            Said::Event(event) => json::encode_event(event, tag, scratch),
            Said::Lent(message) => json::encode_message(message, tag, scratch),
        }
        websocket::write_message(Opcode::Text, scratch, outbox.tail());
        return 0;
    }
    match said {
        Said::Event(Event::NewMessage(message)) => {
            head(message, tag, speech, outbox, scratch);
            outbox.append_body(&message.body)
        }
        Said::Event(event) => {
            binary::encode_event(event, tag, scratch);
            frame(0, speech, outbox, scratch);
            0
        }
        Said::Lent(message) => {
            head(message, tag, speech, outbox, scratch);
            outbox.tail().extend_from_slice(&message.body);
            message.body.len()
        }
    }
}

/// Appends a message but for its body.
fn head<B: AsRef<[u8]>>(
    message: &NewMessage<B>,
    tag: u16,
    speech: Speech,
    outbox: &mut Outbox,
    scratch: &mut BytesMut,
) {
    binary::encode_event_head(message, tag, scratch);
    frame(message.body.as_ref().len(), speech, outbox, scratch);
}

/// Appends a frame, or the part of it that `body_bytes` are to follow.
fn frame(body_bytes: usize, speech: Speech, outbox: &mut Outbox, frame: &[u8]) {
    match speech {
        Speech::Binary => {}
        Speech::WebSocketBinary => {
            websocket::write_header(Opcode::Binary, frame.len() + body_bytes, outbox.tail());
        }
        Speech::Undecided | Speech::WebSocketJson => unreachable!("this speech has no frames"),
    }
    outbox.tail().extend_from_slice(frame);
}

/// Appends the last word: the close frame of WebSocket, or the binary protocol's last `error`.
pub(crate) fn close(
    reason: CloseReason,
    speech: Speech,
    outbox: &mut Outbox,
    scratch: &mut BytesMut,
) {
    match speech {
        Speech::Undecided => {}
        Speech::Binary => {
            said(Said::Event(&reason.event()), 0, speech, outbox, scratch);
        }
        Speech::WebSocketJson | Speech::WebSocketBinary => {
            let code = reason.code().websocket();
            websocket::write_close(Some(code), reason.text(), outbox.tail());
        }
    }
}
