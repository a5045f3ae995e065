//! However the network cuts a client's bytes, the decoder says the same.
//!
//! Setup: samples of streams, among them the examples of RFC 6455 section 5.7. Action: feed each
//! whole, octet by octet, and cut at every one and every two places. Expectation: the items and
//! the violation are those of the sample, and memory is bounded at every step.

mod websocket_client;

use proptest::prelude::*;
use ringpost_conn::websocket::{Accepts, Decoder, Item, Limits, Received, Violation};
use websocket_client::*;

const TEXT: Limits = Limits::new(Accepts::Text, 1000);
const BINARY: Limits = Limits::new(Accepts::Binary, 1000);

fn check(sample: &[u8], limits: Limits, items: &[Owned], violation: Option<Violation>) {
    let expected = Outcome { items: items.to_vec(), violation };
    assert_eq!(decode_whole(sample, limits), expected);
    assert_eq!(decode_octets(sample, limits), expected);
    for first in 0..=sample.len() {
        for second in first..=sample.len() {
            let outcome = decode_cut(sample, &[first, second], limits);
            assert_eq!(outcome, expected, "cut at {first} and {second} of {sample:x?}");
        }
    }
}

fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

#[test]
fn the_examples_of_the_rfc_in_every_cut() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    check(hello, TEXT, &[text("Hello")], None);

    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    check(pong, BINARY, &[Owned::Pong(b"Hello".to_vec())], None);

    let fragments = [frame(0x01, b"Hel"), frame(0x80, b"lo")].concat();
    check(&fragments, TEXT, &[text("Hello")], None);

    let long = [7; 256];
    check(&frame(0x82, &long), BINARY, &[Owned::Binary(long.to_vec())], None);
}

#[test]
fn control_frames_between_and_behind_fragments_in_every_cut() {
    let sample = [
        frame(0x01, "caf\u{e9} \u{1f4ac}".as_bytes()),
        frame(0x89, b"are you there?"),
        frame(0x00, b""),
        frame(0x8a, b""),
        frame(0x80, "\u{20ac}".as_bytes()),
        frame(0x88, b"\x0f\xa0done"),
        frame(0x81, b"never read"),
    ]
    .concat();
    let items = [
        Owned::Ping(b"are you there?".to_vec()),
        Owned::Pong(Vec::new()),
        text("caf\u{e9} \u{1f4ac}\u{20ac}"),
        Owned::Close(Some(4000), "done".to_owned()),
    ];
    check(&sample, TEXT, &items, None);
}

#[test]
fn a_character_across_fragments_and_cuts_is_one_character() {
    let bytes = "\u{10ffff}\u{800}".as_bytes();
    let sample: Vec<u8> = bytes
        .iter()
        .enumerate()
        .flat_map(|(place, byte)| {
            let fin = if place + 1 == bytes.len() { 0x80 } else { 0 };
            frame(fin | if place == 0 { 1 } else { 0 }, &[*byte])
        })
        .collect();
    check(&sample, TEXT, &[text("\u{10ffff}\u{800}")], None);
}

#[test]
fn messages_back_to_back_in_every_cut() {
    let sample: Vec<u8> = (0..5).flat_map(|length| frame(0x82, &[length; 9])).collect();
    let items: Vec<_> = (0..5).map(|length| Owned::Binary(vec![length; 9])).collect();
    check(&sample, BINARY, &items, None);
}

#[test]
fn empty_messages_and_an_empty_close_in_every_cut() {
    let sample = [frame(0x81, b""), frame(0x01, b""), frame(0x80, b""), frame(0x88, b"")].concat();
    check(&sample, TEXT, &[text(""), text(""), Owned::Close(None, String::new())], None);
}

#[test]
fn a_violation_behind_good_items_in_every_cut() {
    let sample = [frame(0x81, b"good"), frame(0x81, b"b\xffad"), frame(0x81, b"late")].concat();
    check(&sample, TEXT, &[text("good")], Some(Violation::TextNotUtf8));

    let sample = [frame(0x82, b"good"), unmasked(0x82, b"bad")].concat();
    check(&sample, BINARY, &[Owned::Binary(b"good".to_vec())], Some(Violation::Unmasked));

    let sample = [frame(0x89, b"good"), frame(0x88, b"\x03\xe8\xc3")].concat();
    let ping = [Owned::Ping(b"good".to_vec())];
    check(&sample, TEXT, &ping, Some(Violation::CloseReasonNotUtf8));
}

#[test]
fn the_other_type_of_message_is_refused_at_its_first_byte() {
    check(&[0x81], BINARY, &[], Some(Violation::TextNotAccepted));
    check(&[0x82], TEXT, &[], Some(Violation::BinaryNotAccepted));
}

#[test]
fn a_whole_message_is_borrowed_from_the_buffer() {
    let mut bytes = frame(0x82, &[9; 300]);
    let place = bytes.as_ptr_range();
    let mut decoder = Decoder::new();
    let mut input = Received::new(&mut bytes);
    match decoder.decode(&mut input, &BINARY, Default::default()) {
        Ok(Some(Item::Binary(payload))) => assert_eq!(payload.as_ptr_range().end, place.end),
        other => panic!("{other:?}"),
    }
    assert_eq!(decoder.pinned_bytes(), 0);
}

#[test]
fn an_owner_that_stops_early_goes_on_with_untouched_bytes() {
    let second = frame(0x82, b"second");
    let mut bytes = [frame(0x82, b"first"), second.clone()].concat();
    let mut decoder = Decoder::new();
    let mut input = Received::new(&mut bytes);
    let first = decoder.decode(&mut input, &BINARY, Default::default());
    assert_eq!(first, Ok(Some(Item::Binary(b"first"))));
    assert_eq!(input.rest(), second);
    let rest = input.into_rest();
    let mut input = Received::new(rest);
    let item = decoder.decode(&mut input, &BINARY, Default::default());
    assert_eq!(item, Ok(Some(Item::Binary(b"second"))));
}

proptest! {
    #[test]
    fn any_messages_in_any_pieces_come_out_as_sent(
        messages in prop::collection::vec(("\\PC{0,80}", prop::collection::vec(0usize..90, 0..4)), 1..6),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = Vec::new();
        for (text, fragment_ends) in &messages {
            let mut ends: Vec<_> = fragment_ends.iter().map(|end| (*end).min(text.len())).collect();
            ends.sort_unstable();
            ends.push(text.len());
            let mut start = 0;
            for (place, &end) in ends.iter().enumerate() {
                let fin = if place + 1 == ends.len() { 0x80 } else { 0 };
                let opcode = u8::from(place == 0);
                bytes.extend(frame(fin | opcode, &text.as_bytes()[start..end]));
                start = end;
            }
        }
        let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let items = messages.into_iter().map(|(text, _)| Owned::Text(text)).collect();
        prop_assert_eq!(decode_cut(&bytes, &cuts, TEXT), Outcome { items, violation: None });
    }
}
