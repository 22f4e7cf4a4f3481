//! Metric family types.

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A total that only grows, or starts again.
    Counter,
    /// Samples counted by size.
    Histogram,
    /// Samples counted and summed.
    Summary,
}

impl Kind {
    /// All types, in the order of the enum. Tables by type have `ALL.len()` rows, and `kind as usize` is a row's number.
    pub const ALL: [Kind; 4] = [Kind::Gauge, Kind::Counter, Kind::Histogram, Kind::Summary];

    /// The type of this name (`"gauge"`, `"counter"`, …), if there is one.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The type's name in metadata and in Prosody's API.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        }
    }

    /// Whether it has samples, which are counted and summed.
    pub fn is_of_samples(self) -> bool {
        match self {
            Kind::Gauge | Kind::Counter => false,
            Kind::Histogram | Kind::Summary => true,
        }
    }
}
