//! The fuzzer: libFuzzer's `main`, which calls one target with the inputs that it makes up.
//!
//! `RINGPOST_FUZZ_TARGET` names the target. It is built and called by `cargo xtask fuzz`; built
//! in any other way it has no coverage to go by, and libFuzzer says so.
#![forbid(unsafe_code)]
#![no_main]

use std::sync::LazyLock;

use ringpost_fuzz::{TARGETS, Target, named};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("RINGPOST_FUZZ_TARGET").unwrap_or_default();
    named(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("RINGPOST_FUZZ_TARGET is {name:?}; there are {}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
