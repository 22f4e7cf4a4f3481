//! Pages: OpenMetrics 1.0 and the Prometheus text formats. `docs/openmetrics.md` tells how each of their rules is met.

pub mod format;

pub use format::{Escaping, Format};

use super::{escape, number};
use crate::model::{Kind, Number};
use crate::snapshot::{FamilySnapshot, Point, Samples, Series};
use crate::store::{Family, Store};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

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

/// The names of the families that a page is limited to.
pub type Only = BTreeSet<String>;

/// The families of `store` that these are the names of, or of their samples.
pub fn only<'a>(store: &Store, names: impl IntoIterator<Item = &'a str>) -> Only {
    let families = store.families();
    let named = |name: &'a str| {
        let suffixes = Kind::ALL
            .into_iter()
            .flat_map(|kind| kind.suffixes().iter().map(move |suffix| (kind, *suffix)));
        let found = suffixes.filter_map(|(kind, suffix)| {
            families
                .get(name.strip_suffix(suffix)?)
                .filter(|family| family.kind == kind)
        });
        found.map(|family| family.name.clone()).collect::<Vec<_>>()
    };
    names.into_iter().flat_map(named).collect()
}

/// Writes the page of a store in a format: every family with its series, then the end marker if the format has one. With `only`
/// families that aren't in it are left out.
///
/// # Errors
/// Only those of `out`.
pub fn page(
    out: &mut impl Write,
    store: &Store,
    options: Options,
    format: Format,
    only: Option<&Only>,
) -> io::Result<()> {
    let families = store.families();
    let wanted = || {
        families
            .values()
            .filter(|family| only.is_none_or(|only| only.contains(&family.name)))
    };
    // All gauges at once, since modules set several in one collection.
    let gauges: HashMap<*const Family, FamilySnapshot> = store.consistently(|| {
        let gauges = wanted().filter(|family| family.kind == Kind::Gauge);
        gauges
            .map(|family| (Arc::as_ptr(family), FamilySnapshot::of(family)))
            .collect()
    });
    let mut snapshot = FamilySnapshot::new();
    for family in wanted() {
        let gauge = gauges.get(&Arc::as_ptr(family));
        if gauge.is_none() {
            snapshot.take(family);
        }
        write_family(out, family, gauge.unwrap_or(&snapshot), options, format)?;
    }
    match format.is_openmetrics() {
        true => out.write_all(b"# EOF\n"),
        false => Ok(()),
    }
}

/// Writes one family's metadata and series.
fn write_family(
    out: &mut impl Write,
    family: &Family,
    snapshot: &FamilySnapshot,
    options: Options,
    format: Format,
) -> io::Result<()> {
    let name = &*format.family_name(&family.name, family.kind);
    match format.is_openmetrics() {
        true => openmetrics_metadata(out, family, name, format)?,
        false => text_metadata(out, family, name)?,
    }
    // Only OpenMetrics has them; in the older formats they would be series of no type.
    let created = options.created && format.is_openmetrics();
    let label_names: Vec<Cow<'_, str>> = family.label_names.iter().map(|name| format.name_of(name)).collect();
    let mut lines = Lines {
        out,
        name,
        labels: Vec::new(),
    };
    for series in snapshot.series(family) {
        lines.labels.clear();
        write_labels(&mut lines.labels, &label_names, &series)?;
        match series.point {
            Point::Gauge(value) => lines.sample("", value)?,
            Point::Counter(total, since) => {
                lines.sample("_total", total)?;
                lines.created(since, created)?;
            }
            Point::Summary(samples, count) => {
                if let Some(sum) = summary_sum(samples, format) {
                    lines.count_and_sum(count, sum)?;
                }
                lines.created(samples.created, created)?;
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
                if let Some(sum) = histogram_sum(family, samples, format) {
                    lines.count_and_sum(count, sum)?;
                }
                lines.created(samples.created, created)?;
            }
        }
    }
    Ok(())
}

/// A summary's sum, if it may stand on a page of this format: the text formats take any.
fn summary_sum(samples: Samples, format: Format) -> Option<Number> {
    match format.is_openmetrics() {
        true => samples.exposable_sum(),
        false => Some(samples.sum),
    }
}

/// "A Histogram MetricPoint … with negative thresholds … MUST NOT have a Sum" (OpenMetrics 1.0, "Histogram").
fn histogram_sum(family: &Family, samples: Samples, format: Format) -> Option<Number> {
    summary_sum(samples, format).filter(|_| !format.is_openmetrics() || !family.buckets.has_negative())
}

/// TYPE, UNIT and HELP, in this order; empty ones not at all (OpenMetrics 1.0, "MetricFamily metadata").
fn openmetrics_metadata(out: &mut impl Write, family: &Family, name: &str, format: Format) -> io::Result<()> {
    writeln!(out, "# TYPE {name} {}", family.kind.name())?;
    if let Some(unit) = &family.unit {
        let unit = format.name_of(unit);
        // Not so for counters with doubled underscores.
        if name.ends_with(&format!("_{unit}")) {
            writeln!(out, "# UNIT {name} {unit}")?;
        }
    }
    if !family.help.is_empty() {
        write!(out, "# HELP {name} ")?;
        escape::write(out, family.help.as_bytes())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// HELP and TYPE, which carry the samples' name (Prometheus, "Text-based format").
fn text_metadata(out: &mut impl Write, family: &Family, name: &str) -> io::Result<()> {
    let suffix = if family.kind == Kind::Counter { "_total" } else { "" };
    if !family.help.is_empty() {
        write!(out, "# HELP {name}{suffix} ")?;
        escape::write_help(out, family.help.as_bytes())?;
        out.write_all(b"\n")?;
    }
    writeln!(out, "# TYPE {name}{suffix} {}", family.kind.name())
}

/// `a="1",b="2"`, without the braces.
fn write_labels(out: &mut Vec<u8>, names: &[Cow<'_, str>], series: &Series<'_>) -> io::Result<()> {
    for (name, value) in names.iter().zip(series.label_values()) {
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

    fn created(&mut self, since: f64, shown: bool) -> io::Result<()> {
        match shown {
            true => self.sample("_created", Number::Float(since)),
            false => Ok(()),
        }
    }
}
