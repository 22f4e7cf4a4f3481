//! Encoders: from snapshots to bytes.

mod escape;
pub mod exposition;
mod number;
pub mod statsd;
