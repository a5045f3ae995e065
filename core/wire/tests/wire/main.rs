//! What the wire promises, by the behaviour that each module defends.

mod abuse_rows;
mod both_encodings;
mod frame_splits;
mod hostile_bytes;
mod json_reader;
mod samples;
mod versions;
