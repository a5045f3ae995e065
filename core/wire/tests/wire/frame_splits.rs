//! The streaming decoder gives the same frames however the bytes are cut, copies only what
//! straddles two inputs, and owns nothing between frames.

use bytes::BytesMut;
use proptest::prelude::*;
use ringpost_wire::DecodeError;
use ringpost_wire::binary;
use ringpost_wire::decoder::{FrameDecoder, frames};
use ringpost_wire::frame::Header;
use ringpost_wire::limits::{HEADER_BYTES, PAYLOAD_BYTES_MAX};

use crate::samples;

type Owned = (Header, Vec<u8>);

/// Feeds one input, as a connection does.
fn feed(decoder: &mut FrameDecoder, mut input: &[u8], got: &mut Vec<Owned>) {
    loop {
        let step = decoder.decode(input, PAYLOAD_BYTES_MAX).expect("within the limit");
        input = &input[step.consumed..];
        let Some(frame) = step.frame else { break };
        got.push((frame.header, frame.payload.to_vec()));
    }
    assert!(input.is_empty(), "no frame means that all was taken");
}

fn all_samples() -> (BytesMut, Vec<Owned>) {
    let mut stream = BytesMut::new();
    for (_, command, tag) in samples::commands() {
        binary::encode_command(&command, tag, &mut stream);
    }
    for (_, event, tag) in samples::events() {
        binary::encode_event(&event, tag, &mut stream);
    }
    let owned = frames(&stream, PAYLOAD_BYTES_MAX)
        .map(|frame| frame.map(|frame| (frame.header, frame.payload.to_vec())))
        .collect::<Result<Vec<_>, _>>()
        .expect("samples are whole");
    (stream, owned)
}

#[test]
fn every_cut_of_every_sample_in_three_gives_the_same_frame() {
    let mut singles = Vec::new();
    for (_, command, tag) in samples::commands() {
        let mut out = BytesMut::new();
        binary::encode_command(&command, tag, &mut out);
        singles.push(out);
    }
    for (_, event, tag) in samples::events() {
        let mut out = BytesMut::new();
        binary::encode_event(&event, tag, &mut out);
        singles.push(out);
    }
    for frame in singles {
        for first in 0..=frame.len() {
            for second in first..=frame.len() {
                let mut decoder = FrameDecoder::default();
                let mut got = Vec::new();
                for piece in [&frame[..first], &frame[first..second], &frame[second..]] {
                    feed(&mut decoder, piece, &mut got);
                }
                let [(header, payload)] = &got[..] else { panic!("cut at {first}, {second}") };
                assert_eq!(header.to_bytes(), frame[..HEADER_BYTES]);
                assert_eq!(payload[..], frame[HEADER_BYTES..]);
                assert!(decoder.is_idle(), "cut at {first}, {second}");
            }
        }
    }
}

#[test]
fn every_cut_of_the_whole_stream_in_two_and_byte_by_byte_gives_the_same_frames() {
    let (stream, expected) = all_samples();
    for cut in 0..=stream.len() {
        let mut decoder = FrameDecoder::default();
        let mut got = Vec::new();
        feed(&mut decoder, &stream[..cut], &mut got);
        feed(&mut decoder, &stream[cut..], &mut got);
        assert_eq!(got, expected, "cut at {cut}");
    }
    let mut decoder = FrameDecoder::default();
    let mut got = Vec::new();
    for byte in stream.chunks(1) {
        feed(&mut decoder, byte, &mut got);
    }
    assert_eq!(got, expected);
    assert!(decoder.is_idle());
}

proptest! {
    #[test]
    fn any_cuts_of_the_stream_give_the_same_frames(cuts in prop::collection::vec(1..200_usize, 1..40)) {
        let (stream, expected) = all_samples();
        let mut decoder = FrameDecoder::default();
        let mut got = Vec::new();
        let mut rest = &stream[..];
        for size in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            feed(&mut decoder, piece, &mut got);
            rest = behind;
        }
        prop_assert_eq!(got, expected);
        prop_assert!(decoder.is_idle());
    }
}

#[test]
fn a_frame_within_one_input_is_borrowed_from_it() {
    let (stream, expected) = all_samples();
    let within = stream.as_ptr_range();
    let mut decoder = FrameDecoder::default();
    let mut rest = &stream[..];
    for (header, payload) in &expected {
        let step = decoder.decode(rest, PAYLOAD_BYTES_MAX).expect("within the limit");
        let frame = step.frame.expect("a whole frame is there");
        assert_eq!((&frame.header, frame.payload), (header, &payload[..]));
        assert!(payload.is_empty() || within.contains(&frame.payload.as_ptr()));
        rest = &rest[step.consumed..];
    }
    assert!(rest.is_empty());
}

#[test]
fn an_idle_decoder_is_small_and_owns_nothing() {
    assert!(size_of::<FrameDecoder>() <= 24);
    let (stream, _) = all_samples();
    let mut decoder = FrameDecoder::default();
    for piece in stream.chunks(11) {
        feed(&mut decoder, piece, &mut Vec::new());
    }
    assert!(decoder.is_idle());
    assert_eq!(decoder.assembly_bytes(), 0);
}

#[test]
fn a_frame_in_pieces_holds_little_more_than_what_has_arrived() {
    let header = Header {
        payload_bytes: u32::try_from(PAYLOAD_BYTES_MAX).expect("fits"),
        kind: 3,
        flags: 0,
        tag: 0,
    };
    let mut decoder = FrameDecoder::default();
    feed(&mut decoder, &header.to_bytes(), &mut Vec::new());
    assert!(decoder.assembly_bytes() < 64, "a header alone reserves nothing");
    let mut arrived = 0;
    for _ in 0..600 {
        let piece = [0; 100];
        feed(&mut decoder, &piece, &mut Vec::new());
        arrived += piece.len();
        assert!(decoder.assembly_bytes() <= 64 + (2 * arrived).clamp(512, PAYLOAD_BYTES_MAX));
    }
}

#[test]
fn a_length_over_the_limit_is_refused_from_the_header_alone() {
    for over in [PAYLOAD_BYTES_MAX as u32 + 1, 1 << 31, u32::MAX] {
        let header = Header { payload_bytes: over, kind: 3, flags: 0, tag: 0 };
        for cut in 0..=HEADER_BYTES {
            let mut decoder = FrameDecoder::default();
            let bytes = header.to_bytes();
            let (first, second) = bytes.split_at(cut);
            let outcome = decoder
                .decode(first, PAYLOAD_BYTES_MAX)
                .map(|step| step.consumed)
                .and_then(|_| decoder.decode(second, PAYLOAD_BYTES_MAX).map(|step| step.consumed));
            let max = PAYLOAD_BYTES_MAX as u32;
            assert_eq!(outcome, Err(DecodeError::FrameTooBig { payload_bytes: over, max }));
            assert_eq!(decoder.assembly_bytes(), 0);
        }
    }
}
