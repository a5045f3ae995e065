//! What the fuzzer calls: one function for each thing that takes bytes from outside.
//!
//! A target takes any bytes and panics where a promise is broken; that nothing panics by itself is
//! the least of them. It is deterministic and leaves nothing behind, so an input that fails once
//! fails always. `corpus/NAME` holds inputs from which the fuzzer starts; `tests/corpus.rs` runs
//! them on every machine, without libFuzzer. What is found becomes a test with a name in the crate
//! that was at fault.
//!
//! | target | bytes are | beside not panicking |
//! |---|---|---|
//! | [`binary`] | a stream of frames, and how it is cut | cuts change nothing; what decodes encodes back |
//! | [`json`] | a text | what decodes is JSON to another reader, and the same in both encodings |
//! | [`websocket`] | what a client sends after its upgrade | cuts change nothing; memory is bounded |
//! | [`upgrade`] | the first bytes of a connection, the requests of a kept one | cuts change nothing; the answer is one of ours |
//! | [`caller`] | a PROXY header, or a field in which proxies name a client | cuts change nothing; the proxy's own word counts |
//! | [`shard`] | the order of events in a node | every promise of the domain |
//! | [`journal`] | the life of a journal, or what is found on its disk | the truth or an error |
//! | [`token`] | a token, its claims, or a ticket | nothing but what we signed is good |
//! | [`config`] | a file, the environment, flags | what is accepted can be built and written down |
#![forbid(unsafe_code)]

pub mod binary;
pub mod caller;
pub mod config;
pub mod journal;
pub mod json;
pub mod shard;
pub mod token;
pub mod upgrade;
pub mod websocket;

/// Something that takes bytes.
pub struct Target {
    /// Names it on the command line, and its folder in `corpus/`.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "binary", run: binary::run },
    Target { name: "caller", run: caller::run },
    Target { name: "config", run: config::run },
    Target { name: "journal", run: journal::run },
    Target { name: "json", run: json::run },
    Target { name: "shard", run: shard::run },
    Target { name: "token", run: token::run },
    Target { name: "upgrade", run: upgrade::run },
    Target { name: "websocket", run: websocket::run },
];

/// The target of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Ends of the pieces into which `bytes` are cut, each `size` long but for the last.
fn cuts(bytes: &[u8], size: u8) -> Vec<usize> {
    (0..bytes.len()).step_by(usize::from(size).max(1)).skip(1).collect()
}
