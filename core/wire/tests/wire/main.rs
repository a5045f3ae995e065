//! What the wire promises, by the behaviour that each module defends.

mod abuse_rows;
mod both_encodings;
mod frame_splits;
mod hostile_bytes;
mod json_reader;
mod protocol_text;
mod python;
mod samples;
mod versions;
