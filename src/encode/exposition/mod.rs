//! Pages: OpenMetrics 1.0 and the Prometheus text formats. `docs/openmetrics.md` tells how each of their rules is met.

pub mod format;

pub use format::{Escaping, Format};

use super::{escape, number};
use crate::model::{canonical_text, plain_text, Kind, Number};
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
        let of_quantiles = families
            .values()
            .filter(|family| family.quantiles_name.as_deref() == Some(name));
        found
            .chain(of_quantiles)
            .map(|family| family.name.clone())
            .collect::<Vec<_>>()
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
    if family.expires() && family.series_count() == 0 {
        // All that it had has left the page.
        return Ok(());
    }
    let name = &*format.family_name(&family.name, family.kind);
    write_metadata(out, family, name, family.kind, format)?;
    // Only OpenMetrics has them; in the older formats they would be series of no type.
    let created = options.created && format.is_openmetrics();
    let label_names = LabelNames::of(family, format)?;
    let mut lines = Lines::new(out, name);
    for series in snapshot.series(family) {
        label_names.write(&mut lines.labels, &series)?;
        match series.point {
            Point::Gauge(value) => lines.sample("", value)?,
            Point::Counter(total, since) => {
                lines.sample("_total", total)?;
                lines.created(since, created)?;
            }
            Point::Summary(samples, count) => {
                lines.quantiles(series.quantiles(family), options, format)?;
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
    match &family.quantiles_name {
        Some(name) => write_quantiles(out, family, name, snapshot, options, format),
        None => Ok(()),
    }
}

/// Writes the quantiles of a histogram: a summary of its own, since "Histogram … MetricPoints" have none (OpenMetrics 1.0).
fn write_quantiles(
    out: &mut impl Write,
    family: &Family,
    name: &str,
    snapshot: &FamilySnapshot,
    options: Options,
    format: Format,
) -> io::Result<()> {
    let name = &*format.family_name(name, Kind::Summary);
    write_metadata(out, family, name, Kind::Summary, format)?;
    let label_names = LabelNames::of(family, format)?;
    let mut lines = Lines::new(out, name);
    for series in snapshot.series(family) {
        label_names.write(&mut lines.labels, &series)?;
        lines.quantiles(series.quantiles(family), options, format)?;
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

/// The metadata of a family that is called `name` on this page.
fn write_metadata(out: &mut impl Write, family: &Family, name: &str, kind: Kind, format: Format) -> io::Result<()> {
    match format.is_openmetrics() {
        true => openmetrics_metadata(out, family, name, kind, format),
        false => text_metadata(out, family, name, kind),
    }
}

/// TYPE, UNIT and HELP, in this order; empty ones not at all (OpenMetrics 1.0, "MetricFamily metadata").
fn openmetrics_metadata(
    out: &mut impl Write,
    family: &Family,
    name: &str,
    kind: Kind,
    format: Format,
) -> io::Result<()> {
    writeln!(out, "# TYPE {name} {}", kind.name())?;
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
fn text_metadata(out: &mut impl Write, family: &Family, name: &str, kind: Kind) -> io::Result<()> {
    let suffix = if kind == Kind::Counter { "_total" } else { "" };
    if !family.help.is_empty() {
        write!(out, "# HELP {name}{suffix} ")?;
        escape::write_help(out, family.help.as_bytes())?;
        out.write_all(b"\n")?;
    }
    writeln!(out, "# TYPE {name}{suffix} {}", kind.name())
}

/// The label names of a family, as they stand on a page, and the labels that all series have.
struct LabelNames<'a> {
    names: Vec<Cow<'a, str>>,
    /// Written out, as they follow on others.
    constant: Vec<u8>,
}

impl<'a> LabelNames<'a> {
    fn of(family: &'a Family, format: Format) -> io::Result<LabelNames<'a>> {
        let mut constant = Vec::new();
        for (name, value) in family.constant_labels.iter() {
            write_label(&mut constant, &format.name_of(name), value.as_bytes())?;
        }
        Ok(LabelNames {
            names: family.label_names.iter().map(|name| format.name_of(name)).collect(),
            constant,
        })
    }

    /// Replaces `out` by the labels of a series: `a="1",b="2"`, without the braces.
    fn write(&self, out: &mut Vec<u8>, series: &Series<'_>) -> io::Result<()> {
        out.clear();
        for (name, value) in self.names.iter().zip(series.label_values()) {
            write_label(out, name, value)?;
        }
        if !out.is_empty() && !self.constant.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(&self.constant);
        Ok(())
    }
}

fn write_label(out: &mut Vec<u8>, name: &str, value: &[u8]) -> io::Result<()> {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    escape::write(out, value)?;
    out.push(b'"');
    Ok(())
}

/// The sample lines of one family.
struct Lines<'a, W> {
    out: &'a mut W,
    name: &'a str,
    /// The labels of the series at hand.
    labels: Vec<u8>,
}

/// The labels that single samples have.
#[derive(Clone, Copy)]
enum Own {
    Le,
    Quantile,
}

impl<'a, W: Write> Lines<'a, W> {
    fn new(out: &'a mut W, name: &'a str) -> Self {
        Lines {
            out,
            name,
            labels: Vec::new(),
        }
    }

    /// Everything before the value. `own` is a label of this sample alone, with its text.
    fn start(&mut self, suffix: &str, own: Option<(Own, &str)>) -> io::Result<()> {
        self.out.write_all(self.name.as_bytes())?;
        self.out.write_all(suffix.as_bytes())?;
        if !self.labels.is_empty() || own.is_some() {
            self.out.write_all(b"{")?;
            self.out.write_all(&self.labels)?;
            if let Some((own, text)) = own {
                // Each of a length that is known here, which is a good deal faster.
                match (own, self.labels.is_empty()) {
                    (Own::Le, true) => self.out.write_all(b"le=\"")?,
                    (Own::Le, false) => self.out.write_all(b",le=\"")?,
                    (Own::Quantile, true) => self.out.write_all(b"quantile=\"")?,
                    (Own::Quantile, false) => self.out.write_all(b",quantile=\"")?,
                }
                self.out.write_all(text.as_bytes())?;
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
        self.start("_bucket", Some((Own::Le, le)))?;
        number::write_count(self.out, cumulative)?;
        self.out.write_all(b"\n")
    }

    /// "Quantile values … MUST NOT be negative" (OpenMetrics 1.0, "Summary"): so those are left out there.
    fn quantiles(
        &mut self,
        quantiles: impl Iterator<Item = (f64, f64)>,
        options: Options,
        format: Format,
    ) -> io::Result<()> {
        for (quantile, value) in quantiles {
            if value < 0.0 && format.is_openmetrics() {
                continue;
            }
            let text = match options.canonical_le {
                true => canonical_text(quantile),
                false => plain_text(quantile),
            };
            self.start("", Some((Own::Quantile, &text)))?;
            number::write(self.out, Number::Float(value))?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
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
