//! The OpenMetrics 1.0 text format. `docs/openmetrics.md` tells how each of its rules is met.

use super::{escape, number};
use crate::model::Number;
use crate::snapshot::{FamilySnapshot, Point, Samples, Series};
use crate::store::{Family, Store};
use std::io::{self, Write};

/// What operators can choose about a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether there are `_created` samples.
    pub created: bool,
    /// Whether `le` is written in canonical form (`1.0`) instead of Prosody's (`1`).
    pub canonical_le: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            created: true,
            canonical_le: false,
        }
    }
}

/// Writes the page of a store: every family with its series, then the end marker.
///
/// # Errors
/// Only those of `out`.
pub fn page(out: &mut impl Write, store: &Store, options: Options) -> io::Result<()> {
    let mut snapshot = FamilySnapshot::new();
    for family in store.families().values() {
        snapshot.take(family);
        write_family(out, family, &snapshot, options)?;
    }
    out.write_all(b"# EOF\n")
}

/// Writes one family's metadata and series.
///
/// # Errors
/// Only those of `out`.
pub fn write_family(
    out: &mut impl Write,
    family: &Family,
    snapshot: &FamilySnapshot,
    options: Options,
) -> io::Result<()> {
    metadata(out, family)?;
    let mut lines = Lines {
        out,
        name: &family.name,
        labels: Vec::new(),
    };
    for series in snapshot.series(family) {
        lines.labels.clear();
        write_labels(&mut lines.labels, family, &series)?;
        match series.point {
            Point::Gauge(value) => lines.sample("", value)?,
            Point::Counter(total, created) => {
                lines.sample("_total", total)?;
                lines.created(created, options)?;
            }
            Point::Summary(samples, count) => {
                if let Some(sum) = samples.exposable_sum() {
                    lines.count_and_sum(count, sum)?;
                }
                lines.created(samples.created, options)?;
            }
            Point::Histogram(samples, counts) => {
                let mut count = 0;
                for (bucket, cumulative) in family.buckets.as_slice().iter().zip(counts.cumulative()) {
                    let le = match options.canonical_le {
                        true => &bucket.canonical_le,
                        false => &bucket.le,
                    };
                    lines.bucket(le, cumulative)?;
                    count = cumulative;
                }
                if let Some(sum) = histogram_sum(family, samples) {
                    lines.count_and_sum(count, sum)?;
                }
                lines.created(samples.created, options)?;
            }
        }
    }
    Ok(())
}

/// "A Histogram MetricPoint … with negative thresholds … MUST NOT have a Sum" (OpenMetrics 1.0, "Histogram").
fn histogram_sum(family: &Family, samples: Samples) -> Option<Number> {
    samples.exposable_sum().filter(|_| !family.buckets.has_negative())
}

/// TYPE, UNIT and HELP, in this order; empty ones not at all (OpenMetrics 1.0, "MetricFamily metadata").
fn metadata(out: &mut impl Write, family: &Family) -> io::Result<()> {
    let name = &family.name;
    writeln!(out, "# TYPE {name} {}", family.kind.name())?;
    if let Some(unit) = &family.unit {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    if !family.help.is_empty() {
        write!(out, "# HELP {name} ")?;
        escape::write(out, family.help.as_bytes())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// `a="1",b="2"`, without the braces.
fn write_labels(out: &mut Vec<u8>, family: &Family, series: &Series<'_>) -> io::Result<()> {
    for (name, value) in family.label_names.iter().zip(series.label_values()) {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        escape::write(out, value)?;
        out.push(b'"');
    }
    Ok(())
}

/// The sample lines of one family.
struct Lines<'a, W> {
    out: &'a mut W,
    name: &'a str,
    /// The labels of the series at hand.
    labels: Vec<u8>,
}

impl<W: Write> Lines<'_, W> {
    /// Everything before the value.
    fn start(&mut self, suffix: &str, le: Option<&str>) -> io::Result<()> {
        self.out.write_all(self.name.as_bytes())?;
        self.out.write_all(suffix.as_bytes())?;
        if !self.labels.is_empty() || le.is_some() {
            self.out.write_all(b"{")?;
            self.out.write_all(&self.labels)?;
            if let Some(le) = le {
                self.out.write_all(match self.labels.is_empty() {
                    true => b"le=\"".as_slice(),
                    false => b",le=\"",
                })?;
                self.out.write_all(le.as_bytes())?;
                self.out.write_all(b"\"")?;
            }
            self.out.write_all(b"}")?;
        }
        self.out.write_all(b" ")
    }

    fn sample(&mut self, suffix: &str, value: Number) -> io::Result<()> {
        self.start(suffix, None)?;
        number::write(self.out, value)?;
        self.out.write_all(b"\n")
    }

    fn bucket(&mut self, le: &str, cumulative: u64) -> io::Result<()> {
        self.start("_bucket", Some(le))?;
        number::write_count(self.out, cumulative)?;
        self.out.write_all(b"\n")
    }

    fn count_and_sum(&mut self, count: u64, sum: Number) -> io::Result<()> {
        self.start("_count", None)?;
        number::write_count(self.out, count)?;
        self.out.write_all(b"\n")?;
        self.sample("_sum", sum)
    }

    fn created(&mut self, created: f64, options: Options) -> io::Result<()> {
        if options.created {
            self.sample("_created", Number::Float(created))?;
        }
        Ok(())
    }
}
