//! What the dearest bytes cost: for each parser the fuzzer's corpus and the worst that we know how to
//! build. `cargo xtask micro` counts their instructions for each byte that is charged for them (their
//! own, and those that PROTOCOL.md adds for each frame and each piece), and compares worst and mean.
//!
//! Owns the cases. A parser is what the server runs on the bytes before it knows who has sent them or
//! what they mean; `session` is all of it, answers included, on a signed-in connection.

mod binary;
mod json;
mod session;
mod token;
mod upgrade;
mod websocket;

use std::fs;
use std::path::PathBuf;

use ringpost_wire::limits::INPUT_COST_BYTES;

/// What one receive of the server brings at most.
const RECEIVE_BYTES: usize = 4_096;

/// One input for one parser.
pub(crate) struct Case {
    /// The parser.
    pub(crate) parser: &'static str,
    /// The name of the case; `corpus` is what the others are compared with.
    pub(crate) name: &'static str,
    /// Runs the parser over it so many times.
    pub(crate) run: Box<dyn Fn(u64)>,
    /// What one time is charged for, bytes.
    pub(crate) cost: u64,
}

impl Case {
    /// Whole texts or frames, each decoded by itself, in receives as large as they come.
    fn of_frames(
        parser: &'static str,
        name: &'static str,
        frames: Vec<Vec<u8>>,
        decode: fn(&[u8]),
    ) -> Self {
        let cost = frames.iter().map(|frame| cost(frame.len(), 1)).sum();
        let run = move |times| {
            for _ in 0..times {
                frames.iter().for_each(|frame| decode(frame));
            }
        };
        Self { parser, name, run: Box::new(run), cost }
    }

    /// Streams in receives of `piece_bytes`, with so many frames in each.
    fn of_streams(
        parser: &'static str,
        name: &'static str,
        (streams, frames, piece_bytes): (Vec<Vec<u8>>, usize, usize),
        decode: fn(&[u8], usize),
    ) -> Self {
        let pieces = |stream: &Vec<u8>| stream.len().div_ceil(piece_bytes) as u64;
        let cost = streams
            .iter()
            .map(|stream| {
                stream.len() as u64 + (pieces(stream) + frames as u64) * u64::from(INPUT_COST_BYTES)
            })
            .sum();
        let run = move |times| {
            for _ in 0..times {
                streams.iter().for_each(|stream| decode(stream, piece_bytes));
            }
        };
        Self { parser, name, run: Box::new(run), cost }
    }
}

/// What bytes are charged for that come in receives as large as possible.
fn cost(bytes: usize, frames: usize) -> u64 {
    let receives = bytes.div_ceil(RECEIVE_BYTES);
    bytes as u64 + (receives + frames) as u64 * u64::from(INPUT_COST_BYTES)
}

/// All of them, the corpus of each parser first.
pub(crate) fn cases() -> Vec<Case> {
    [
        binary::cases(),
        json::cases(),
        websocket::cases(),
        upgrade::cases(),
        token::cases(),
        session::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The files of the fuzzer's corpus for a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("its folder can be read").path())
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file of the corpus"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has a corpus");
    files
}

/// Makes a text out of as many repetitions of `part` as fit.
fn filled(before: &str, part: &str, between: &str, after: &str, bytes_max: usize) -> Vec<u8> {
    let room = bytes_max - before.len() - after.len() - part.len();
    let more = room / (part.len() + between.len());
    let rest = format!("{between}{part}").repeat(more);
    format!("{before}{part}{rest}{after}").into_bytes()
}
