//! The tidy test: the rules of the repository that neither rustc nor clippy knows.
//!
//! Each rule is a module: a function from files to [`fault::Fault`]s, one test that runs it over
//! the repository, and tests that feed it samples, so that a rule which has stopped biting is
//! seen. The rules never read the network, and only [`licences`] starts a process
//! (`cargo tree`).
//!
//! | rule | what it refuses |
//! |---|---|
//! | [`length`] | a file over 800 lines, a function over 70 |
//! | [`head`] | a file that does not say what it owns |
//! | [`unsafety`] | `unsafe` outside the islands |
//! | [`names`] | names that say nothing |
//! | [`output`] | prints outside the terminal's own modules; in the server, standard streams |
//! | [`unwraps`] | `unwrap()` outside tests |
//! | [`bounds`] | a loop of a worker's turn that does not say what ends it |
//! | [`prose`] | leftovers and paths of somebody's machine, in any text |
//! | [`links`] | links of documents that lead nowhere |
//! | [`settings`] | a configuration key without its comment |
//! | [`metrics`] | a metric without documentation, documentation without a metric |
//! | [`files`] | a file that is opened by its name outside of `storage/files` |
//! | [`told_twice`] | an error whose cause is told twice |
//! | [`sans_io`] | a sans-IO crate whose lints have drifted |
//! | [`wall_clock`] | a date that nobody judged |
//! | [`manifests`] | a dependency nobody uses or nobody explained |
//! | [`licences`] | a licence, a banned crate or a second version that `deny.toml` does not allow |
//!
//! Two documents are compared with values instead of text, so their tests are where the values are:
//! `core/wire/PROTOCOL.md` (kinds, offsets, codes, limits, examples) in `core/wire/tests/wire`, and
//! `deploy/config/default.toml` with the defaults of the code in `edge/server/src/config`.
#![forbid(unsafe_code)]

mod bounds;
mod fault;
mod files;
mod head;
mod length;
mod licences;
mod links;
mod manifests;
mod metrics;
mod names;
mod output;
mod prose;
mod repository;
mod sans_io;
mod settings;
mod source;
mod spdx;
mod tables;
mod tokens;
mod told_twice;
mod unsafety;
mod unwraps;
mod wall_clock;
