//! Every field of every command: what is not there, of another type or out of range is named by the
//! refusal, which keeps the names of the command. In both encodings, and as the tables of the
//! specification say.

use bytes::BytesMut;
use ringpost_wire::frame::CommandKind;
use ringpost_wire::limits::{FIXED_BYTES_MAX, HEADER_BYTES, JSON_INTEGER_MAX};
use ringpost_wire::{Consequence, ErrorCode, MessageId, binary, json};
use serde_json::{Map, Value};

use crate::protocol_text;
use crate::samples;

/// What a field of JSON holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    /// An integer from `min` to `max`.
    Integer { min: u64, max: u64 },
    /// A UUID.
    Id,
    /// A word of a closed set.
    Word,
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// Base64.
    Bytes,
    /// An array of any words.
    Words,
    /// An array of UUIDs.
    Ids,
}

use Holds::{Bytes, Flag, Id, Ids, Text, Word, Words};

const U32: Holds = Holds::Integer { min: 0, max: u32::MAX as u64 };
const U53: Holds = Holds::Integer { min: 0, max: JSON_INTEGER_MAX };
const SECONDS: Holds = Holds::Integer { min: 0, max: JSON_INTEGER_MAX / 1000 };
const DEVICE: Holds = Holds::Integer { min: 1, max: 127 };

/// A field: its name, what it holds, and whether its command is none without it.
type Field = (&'static str, Holds, bool);

const NEEDED: bool = true;
const OPTIONAL: bool = false;

/// The fields of a kind, beside `type` and `tag`. `hello` without token and ticket is a command: it
/// is answered with a close.
fn fields_of(kind: CommandKind) -> &'static [Field] {
    match kind {
        CommandKind::Hello => &[
            ("token", Text, OPTIONAL),
            ("ticket", Bytes, OPTIONAL),
            ("device", DEVICE, NEEDED),
            ("window_pushes", U32, OPTIONAL),
            ("window_bytes", U32, OPTIONAL),
            ("intents", Words, OPTIONAL),
        ],
        CommandKind::Auth => &[("token", Text, NEEDED)],
        CommandKind::SendMessage => &[
            ("message_id", Id, NEEDED),
            ("to", Id, NEEDED),
            ("encrypted_content", Bytes, NEEDED),
            ("content", Text, OPTIONAL),
            ("reply_to", Id, OPTIONAL),
            ("timestamp", SECONDS, OPTIONAL),
            ("timestamp_ms", U53, OPTIONAL),
            ("ephemeral", Flag, OPTIONAL),
        ],
        CommandKind::Ack => &[("push", U53, NEEDED)],
        CommandKind::Receipt => &[
            ("status", Word, NEEDED),
            ("id", Id, OPTIONAL),
            // Where there is no `id`.
            ("message_id", Id, NEEDED),
            ("timestamp", SECONDS, OPTIONAL),
            ("timestamp_ms", U53, OPTIONAL),
        ],
        CommandKind::Typing => &[("to", Id, NEEDED), ("active", Flag, OPTIONAL)],
        CommandKind::PresenceSubscribe | CommandKind::PresenceUnsubscribe => {
            &[("users", Ids, NEEDED)]
        }
        CommandKind::ClientState => &[("active", Flag, OPTIONAL)],
        CommandKind::GapClosed => &[("gap", U53, NEEDED)],
        CommandKind::Ping => &[("nonce", U53, OPTIONAL)],
        CommandKind::Pong => &[("nonce", U53, NEEDED)],
        CommandKind::Bye => &[],
    }
}

/// Values that are none of `holds`: of another type, or out of its range.
fn wrong_values(holds: Holds) -> Vec<&'static str> {
    let no_array = ["true", "1", "{}", r#""x""#];
    match holds {
        Holds::Integer { min: 1, max: 127 } => {
            vec!["0", "128", "256", "-1", "1.0", "1e0", r#""1""#, "true", "[]", "{}"]
        }
        Holds::Integer { max, .. } if max == u64::from(u32::MAX) => {
            vec!["4294967296", "-1", "0.5", r#""1""#, "false", "[]", "{}"]
        }
        Holds::Integer { .. } => vec!["9007199254740992", "-1", "1.0", r#""1""#, "true", "[1]"],
        Id => vec!["12", "true", "[]", "{}", r#""""#, r#""x""#, r#""urn""#],
        Word => vec!["2", "true", "[]", r#""""#, r#""seen""#],
        Flag => vec!["0", "1", r#""true""#, "[]"],
        Text => vec!["5", "true", "[]", "{}"],
        Bytes => vec!["5", "true", "[]", r#""a""#, r#""3q2+7yo""#, r#""3q2-7yo=""#],
        Words => [&no_array[..], &["[1]", r#"["typing",null]"#]].concat(),
        Ids => [&no_array[..], &["[1]", r#"["x"]"#, "[null]"]].concat(),
    }
}

/// The samples of a kind in JSON.
fn texts_of(kind: CommandKind) -> Vec<Map<String, Value>> {
    let texts = samples::commands().into_iter().map(|(_, command, _)| {
        let mut out = BytesMut::new();
        json::encode_command(&command, samples::TAG, &mut out);
        serde_json::from_slice::<Map<_, _>>(&out).expect("ours is JSON")
    });
    texts.filter(|it| it["type"] == kind.name()).collect()
}

/// The text of an object with `field` replaced by `value` as it stands, or left out.
fn with(object: &Map<String, Value>, field: &str, value: Option<&str>) -> String {
    let others = object.iter().filter(|(name, _)| *name != field);
    let mut parts: Vec<_> = others.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    parts.extend(value.map(|value| format!("\"{field}\":{value}")));
    format!("{{{}}}", parts.join(","))
}

/// The refusal of `text` names `field`, and the command by its tag and message id.
fn is_refused_for(text: &str, field: &str, message_id: MessageId) {
    let refused = json::decode_command(text).expect_err(text);
    let (code, shown) = (refused.error.consequence(), refused.error.to_string());
    assert_eq!(code, Consequence::Refuse(ErrorCode::Malformed), "{text}");
    assert!(shown.contains(&format!("`{field}`")), "{shown:?} of {text}");
    assert_eq!(refused.tag, samples::TAG, "{text}");
    assert_eq!(refused.message_id, message_id, "{text}");
}

#[test]
fn a_field_that_is_missing_or_wrong_is_named_by_the_refusal_of_every_command() {
    for &kind in CommandKind::ALL {
        let texts = texts_of(kind);
        assert!(!texts.is_empty(), "{kind:?}");
        for object in &texts {
            let told = object.get("message_id").map_or(MessageId::default(), |_| samples::MESSAGE);
            for &(field, holds, needed) in fields_of(kind) {
                let names = if field == "message_id" { MessageId::default() } else { told };
                // One content is needed, and one name of a message.
                let has_other = match field {
                    "encrypted_content" => object.contains_key("content"),
                    "message_id" => object.contains_key("id"),
                    _ => false,
                };
                let instead = match field {
                    "content" => Some("encrypted_content"),
                    "id" if kind == CommandKind::Receipt => Some("message_id"),
                    _ => None,
                };
                let instead = instead.filter(|other| !object.contains_key(*other));
                for absent in [None, Some("null")] {
                    let text = with(object, field, absent);
                    if let Some(other) = instead {
                        is_refused_for(&text, other, names);
                    } else if needed && !has_other {
                        is_refused_for(&text, field, names);
                    } else {
                        assert!(json::decode_command(&text).is_ok(), "{text}");
                    }
                }
                if has_other {
                    continue;
                }
                for wrong in wrong_values(holds) {
                    is_refused_for(&with(object, field, Some(wrong)), field, names);
                }
            }
        }
    }
}

/// Finds a field that a command is given and that the table above lacks.
#[test]
fn every_field_of_a_command_in_json_is_walked() {
    for &kind in CommandKind::ALL {
        for object in texts_of(kind) {
            for name in object.keys().filter(|name| !matches!(name.as_str(), "type" | "tag")) {
                let is_known = fields_of(kind).iter().any(|(field, ..)| field == name);
                assert!(is_known, "`{name}` of {kind:?}");
            }
        }
    }
}

/// A row of the specification without the word `optional` is a field that must be there in JSON.
#[test]
fn the_specification_says_of_each_field_whether_it_may_be_absent() {
    for &kind in CommandKind::ALL {
        let name = kind.name();
        let heading = format!("### Command `{name}` ({:#04x})", kind.number());
        for (field, remark) in protocol_text::json_remarks(&heading) {
            let field = if field == "timestamp_ms" { "timestamp" } else { field.as_str() };
            let known = fields_of(kind).iter().find(|(known, ..)| *known == field);
            let &(_, _, needed) = known.unwrap_or_else(|| panic!("`{field}` of {name}"));
            let needed = needed && (name, field) != ("receipt", "message_id");
            assert_eq!(remark.contains("optional"), !needed, "`{field}` of {name}: {remark:?}");
        }
    }
}

#[test]
fn tag_and_type_are_named_where_they_are_wrong() {
    for (text, field) in [
        (r#"{"push":1,"tag":7}"#, "type"),
        (r#"{"type":null,"push":1,"tag":7}"#, "type"),
        (r#"{"type":4,"push":1,"tag":7}"#, "type"),
        (r#"{"tag":7}"#, "type"),
    ] {
        is_refused_for(text, field, MessageId::default());
    }
    for tag in ["65536", "-1", "7.0", r#""7""#, "true", "[]"] {
        let text = format!(r#"{{"type":"ack","push":1,"tag":{tag}}}"#);
        let refused = json::decode_command(&text).expect_err(&text);
        assert!(refused.error.to_string().contains("`tag`"), "{text}");
        assert_eq!(refused.tag, 0, "{text}");
    }
}

/// A sample of a kind as a frame.
fn frame_of(kind: CommandKind) -> BytesMut {
    let mut frames = samples::commands().into_iter().map(|(_, command, tag)| {
        let mut out = BytesMut::new();
        binary::encode_command(&command, tag, &mut out);
        out
    });
    frames.find(|it| it[4] == kind.number()).expect("a sample of each kind")
}

/// In a frame "not given" is zero, whether the record is short, cut in the middle of a field, or
/// holds zeros.
#[test]
fn a_short_record_is_taken_or_refused_by_the_name_of_what_it_lacks() {
    for &kind in CommandKind::ALL {
        let needed = fields_of(kind).iter().filter(|(.., needed)| *needed);
        let mut names: Vec<_> = needed.map(|(field, ..)| format!("`{field}`")).collect();
        if kind == CommandKind::SendMessage {
            names.push("`content`".to_owned());
        }
        let out = frame_of(kind);
        let (flags, payload) = (out[5], &out[HEADER_BYTES..]);
        let fixed_bytes = usize::from(u16::from_le_bytes([payload[0], payload[1]]));
        assert!(fixed_bytes <= FIXED_BYTES_MAX);
        let sections = &payload[fixed_bytes..];
        for short in 2..=fixed_bytes {
            let record = [&(short as u16).to_le_bytes(), &payload[2..short]].concat();
            for behind in [sections, &[]] {
                let frame = [&record[..], behind].concat();
                let Err(error) = binary::decode_command(kind.number(), flags, &frame) else {
                    continue;
                };
                let shown = error.to_string();
                assert!(names.iter().any(|name| shown.contains(name)), "{kind:?}: {shown}");
                assert_eq!(error.consequence(), Consequence::Refuse(ErrorCode::Malformed));
            }
        }
        let is_empty_taken = binary::decode_command(kind.number(), 0, &[]).is_ok();
        let takes_zeros = match kind {
            CommandKind::Hello
            | CommandKind::Auth
            | CommandKind::SendMessage
            | CommandKind::Receipt
            | CommandKind::Typing => false,
            // 0 is a number, an empty list a list, and the others have no fields.
            CommandKind::Ack
            | CommandKind::GapClosed
            | CommandKind::Ping
            | CommandKind::Pong
            | CommandKind::PresenceSubscribe
            | CommandKind::PresenceUnsubscribe
            | CommandKind::ClientState
            | CommandKind::Bye => true,
        };
        assert_eq!(is_empty_taken, takes_zeros, "{kind:?}");
    }
}
