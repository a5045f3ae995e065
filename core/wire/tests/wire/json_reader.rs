//! Our reader of JSON against `serde_json`: it takes nothing that is not JSON, calls nothing
//! "not JSON" that is, and reads the same strings. It refuses more, each with a name of its own.

use std::fmt::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use ringpost_wire::command::Command;
use ringpost_wire::limits::{JSON_DEPTH_MAX, JSON_KEYS_MAX, JSON_TEXT_BYTES_MAX};
use ringpost_wire::{DecodeError, json};

fn decode(text: &str) -> Result<(Command<'_>, u16), DecodeError> {
    json::decode_command(text).map_err(|refused| refused.error)
}

/// Reads `value` as a field that is ignored otherwise, and as serde_json does.
fn check(value: &str) {
    let text = format!(r#"{{"type":"bye","x":{value}}}"#);
    let ours = decode(&text);
    let theirs = serde_json::from_str::<serde_json::Value>(&text);
    match ours {
        Ok((command, _)) => {
            assert_eq!(command, Command::Bye);
            assert!(theirs.is_ok(), "not JSON, but taken: {text:?}");
        }
        Err(
            DecodeError::Syntax { .. }
            | DecodeError::LoneSurrogate { .. }
            | DecodeError::HugeNumber { .. },
        ) => assert!(theirs.is_err(), "JSON, but refused: {text:?}, {ours:?}"),
        Err(
            DecodeError::TooDeep { .. }
            | DecodeError::DuplicateKey { .. }
            | DecodeError::TooManyKeys { .. }
            | DecodeError::Nul { .. },
        ) => {}
        Err(other) => panic!("{other:?} for {text:?}"),
    }
}

fn values() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
        "\"([ !#-\\[\\]-~\u{80}-\u{10ffff}]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud83d\\\\ude00){0,8}\"",
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(" ,\n"))),
            vec(("[a-z]{1,2}", inner), 0..5).prop_map(|fields| {
                let mut object = String::from("{ ");
                for (index, (key, value)) in fields.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(object, "{comma}\"{key}\"\t:{value}").expect("to a string");
                }
                object + "}"
            }),
        ]
    })
}

proptest! {
    #[test]
    fn it_agrees_about_json(value in values()) {
        check(&value);
    }

    #[test]
    fn it_agrees_about_almost_json(
        value in values(),
        at: prop::sample::Index,
        byte in "[\"\\\\{}\\[\\],:0-9eE+.tfnu \\x01-]",
        cut: bool,
    ) {
        let mut broken = value;
        let mut at = at.index(broken.len());
        while !broken.is_char_boundary(at) {
            at -= 1;
        }
        if cut {
            broken.truncate(at);
        } else {
            broken.insert_str(at, &byte);
        }
        check(&broken);
    }

    #[test]
    fn it_reads_the_same_strings(
        string in "\"([ !#-\\[\\]-~\u{80}-\u{10ffff}]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-cA-C][0-9a-f]{2}[1-9]){1,80}\"",
    ) {
        let text = format!(r#"{{"type":"auth","token":{string}}}"#);
        let theirs: String = serde_json::from_str(&string).expect("a JSON string");
        let (command, _) = json::decode_command(&text).expect("an auth");
        prop_assert_eq!(command, Command::Auth { token: theirs.into() });
    }
}

#[test]
fn depth_is_taken_to_the_limit_and_not_beyond_in_any_mixture() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let levels = open.matches(['[', '{']).count();
        for depth in [1, JSON_DEPTH_MAX - 1, JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1, 100_000] {
            let times = (depth - 1) / levels;
            let value = format!("{}1{}", open.repeat(times), close.repeat(times));
            let text = format!(r#"{{"type":"bye","x":{value}}}"#);
            let outcome = decode(&text);
            if text.len() > JSON_TEXT_BYTES_MAX {
                assert!(matches!(outcome, Err(DecodeError::TextTooBig { .. })));
            } else if times * levels < JSON_DEPTH_MAX {
                assert_eq!(outcome, Ok((Command::Bye, 0)), "{depth} levels");
            } else {
                assert!(matches!(outcome, Err(DecodeError::TooDeep { .. })), "{depth} levels");
            }
        }
    }
}

#[test]
fn keys_are_taken_to_the_limit_and_not_beyond() {
    for keys in [JSON_KEYS_MAX - 1, JSON_KEYS_MAX] {
        let mut text = String::from(r#"{"type":"bye""#);
        for key in 0..keys {
            write!(text, r#","{key}":0"#).expect("to a string");
        }
        text.push('}');
        let too_many = matches!(decode(&text), Err(DecodeError::TooManyKeys { .. }));
        assert_eq!(too_many, keys + 1 > JSON_KEYS_MAX);
    }
}

#[test]
fn duplicate_keys_are_found_in_every_object_also_where_one_is_escaped() {
    for text in [
        r#"{"type":"bye","type":"bye"}"#,
        r#"{"type":"bye","typ\u0065":"ping"}"#,
        r#"{"type":"bye","x":1,"x":1}"#,
        r#"{"type":"bye","x":{"a":1,"b":2,"a":3}}"#,
        r#"{"type":"bye","x":[0,{"a":1,"a":1}]}"#,
    ] {
        let outcome = decode(text);
        assert!(matches!(outcome, Err(DecodeError::DuplicateKey { .. })), "{text}: {outcome:?}");
    }
}

#[test]
fn violations_name_the_byte() {
    for (text, expected) in [
        (r#"{"type" "bye"}"#, DecodeError::Syntax { at: 8, expected: "`:`" }),
        (r#"["bye"]"#, DecodeError::Syntax { at: 0, expected: "an object" }),
        (r#"{"type":"bye"} x"#, DecodeError::Syntax { at: 15, expected: "the end of the text" }),
        (r#"{"type":"bye","a":01}"#, DecodeError::Syntax { at: 19, expected: "`,` or `}`" }),
        (r#"{"type":"bye","a":1e400}"#, DecodeError::HugeNumber { at: 18 }),
        (r#"{"type":"bye","a":"\u0000"}"#, DecodeError::Nul { at: 19 }),
        (r#"{"type":"bye","a":"\ud800"}"#, DecodeError::LoneSurrogate { at: 19 }),
        (r#"{"type":"bye","a":"\udc00\ud800"}"#, DecodeError::LoneSurrogate { at: 19 }),
        (r#"{"type":"bye","a":1,"a":2}"#, DecodeError::DuplicateKey { at: 20 }),
        ("{\"type\":\"b\0ye\"}", DecodeError::Nul { at: 10 }),
        ("\u{feff}{\"type\":\"bye\"}", DecodeError::Syntax { at: 0, expected: "an object" }),
        ("", DecodeError::Syntax { at: 0, expected: "an object" }),
    ] {
        assert_eq!(decode(text), Err(expected), "{text}");
    }
}
