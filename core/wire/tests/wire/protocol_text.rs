//! PROTOCOL.md says what the code does: kinds, offsets, codes, limits and every example are
//! compared with it.
//!
//! The blocks ```` ```hex command: NAME ```` and ```` ```json event: NAME ```` are printed from
//! the samples. `UPDATE_PROTOCOL=1 cargo test -p ringpost-wire --test wire protocol` writes them
//! anew; what they say is then to be read before it is committed.

use std::fmt::Write;
use std::path::PathBuf;

use bytes::BytesMut;
use ringpost_wire::fixed::{self, Field};
use ringpost_wire::frame::{CommandKind, EventKind, Header, PREAMBLE};
use ringpost_wire::{CloseCode, CloseReason, ErrorCode, binary, json, limits};

use crate::samples;

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "PROTOCOL.md"].iter().collect()
}

pub(crate) fn text() -> String {
    std::fs::read_to_string(path()).expect("PROTOCOL.md is beside the crate")
}

/// The text under a heading, up to the next heading of any level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
    let body = &text[start + heading.len() + 2..];
    let end = body.find("\n#").unwrap_or(body.len());
    &body[..end]
}

/// The cells of the rows of all tables in `text`, without heads.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|--"))
        .map(|line| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
        })
        .collect()
}

/// Name of each field in the table under a heading, and what its column for JSON says.
pub(crate) fn json_remarks(heading: &str) -> Vec<(String, String)> {
    rows(section(&text(), heading))
        .iter()
        .filter(|row| row[0].parse::<usize>().is_ok())
        .map(|row| (row[2].to_owned(), row[3].to_owned()))
        .collect()
}

/// All blocks that are printed from samples: info string and content.
fn expected_blocks() -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    for (name, command, tag) in samples::commands() {
        let (mut frame, mut text) = (BytesMut::new(), BytesMut::new());
        binary::encode_command(&command, tag, &mut frame);
        json::encode_command(&command, tag, &mut text);
        let kind = CommandKind::from_number(frame[4]).expect("known");
        blocks.push((format!("hex command: {name}"), dump(&frame, fixed::command_fields(kind))));
        blocks.push((format!("json command: {name}"), laid_out(&text)));
    }
    for (name, event, tag) in samples::events() {
        let (mut frame, mut text) = (BytesMut::new(), BytesMut::new());
        binary::encode_event(&event, tag, &mut frame);
        json::encode_event(&event, tag, &mut text);
        let kind = EventKind::from_number(frame[4]).expect("known");
        blocks.push((format!("hex event: {name}"), dump(&frame, fixed::event_fields(kind))));
        blocks.push((format!("json event: {name}"), laid_out(&text)));
    }
    blocks
}

/// A frame as hex, a line for the header, each field and each section.
fn dump(frame: &[u8], fields: &[Field]) -> String {
    let header = Header::from_bytes(*frame.first_chunk().expect("a header"));
    let mut out = String::new();
    let note = format!(
        "payload {}, kind {:#04x}, flags {:#04x}, tag {}",
        header.payload_bytes, header.kind, header.flags, header.tag
    );
    line(&mut out, &frame[..8], &note);
    let payload = &frame[8..];
    let fixed_bytes = usize::from(u16::from_le_bytes([payload[0], payload[1]]));
    for (index, field) in fields.iter().enumerate() {
        let end = fields.get(index + 1).map_or(fixed_bytes, |next| next.offset);
        let bytes = &payload[field.offset..end];
        let mut number = [0; 8];
        let note = if field.type_name == "id" {
            field.name.to_owned()
        } else {
            number[..bytes.len()].copy_from_slice(bytes);
            format!("{} = {}", field.name, u64::from_le_bytes(number))
        };
        line(&mut out, bytes, &note);
    }
    let mut rest = &payload[fixed_bytes..];
    while let Some((length, behind)) = rest.split_first_chunk() {
        let bytes = u32::from_le_bytes(*length) as usize;
        line(&mut out, length, &format!("section of {bytes}"));
        for chunk in behind[..bytes].chunks(16) {
            let shown: String = chunk
                .iter()
                .map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' })
                .collect();
            line(&mut out, chunk, &shown);
        }
        rest = &behind[bytes..];
    }
    out
}

fn line(out: &mut String, bytes: &[u8], note: &str) {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(out, "{:<48} {note}", hex.join(" ")).expect("to a string");
}

/// One JSON object, on a line if it is short, else a line for each field.
fn laid_out(json: &[u8]) -> String {
    let json = std::str::from_utf8(json).expect("UTF-8");
    if json.len() <= 96 {
        return format!("{json}\n");
    }
    let mut out = String::new();
    let (mut in_string, mut escaped, mut depth) = (false, false, 0);
    for char in json.chars() {
        if char == '}' && depth == 1 && !in_string {
            out.push('\n');
        }
        out.push(char);
        match char {
            _ if in_string => {
                in_string = escaped || char != '"';
                escaped = char == '\\' && !escaped;
            }
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        if !in_string && depth == 1 && matches!(char, '{' | ',') {
            out.push_str("\n  ");
        }
    }
    out + "\n"
}

#[test]
fn every_example_is_what_the_code_prints() {
    let mut protocol = text();
    let update = std::env::var_os("UPDATE_PROTOCOL").is_some();
    let blocks = expected_blocks();
    for (info, expected) in &blocks {
        let fence = format!("\n```{info}\n");
        assert_eq!(protocol.matches(&fence).count(), 1, "block {info:?}, expected:\n{expected}");
        let start = protocol.find(&fence).expect("just counted") + fence.len();
        let length = protocol[start..].find("```").expect("a closed block");
        if update {
            protocol.replace_range(start..start + length, expected);
        }
        let found = &protocol[start..][..if update { expected.len() } else { length }];
        assert_eq!(found, expected, "block {info:?}; UPDATE_PROTOCOL=1 writes it anew");
    }
    let sampled = ["hex command: ", "hex event: ", "json command: ", "json event: "];
    let found: usize =
        sampled.iter().map(|kind| protocol.matches(&format!("\n```{kind}")).count()).sum();
    assert_eq!(found, blocks.len(), "every block is printed from a sample");
    if update {
        std::fs::write(path(), protocol).expect("PROTOCOL.md can be written");
    }
}

#[test]
fn every_kind_has_its_number_its_offsets_and_an_example() {
    let protocol = text();
    let commands = samples::commands();
    for kind in CommandKind::ALL {
        let heading = format!("### Command `{}` ({:#04x})", kind.name(), kind.number());
        check_fields(section(&protocol, &heading), &heading, fixed::command_fields(*kind));
        assert!(commands.iter().any(|(name, ..)| *name == kind.name()), "{heading}");
    }
    let events = samples::events();
    for kind in EventKind::ALL {
        let heading = format!("### Event `{}` ({:#04x})", kind.name(), kind.number());
        check_fields(section(&protocol, &heading), &heading, fixed::event_fields(*kind));
        assert!(events.iter().any(|(name, ..)| *name == kind.name()), "{heading}");
    }
    let headings =
        protocol.matches("\n### Command `").count() + protocol.matches("\n### Event `").count();
    assert_eq!(headings, CommandKind::ALL.len() + EventKind::ALL.len());
}

/// The table of a kind lists offset, type and name of every field but `fixed_bytes`, which all
/// have.
fn check_fields(section: &str, heading: &str, fields: &[Field]) {
    let found: Vec<_> = rows(section)
        .iter()
        .filter(|row| row[0].parse::<usize>().is_ok())
        .map(|row| (row[0].to_owned(), row[1].to_owned(), row[2].to_owned()))
        .collect();
    let expected: Vec<_> = fields[1..]
        .iter()
        .map(|field| (field.offset.to_string(), field.type_name.to_owned(), field.name.to_owned()))
        .collect();
    assert_eq!(found, expected, "{heading}");
}

#[test]
fn every_code_stands_with_its_name_and_what_a_client_must_do() {
    let protocol = text();
    let found: Vec<_> = rows(section(&protocol, "### Error codes: the connection goes on"))
        .into_iter()
        .filter(|row| row[0].parse::<u16>().is_ok())
        .map(|row| (row[0].to_owned(), row[1].to_owned(), row[2].to_owned()))
        .collect();
    let expected: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| (code.number().to_string(), code.name().into(), code.advice().word().into()))
        .collect();
    assert_eq!(found, expected);

    let found: Vec<_> = rows(section(&protocol, "### Close codes: the connection ends"))
        .into_iter()
        .filter(|row| row[0].parse::<u16>().is_ok())
        .map(|row| (row[0].to_owned(), row[1].to_owned(), row[2].to_owned()))
        .collect();
    let expected: Vec<_> = CloseCode::ALL
        .iter()
        .map(|code| (code.number().to_string(), code.name().into(), code.advice().word().into()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_reason_of_the_last_word_stands_with_its_code() {
    let protocol = text();
    let found: Vec<_> = rows(section(&protocol, "### Why a connection ended"))
        .into_iter()
        .filter(|row| row[0].parse::<u16>().is_ok())
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let expected: Vec<_> = CloseReason::ALL
        .iter()
        .map(|reason| (reason.code().number().to_string(), reason.text().to_owned()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_limit_stands_with_its_value() {
    let protocol = text();
    let found = rows(section(&protocol, "## 11. Limits"));
    let expected = [
        ("content of a message", limits::MESSAGE_BYTES_MAX as u64),
        ("frame, header included", limits::FRAME_BYTES_MAX as u64),
        ("fixed part", limits::FIXED_BYTES_MAX as u64),
        ("JSON text", limits::JSON_TEXT_BYTES_MAX as u64),
        ("payload or text before welcome", limits::HELLO_BYTES_MAX as u64),
        ("nesting of a JSON text", limits::JSON_DEPTH_MAX as u64),
        ("keys in one JSON object", limits::JSON_KEYS_MAX as u64),
        ("integer in JSON", limits::JSON_INTEGER_MAX),
        ("timestamp, ms", limits::TIMESTAMP_MS_MAX),
        ("access token", limits::TOKEN_BYTES_MAX as u64),
        ("resume ticket", limits::TICKET_BYTES_MAX as u64),
        ("users in one subscription", limits::SUBSCRIBE_USERS_MAX as u64),
        ("window, pushes, default", limits::WINDOW_PUSHES_DEFAULT.into()),
        ("window, pushes", limits::WINDOW_PUSHES_MAX.into()),
        ("window, bytes, default", limits::WINDOW_BYTES_DEFAULT.into()),
        ("window, bytes", limits::WINDOW_BYTES_MAX.into()),
    ];
    for (name, value) in expected {
        let row = found.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name:?}"));
        assert_eq!(row[1].replace(',', ""), value.to_string(), "{name}");
    }
    assert_eq!(found.len(), expected.len() + 1, "no row but the head and these");
}

#[test]
fn every_rate_stands_with_its_value() {
    let protocol = text();
    let found = rows(section(&protocol, "### Rates"));
    let expected = [
        ("input of one user, in a second", limits::INPUT_BYTES_PER_SECOND),
        ("input of one user, at once", limits::INPUT_BURST_BYTES),
        ("input of one address before welcome, in a second", limits::INPUT_BYTES_PER_SECOND),
        ("input of one address before welcome, at once", limits::INPUT_BURST_BYTES),
        (
            "cost of a frame, and of a piece of input, beside its bytes",
            limits::INPUT_COST_BYTES.into(),
        ),
        ("cost of a token, in `hello` or `auth`, beside that", limits::TOKEN_COST_BYTES.into()),
        ("frame of an ack, receipt or pong that costs nothing", limits::ANSWER_BYTES_FREE.into()),
        ("input behind the last word", limits::DISCARDED_BYTES_MAX as u64),
        ("durable messages of one user, in a second", limits::SENDS_PER_SECOND.into()),
        ("durable messages of one user, at once", limits::SENDS_BURST.into()),
        ("content of them, in a second", limits::SENT_BYTES_PER_SECOND.into()),
        ("content of them, at once", limits::SENT_BURST_BYTES.into()),
    ];
    for (name, value) in expected {
        let row = found.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name:?}"));
        assert_eq!(row[1].replace(',', ""), value.to_string(), "{name}");
    }
    assert_eq!(found.len(), expected.len() + 1, "no row but the head and these");
}

#[test]
fn the_preamble_and_the_subprotocols_stand() {
    let protocol = text();
    let preamble: Vec<String> = PREAMBLE.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(protocol.contains(&format!("`{}`", preamble.join(" "))));
    assert!(protocol.contains("`ringpost.v1.json`") && protocol.contains("`ringpost.v1.bin`"));
}
