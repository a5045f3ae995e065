//! What the wire promises, by the behaviour that each module defends.

mod both_encodings;
mod frame_splits;
mod samples;
