//! The statsd line protocol and its dialects. `docs/statsd.md` has the rules and their reasons.

mod escape;
mod line;
mod names;
mod parts;
mod renames;

pub use line::{Encoder, FamilyOnWire, Sink};
pub use renames::Renames;

/// How metrics are named, and what is sent of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What every name begins with, its final `.` included; may be empty.
    pub prefix: String,
    /// Where labels go.
    pub tags: Tags,
    /// What labels are called as tags, if not by their names.
    pub renames: Renames,
    /// Further tags for every line, as names and values that can stand there.
    pub constant_tags: Vec<(String, String)>,
    /// DogStatsD's container field, if it is to be sent.
    pub container: Option<String>,
    /// What is sent of histograms.
    pub histograms: Histograms,
}

/// Where a series' labels go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tags {
    /// Their values are parts of the name, as with Prosody's own pusher.
    #[default]
    None,
    /// `name:1|c|#vhost:example.org`, DogStatsD 1.0.
    DogStatsd,
    /// `name,vhost=example.org:1|c`, as telegraf reads it.
    Influx,
}

/// What is sent of histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// Counters of the buckets and of all samples, and their sum, as with Prosody's own pusher.
    #[default]
    Buckets,
    /// Each sample, as `|ms` (milliseconds) or `|h`.
    Timing,
    /// Each sample, as `|d`.
    Distribution,
}

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A line longer than a datagram may be.
    TooLong,
    /// An infinity or NaN.
    NotFinite,
    /// A timer below zero.
    Negative,
    /// A series whose name is another's, whatever is added to it.
    NameTaken,
    /// A family that was replaced while a thousand others waited to be sent for the last time.
    Replaced,
}

impl Dropped {
    /// All causes, in the order of the enum.
    pub const ALL: [Dropped; 5] = [
        Dropped::TooLong,
        Dropped::NotFinite,
        Dropped::Negative,
        Dropped::NameTaken,
        Dropped::Replaced,
    ];

    /// Why, for operators.
    pub fn reason(self) -> &'static str {
        match self {
            Dropped::TooLong => "it is longer than max_datagram",
            Dropped::NotFinite => "its value is NaN or infinite",
            Dropped::Negative => "a timer can't be below zero",
            Dropped::NameTaken => "another metric has its name",
            Dropped::Replaced => "its family was replaced before it could be sent",
        }
    }

    /// As the value of a label.
    pub fn name(self) -> &'static str {
        match self {
            Dropped::TooLong => "too_long",
            Dropped::NotFinite => "not_finite",
            Dropped::Negative => "negative",
            Dropped::NameTaken => "name_taken",
            Dropped::Replaced => "replaced",
        }
    }
}

#[cfg(test)]
mod tests;
