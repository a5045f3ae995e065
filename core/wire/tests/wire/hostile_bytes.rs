//! Whatever bytes arrive: no panic, a violation with a consequence or a command that means the
//! same when it is written again, and never more memory than the limits allow.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use ringpost_wire::decoder::{FrameDecoder, frames};
use ringpost_wire::limits::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use ringpost_wire::{DecodeError, Event, MessageId, binary, json};

use crate::samples;

/// Decodes as the server does; what is a command must survive a round trip.
fn command(kind: u8, flags: u8, payload: &[u8]) {
    binary::message_id_of(kind, payload);
    match binary::decode_command(kind, flags, payload) {
        Ok(command) => {
            let mut out = BytesMut::new();
            binary::encode_command(&command, 0, &mut out);
            let frame = frames(&out, PAYLOAD_BYTES_MAX).next().expect("one").expect("whole");
            let again =
                binary::decode_command(frame.header.kind, frame.header.flags, frame.payload);
            assert_eq!(again, Ok(command));
        }
        Err(error) => check_answer(&error),
    }
}

fn text(text: &str) {
    match json::decode_command(text) {
        Ok((command, tag)) => {
            let mut out = BytesMut::new();
            json::encode_command(&command, tag, &mut out);
            let again = std::str::from_utf8(&out).expect("UTF-8");
            assert_eq!(json::decode_command(again), Ok((command, tag)));
        }
        Err(refused) => check_answer(&refused.error),
    }
}

/// An answer exists, is small, and can be written in both encodings.
fn check_answer(error: &DecodeError) {
    let event = error.answer(MessageId::default());
    assert!(matches!(event, Event::Error(_) | Event::Close { .. }));
    assert!(error.to_string().len() <= 100, "a developer reads it on a line: {error}");
    let mut out = BytesMut::new();
    binary::encode_event(&event, 1, &mut out);
    json::encode_event(&event, 1, &mut out);
    assert!(out.len() < 512, "a refusal amplifies nothing");
}

#[test]
fn every_sample_cut_at_every_byte_and_with_every_byte_changed() {
    for (_, sample, _) in samples::commands() {
        let mut out = BytesMut::new();
        binary::encode_command(&sample, 0, &mut out);
        let (kind, flags) = (out[4], out[5]);
        let payload = &out[HEADER_BYTES..];
        for at in 0..payload.len() {
            command(kind, flags, &payload[..at]);
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = payload.to_vec();
                changed[at] = value;
                command(kind, flags, &changed);
            }
        }
        let mut out = BytesMut::new();
        json::encode_command(&sample, 3, &mut out);
        for at in 0..out.len() {
            text(std::str::from_utf8(&out[..at]).expect("ASCII"));
            for value in b"\"\\{}[],:0e.-u\0\n " {
                let mut changed = out.to_vec();
                changed[at] = *value;
                text(std::str::from_utf8(&changed).expect("ASCII"));
            }
        }
    }
    for (_, sample, _) in samples::events() {
        let mut out = BytesMut::new();
        binary::encode_event(&sample, 0, &mut out);
        for at in HEADER_BYTES..out.len() {
            // A client may be lied to as well.
            let _outcome = binary::decode_event(out[4], out[5], &out[HEADER_BYTES..at]);
            let mut changed = out.to_vec();
            changed[at] ^= 0xff;
            let _outcome = binary::decode_event(out[4], out[5], &changed[HEADER_BYTES..]);
        }
    }
}

proptest! {
    #[test]
    fn any_payload_of_any_kind(kind: u8, flags: u8, payload in vec(any::<u8>(), 0..300)) {
        command(kind, flags, &payload);
        let _outcome = binary::decode_event(kind, flags, &payload);
    }

    #[test]
    fn a_plausible_payload_of_any_kind(
        kind in 0..0x80_u8,
        flags: u8,
        fixed in 0..120_u16,
        rest in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..300),
    ) {
        let mut payload = fixed.to_le_bytes().to_vec();
        payload.extend_from_slice(&rest);
        command(kind, flags, &payload);
        let _outcome = binary::decode_event(kind, flags, &payload);
    }

    #[test]
    fn any_stream_in_any_pieces(pieces in vec(vec(prop_oneof![Just(0), any::<u8>()], 0..600), 0..20)) {
        let mut decoder = FrameDecoder::default();
        'stream: for piece in &pieces {
            let mut input = &piece[..];
            loop {
                let step = match decoder.decode(input, PAYLOAD_BYTES_MAX) {
                    Ok(step) => step,
                    Err(error) => {
                        let too_big = matches!(error, DecodeError::FrameTooBig { .. });
                        prop_assert!(too_big);
                        break 'stream;
                    }
                };
                input = &input[step.consumed..];
                let Some(frame) = step.frame else { break };
                command(frame.header.kind, frame.header.flags, frame.payload);
            }
            prop_assert!(decoder.assembly_bytes() <= PAYLOAD_BYTES_MAX + 64);
        }
    }

    #[test]
    fn any_text(bytes in ".{0,200}") {
        text(&bytes);
    }

    #[test]
    fn any_text_in_the_shape_of_a_command(
        kind in "(hello|auth|send_message|ack|receipt|typing|presence_subscribe|client_state|bye|ping|x)",
        fields in vec(("(token|ticket|device|message_id|id|to|content|encrypted_content|timestamp|timestamp_ms|reply_to|push|status|users|active|nonce|tag|intents)",
            r#"([0-9]{1,20}|-1|1\.5|1e400|null|true|"[ -!#-\[\]-~]{0,12}"|"0186550c-6c78-70a1-8000-000000000011"|"3q2+7yo="|\[\]|\["a"\]|\{\}|"\\u0000"|"delivered")"#), 0..8),
    ) {
        let mut json = format!(r#"{{"type":"{kind}""#);
        for (name, value) in fields {
            json.push_str(&format!(r#","{name}":{value}"#));
        }
        json.push('}');
        text(&json);
    }
}
