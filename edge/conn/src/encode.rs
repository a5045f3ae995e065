//! Events as bytes, in what a connection is told things in.

use bytes::BytesMut;
use ringpost_wire::event::Event;
use ringpost_wire::{CloseCode, binary, json};

use crate::connection::Speech;
use crate::outbox::Outbox;
use crate::websocket::{self, Opcode};

/// Appends one event; answers how many bytes of a body were copied as they are. `scratch` is room to
/// encode in: a WebSocket header needs the length first.
///
/// # Panics
/// If the connection has not decided how it speaks.
pub(crate) fn event(
    event: &Event,
    tag: u16,
    speech: Speech,
    outbox: &mut Outbox,
    scratch: &mut BytesMut,
) -> usize {
    scratch.clear();
    match speech {
        Speech::Undecided => unreachable!("nothing is said before the protocol is known"),
        Speech::WebSocketJson => {
            json::encode_event(event, tag, scratch);
            message(Opcode::Text, scratch, outbox);
            0
        }
        Speech::Binary | Speech::WebSocketBinary => {
            let body = match event {
                Event::NewMessage(new) => {
                    binary::encode_event_head(new, tag, scratch);
                    Some(&new.body)
                }
                other => {
                    binary::encode_event(other, tag, scratch);
                    None
                }
            };
            if speech == Speech::WebSocketBinary {
                let bytes = scratch.len() + body.map_or(0, |body| body.len());
                websocket::write_header(Opcode::Binary, bytes, outbox.tail());
            }
            outbox.tail().extend_from_slice(scratch);
            body.map_or(0, |body| outbox.append_body(body))
        }
    }
}

/// Appends the last word: the close frame of WebSocket, or the binary protocol's last `error`.
pub(crate) fn close(code: CloseCode, speech: Speech, outbox: &mut Outbox, scratch: &mut BytesMut) {
    match speech {
        Speech::Undecided => {}
        Speech::Binary => {
            event(&Event::Close { code, retry_after_ms: 0 }, 0, speech, outbox, scratch);
        }
        Speech::WebSocketJson | Speech::WebSocketBinary => {
            websocket::write_close(Some(code.websocket()), code.name(), outbox.tail());
        }
    }
}

fn message(opcode: Opcode, payload: &[u8], outbox: &mut Outbox) {
    websocket::write_message(opcode, payload, outbox.tail());
}
