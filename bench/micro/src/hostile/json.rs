//! JSON commands: one text each.

use std::hint::black_box;

use ringpost_wire::json::decode_command;
use ringpost_wire::limits::JSON_TEXT_BYTES_MAX;

use super::{Case, corpus, filled};

const PARSER: &str = "json";

fn decode(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("a text");
    let _ = black_box(decode_command(black_box(text)));
}

fn case(name: &'static str, text: Vec<u8>) -> Case {
    assert!(text.len() <= JSON_TEXT_BYTES_MAX, "{name}");
    Case::of_frames(PARSER, name, vec![text], decode)
}

/// A `ping` with an array of `part`s that nobody asks for.
fn array(part: &str) -> Vec<u8> {
    filled(r#"{"type":"ping","x":["#, part, ",", "]}", JSON_TEXT_BYTES_MAX)
}

pub(super) fn cases() -> Vec<Case> {
    let texts = corpus("json").into_iter().map(|(_, text)| text).collect();
    let object = |key: &dyn Fn(usize) -> String| {
        let fields: Vec<_> = (0..64).map(|at| format!(r#""{}":0"#, key(at))).collect();
        format!("{{{}}}", fields.join(","))
    };
    let token =
        |part: &str| filled(r#"{"type":"auth","token":""#, part, "", r#""}"#, JSON_TEXT_BYTES_MAX);
    let content = |part: &str| {
        let id = "01020304-0506-4708-890a-0b0c0d0e0f10";
        let before = format!(
            r#"{{"type":"send_message","message_id":"{id}","to":"{id}","encrypted_content":""#
        );
        filled(&before, part, "", r#""}"#, JSON_TEXT_BYTES_MAX)
    };
    let mut ends_badly = array(&object(&|at| format!("{at:02}")));
    ends_badly.truncate(ends_badly.len() - 1);
    let over: Vec<_> = (0..64).map(|at| format!(r#""{at:02}":0"#)).collect();
    let over = format!(r#"{{"type":"ping",{},"#, over.join(","));
    let keys_over = |part: &str| filled(&over, part, ",", "}", JSON_TEXT_BYTES_MAX);
    vec![
        Case::of_frames(PARSER, "corpus", texts, decode),
        case("keys", array(&object(&|at| format!("{at:02}")))),
        case("keys backwards", array(&object(&|at| format!("{:02}", 63 - at)))),
        case("keys that begin alike", array(&object(&|at| format!("abcdefgh{at:02}")))),
        case("keys of escapes", array(&object(&|at| format!("\\u00{:02x}", at + 0x30)))),
        case("keys, then an error", ends_badly),
        case("keys over the limit", keys_over(r#""":0"#)),
        case("tags over the limit", keys_over(r#""tag":0"#)),
        case("message ids over the limit", keys_over(r#""message_id":0"#)),
        case("keys that come twice", array(r#"{"":0,"":0}"#)),
        case("too deep", array(&format!("{}{}", "[".repeat(40), "]".repeat(40)))),
        case(
            "empty strings too deep",
            array(&format!("{}{}", "[".repeat(40), r#""","#.repeat(9000))),
        ),
        case("NULs", array(r#""\u0000""#)),
        case("huge numbers", array("1e400")),
        case("objects of one key", array(r#"{"":0}"#)),
        case("empty objects", array("{}")),
        case("nesting", array(&format!("{}{}", "[".repeat(30), "]".repeat(30)))),
        case("nested objects", array(&format!("{}0{}", r#"{"":"#.repeat(29), "}".repeat(29)))),
        case("digits", array("0")),
        case("spaces", array("0\n \t")),
        case("empty strings", array(r#""""#)),
        case("escapes", token("\\n")),
        case("unicode escapes", token("\\u00e9")),
        case("surrogate pairs", token("\\ud83d\\ude00")),
        case("escapes and letters", token("a\\n")),
        case("base64 of escapes", content("\\/\\/\\/\\/")),
        case("numbers that are hard to round", array("2.4703282292062327208e-324")),
        case("numbers at the edge", array("1.797693134862315807e308")),
        case("long number", array(&"9".repeat(80_000))),
        case("long exponent", array(&format!("1e-{}", "9".repeat(80_000)))),
    ]
}
