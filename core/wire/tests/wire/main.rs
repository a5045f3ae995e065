//! What the wire promises, by the behaviour that each module defends.

mod abuse_rows;
mod both_encodings;
mod command_fields;
mod frame_splits;
mod hostile_bytes;
mod json_reader;
#[expect(clippy::disallowed_methods, reason = "the specification is a file to compare with")]
mod protocol_text;
#[expect(clippy::disallowed_methods, reason = "another language runs in a process of its own")]
mod python;
mod refusals;
mod samples;
mod versions;
