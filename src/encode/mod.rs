//! Encoders: from snapshots to bytes.

mod escape;
mod number;
pub mod openmetrics;
pub mod statsd;
