//! The nouns of metrics: kinds, numbers, names, label sets, buckets, timestamps.

mod buckets;
pub mod clock;
mod column;
mod kind;
pub mod labels;
pub mod name;
mod number;

pub use buckets::{canonical_text, plain_text, Bucket, Buckets};
pub use column::Column;
pub use kind::Kind;
pub use labels::LabelSet;
pub use number::Number;
