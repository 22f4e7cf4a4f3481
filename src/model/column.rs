//! What a series shows, written down once: pages, names and Lua's views and samples all go by this.

use super::Kind;

/// One thing that each series of a family shows: samples of one suffix on the page, a field in Prosody's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// A gauge's value.
    Value,
    /// A counter's total.
    Total,
    /// A histogram's buckets, one sample for each.
    Buckets,
    /// How many samples were counted.
    Count,
    /// Their sum.
    Sum,
    /// When the series started, in seconds since the epoch.
    Created,
}

impl Column {
    /// What follows the family's name on the page ("Suffixes" of OpenMetrics 1.0).
    pub const fn suffix(self) -> &'static str {
        match self {
            Column::Value => "",
            Column::Total => "_total",
            Column::Buckets => "_bucket",
            Column::Count => "_count",
            Column::Sum => "_sum",
            Column::Created => "_created",
        }
    }

    /// The field of a metric in Prosody's API, if it is one: buckets are elements.
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Column::Value | Column::Total => Some("value"),
            Column::Buckets => None,
            Column::Count | Column::Sum | Column::Created => Some(self.suffix()),
        }
    }
}

impl Kind {
    /// What each series of this type shows, in the order of the page.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Kind::Gauge => &[Column::Value],
            Kind::Counter => &[Column::Total, Column::Created],
            Kind::Histogram => &[Column::Buckets, Column::Count, Column::Sum, Column::Created],
            Kind::Summary => &[Column::Count, Column::Sum, Column::Created],
        }
    }

    /// The suffixes of every name that a family of this type takes up, its own bare name first: no other
    /// family may use one of them (OpenMetrics 1.0, "MetricFamily", "Suffixes").
    pub fn suffixes(self) -> impl Iterator<Item = &'static str> {
        let of_columns = self.columns().iter().map(|column| column.suffix());
        std::iter::once("").chain(of_columns.filter(|suffix| !suffix.is_empty()))
    }
}
