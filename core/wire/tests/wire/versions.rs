//! Readers and writers of different ages understand each other: an old reader takes a new frame,
//! a new reader an old one, and neither minds what it does not know.

use bytes::BytesMut;
use ringpost_wire::command::Command;
use ringpost_wire::decoder::frames;
use ringpost_wire::event::Event;
use ringpost_wire::fixed::{self, Field};
use ringpost_wire::frame::{CommandKind, EventKind, Header};
use ringpost_wire::limits::{FIXED_BYTES_MAX, PAYLOAD_BYTES_MAX};
use ringpost_wire::{Consequence, DecodeError, ErrorCode, binary, json};

use crate::samples;

/// A frame taken apart: header, fixed part, sections.
struct Parts {
    header: Header,
    fixed: Vec<u8>,
    sections: Vec<u8>,
}

impl Parts {
    fn of(frame: &[u8]) -> Self {
        let frame = frames(frame, PAYLOAD_BYTES_MAX).next().expect("one").expect("whole");
        let fixed_bytes = u16::from_le_bytes([frame.payload[0], frame.payload[1]]);
        let (fixed, sections) = frame.payload.split_at(fixed_bytes.into());
        Self { header: frame.header, fixed: fixed.to_vec(), sections: sections.to_vec() }
    }

    /// The payload, its `fixed_bytes` made true.
    fn payload(&self) -> Vec<u8> {
        let fixed_bytes = u16::try_from(self.fixed.len()).expect("short");
        let mut payload = self.fixed.clone();
        payload[..2].copy_from_slice(&fixed_bytes.to_le_bytes());
        payload.extend_from_slice(&self.sections);
        payload
    }

    fn as_command(&self) -> Result<String, DecodeError> {
        binary::decode_command(self.header.kind, self.header.flags, &self.payload())
            .map(|command| format!("{command:?}"))
    }

    fn as_event(&self) -> Result<String, DecodeError> {
        binary::decode_event(self.header.kind, self.header.flags, &self.payload())
            .map(|event| format!("{event:?}"))
    }
}

type Read = fn(&Parts) -> Result<String, DecodeError>;

fn all() -> Vec<(Parts, &'static [Field], Read, String)> {
    let mut all = Vec::new();
    for (_, command, tag) in samples::commands() {
        let mut out = BytesMut::new();
        binary::encode_command(&command, tag, &mut out);
        let parts = Parts::of(&out);
        let kind = CommandKind::from_number(parts.header.kind).expect("known");
        let read: Read = Parts::as_command;
        all.push((parts, fixed::command_fields(kind), read, format!("{command:?}")));
    }
    for (_, event, tag) in samples::events() {
        let mut out = BytesMut::new();
        binary::encode_event(&event, tag, &mut out);
        let parts = Parts::of(&out);
        let kind = EventKind::from_number(parts.header.kind).expect("known");
        let read: Read = Parts::as_event;
        all.push((parts, fixed::event_fields(kind), read, format!("{event:?}")));
    }
    all
}

#[test]
fn an_old_reader_takes_a_new_frame_with_more_fields_sections_and_flags() {
    for (mut parts, _, read, expected) in all() {
        parts.fixed.resize(FIXED_BYTES_MAX, 0xaa);
        if parts.sections.is_empty() {
            // A kind that had no section may get one.
            parts.sections.extend_from_slice(&[2, 0, 0, 0, 1, 2]);
        }
        parts.sections.extend_from_slice(&[3, 0, 0, 0, 0xbb, 0xbb, 0xbb]);
        parts.header.flags |= 0xfc;
        assert_eq!(read(&parts), Ok(expected));
    }
}

#[test]
fn a_new_reader_takes_an_old_frame_as_if_the_fields_it_lacks_were_zero() {
    for (parts, fields, read, _) in all() {
        for field in &fields[1..] {
            let short = Parts {
                header: parts.header,
                fixed: parts.fixed[..field.offset].to_vec(),
                sections: parts.sections.clone(),
            };
            let mut zeros = Parts {
                header: parts.header,
                fixed: parts.fixed.clone(),
                sections: parts.sections.clone(),
            };
            zeros.fixed[field.offset..].fill(0);
            assert_eq!(read(&short), read(&zeros), "without {} and what follows", field.name);
        }
    }
}

#[test]
fn a_record_cut_inside_a_field_reads_the_bytes_that_are_there() {
    let mut out = BytesMut::new();
    binary::encode_command(&Command::Ack { push: 0x0102 }, 0, &mut out);
    let mut parts = Parts::of(&out);
    parts.fixed.truncate(4);
    assert_eq!(parts.as_command(), Ok(format!("{:?}", Command::Ack { push: 0x0102 })));
}

#[test]
fn a_missing_trailing_section_reads_as_an_empty_one() {
    for (mut parts, _, read, _) in all() {
        parts.sections.clear();
        let missing = read(&parts);
        parts.sections = vec![0, 0, 0, 0];
        assert_eq!(missing, read(&parts));
    }
}

#[test]
fn a_fixed_part_over_the_limit_is_refused_of_every_kind() {
    for (mut parts, _, read, _) in all() {
        parts.fixed.resize(FIXED_BYTES_MAX + 1, 0);
        let error = read(&parts).expect_err("too long");
        assert!(matches!(error, DecodeError::FixedLength { fixed_bytes: 257, .. }), "{error}");
    }
}

#[test]
fn a_section_that_is_not_whole_is_refused_of_every_kind_also_where_nobody_asks_for_it() {
    let whole: [&[u8]; 3] = [&[], &[0; 4], &[2, 0, 0, 0, 1, 2]];
    let torn: [&[u8]; 5] =
        [&[0], &[0; 3], &[1, 0, 0, 0], &[5, 0, 0, 0, 1, 2, 3, 4], &[0xff, 0xff, 0xff, 0xff]];
    for (parts, _, read, expected) in all() {
        for whole in whole {
            let mut sections = parts.sections.clone();
            if sections.is_empty() {
                sections.extend_from_slice(&[0; 4]);
            }
            sections.extend_from_slice(whole);
            let longer = Parts { sections: sections.clone(), fixed: parts.fixed.clone(), ..parts };
            assert_eq!(read(&longer).as_ref(), Ok(&expected));
            for torn in torn {
                let sections = [&sections[..], torn].concat();
                let torn = Parts { sections, fixed: parts.fixed.clone(), ..parts };
                let error = read(&torn).expect_err("not whole");
                assert!(matches!(error, DecodeError::SectionTruncated { .. }), "{error}");
                assert_eq!(error.consequence(), Consequence::Refuse(ErrorCode::Malformed));
            }
        }
    }
}

#[test]
fn an_empty_payload_is_a_record_of_zeros() {
    assert_eq!(binary::decode_command(0x7e, 0, &[]), Ok(Command::Ping { nonce: 0 }));
    assert_eq!(binary::decode_command(0x0a, 0, &[]), Ok(Command::Bye));
    let missing = DecodeError::Missing { field: "message_id" };
    assert_eq!(binary::decode_command(0x03, 0, &[]), Err(missing));
    assert_eq!(binary::decode_event(0x49, 0, &[]), Ok(Event::QueueEmpty { gap: None }));
}

#[test]
fn an_unknown_kind_is_refused_by_number_and_the_connection_lives() {
    for kind in 0..=u8::MAX {
        if CommandKind::from_number(kind).is_none() {
            let error = binary::decode_command(kind, 0, &[]).expect_err("not a command");
            assert_eq!(error, DecodeError::UnknownKind { kind });
            assert_eq!(error.consequence(), Consequence::Refuse(ErrorCode::UnknownKind));
        }
        if EventKind::from_number(kind).is_none() {
            let error = binary::decode_event(kind, 0, &[]).expect_err("not an event");
            assert_eq!(error, DecodeError::UnknownKind { kind });
        }
    }
    let refused = json::decode_command(r#"{"type":"teleport"}"#).expect_err("not a command");
    assert_eq!(refused.error.consequence(), Consequence::Refuse(ErrorCode::UnknownKind));
}

#[test]
fn a_direction_has_no_kinds_of_the_other() {
    for kind in CommandKind::ALL {
        let both = matches!(kind, CommandKind::Ping | CommandKind::Pong);
        assert_eq!(EventKind::from_number(kind.number()).is_some(), both, "{kind:?}");
        assert_eq!(CommandKind::from_name(kind.name()), Some(*kind));
        assert!(kind.number() < 0x80);
    }
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_name(kind.name()), Some(*kind));
        assert!(kind.number() < 0x80);
    }
}

#[test]
fn unknown_json_fields_are_ignored_whatever_they_hold() {
    for (_, command, tag) in samples::commands() {
        let mut out = BytesMut::new();
        json::encode_command(&command, tag, &mut out);
        let known = std::str::from_utf8(&out).expect("UTF-8");
        for unknown in ["1", "-0.5e3", "null", "\"\"", "[[],{\"a\":[1]}]", "{\"type\":{}}"] {
            let before = known.replacen('{', &format!("{{\"new\": {unknown} ,"), 1);
            let after = format!("{},\"new\":{unknown}}}", &known[..known.len() - 1]);
            for text in [before, after] {
                assert_eq!(json::decode_command(&text), Ok((command.clone(), tag)), "{text}");
            }
        }
    }
}
