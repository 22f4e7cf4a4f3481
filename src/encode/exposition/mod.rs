//! Pages: OpenMetrics 1.0 and the Prometheus text formats. `docs/openmetrics.md` tells how each of their rules is met.

pub mod format;
mod lines;

pub use format::Format;

use super::escape;
use crate::model::{canonical_text, plain_text, Kind, Number};
use crate::snapshot::{FamilySnapshot, GaugeValues, Point, Samples};
use crate::store::{Family, Store};
use lines::{Lines, Own, Sample};
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
            .flat_map(|kind| kind.suffixes().map(move |suffix| (kind, suffix)));
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
    let gauges: HashMap<*const Family, Gauges> = store.consistently(|| {
        let gauges = wanted().filter(|family| family.kind == Kind::Gauge);
        gauges.map(|family| (Arc::as_ptr(family), Gauges::of(family))).collect()
    });
    let mut snapshot = FamilySnapshot::new();
    for family in wanted() {
        let Some(mut lines) = begin_family(out, family, &family.name, family.kind, format)? else {
            continue;
        };
        let mut writer = SeriesWriter::new(&mut lines, family, options, format);
        match gauges.get(&Arc::as_ptr(family)) {
            Some(Gauges::Values(values)) => snapshot.take_gauges(values, |part| writer.write(part))?,
            Some(Gauges::Whole(gauges)) => writer.write(gauges)?,
            None if family.has_lives() => {
                snapshot.take(family);
                writer.write(&snapshot)?;
            }
            None => snapshot.take_parts(family, |part| writer.write(part))?,
        }
        lines.flush()?;
        if let Some(name) = &family.quantiles_name {
            write_quantiles(out, family, name, &snapshot, options, format)?;
        }
    }
    match format.is_openmetrics() {
        true => out.write_all(b"# EOF\n"),
        false => Ok(()),
    }
}

/// The gauges of a family at one moment.
enum Gauges {
    Values(GaugeValues),
    /// Of series that expire, whose records may be others' by the time that they are written.
    Whole(FamilySnapshot),
}

impl Gauges {
    fn of(family: &Family) -> Gauges {
        match family.expires() {
            true => Gauges::Whole(FamilySnapshot::of(family)),
            false => Gauges::Values(GaugeValues::of(family)),
        }
    }
}

/// Writes a family's metadata; its sample lines are to follow. `None` if all that it had has left the page.
fn begin_family<'a, W: Write>(
    out: &'a mut W,
    family: &Family,
    name: &'a str,
    kind: Kind,
    format: Format,
) -> io::Result<Option<Lines<'a, W>>> {
    if family.expires() && family.series_count() == 0 {
        return Ok(None);
    }
    match format.is_openmetrics() {
        true => openmetrics_metadata(out, family, name, kind)?,
        false => text_metadata(out, family, name, kind)?,
    }
    Lines::new(out, family, name).map(Some)
}

/// Writes the series of a family.
struct SeriesWriter<'a, 'b, W> {
    lines: &'a mut Lines<'b, W>,
    family: &'a Family,
    format: Format,
    /// Whether there are `_created` samples. Only OpenMetrics has them; in the older formats they would be series of no type.
    created: bool,
    /// A histogram's, bucket by bucket.
    buckets: Vec<Own>,
    quantiles: Quantiles,
}

impl<'a, 'b, W: Write> SeriesWriter<'a, 'b, W> {
    fn new(lines: &'a mut Lines<'b, W>, family: &'a Family, options: Options, format: Format) -> Self {
        let buckets = family.buckets.as_slice().iter().map(|bucket| {
            let le = match options.canonical_le {
                true => &bucket.canonical_le,
                false => &bucket.le,
            };
            lines.own("_bucket", "le", le)
        });
        SeriesWriter {
            created: options.created && !family.uncreated && format.is_openmetrics(),
            buckets: buckets.collect(),
            lines,
            family,
            format,
            quantiles: Quantiles::new(options, format),
        }
    }

    fn write(&mut self, snapshot: &FamilySnapshot) -> io::Result<()> {
        for series in snapshot.series(self.family) {
            self.lines.begin(&series)?;
            match series.point {
                Point::Gauge(value) => self.lines.sample(Sample::Plain, value)?,
                Point::Counter(total, since) => {
                    self.lines.sample(Sample::Total, total)?;
                    self.end(since)?;
                }
                Point::Summary(samples, count) => {
                    self.quantiles.write(self.lines, series.quantiles(self.family))?;
                    // Without a sum, too: nothing in "Summary" keeps it from being there alone.
                    self.lines.count(count)?;
                    if let Some(sum) = sum(samples, self.format) {
                        self.lines.sample(Sample::Sum, sum)?;
                    }
                    self.end(samples.created)?;
                }
                Point::Histogram(samples, counts) => {
                    let mut count = 0;
                    for (own, cumulative) in self.buckets.iter().zip(counts.cumulative()) {
                        self.lines.own_count(own, cumulative)?;
                        count = cumulative;
                    }
                    if let Some(sum) = histogram_sum(self.family, samples, self.format) {
                        self.lines.count(count)?;
                        self.lines.sample(Sample::Sum, sum)?;
                    }
                    self.end(samples.created)?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, since: f64) -> io::Result<()> {
        match self.created {
            true => self.lines.created(since),
            false => Ok(()),
        }
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
    let Some(mut lines) = begin_family(out, family, name, Kind::Summary, format)? else {
        return Ok(());
    };
    let mut quantiles = Quantiles::new(options, format);
    for series in snapshot.series(family) {
        lines.begin(&series)?;
        quantiles.write(&mut lines, series.quantiles(family))?;
    }
    lines.flush()
}

/// Writes quantiles, which are the same ones for all series of a family.
struct Quantiles {
    options: Options,
    format: Format,
    known: Vec<(f64, Own)>,
}

impl Quantiles {
    fn new(options: Options, format: Format) -> Quantiles {
        Quantiles {
            options,
            format,
            known: Vec::new(),
        }
    }

    /// "Quantile values … MUST NOT be negative" (OpenMetrics 1.0, "Summary"): so those are left out there.
    fn write<W: Write>(
        &mut self,
        lines: &mut Lines<'_, W>,
        quantiles: impl Iterator<Item = (f64, f64)>,
    ) -> io::Result<()> {
        for (quantile, value) in quantiles {
            if value < 0.0 && self.format.is_openmetrics() {
                continue;
            }
            if !self.known.iter().any(|(known, _)| *known == quantile) {
                let text = match self.options.canonical_le {
                    true => canonical_text(quantile),
                    false => plain_text(quantile),
                };
                self.known.push((quantile, lines.own("", "quantile", &text)));
            }
            for (_, own) in self.known.iter().filter(|(known, _)| *known == quantile) {
                lines.own_sample(own, Number::Float(value))?;
            }
        }
        Ok(())
    }
}

/// A sum, if it may stand on a page of this format: the text formats take any.
fn sum(samples: Samples, format: Format) -> Option<Number> {
    match format.is_openmetrics() {
        true => samples.exposable_sum(),
        false => Some(samples.sum),
    }
}

/// "A Histogram MetricPoint … with negative thresholds … MUST NOT have a Sum", and without a sum there is no count (OpenMetrics
/// 1.0, "Histogram").
fn histogram_sum(family: &Family, samples: Samples, format: Format) -> Option<Number> {
    sum(samples, format).filter(|_| !format.is_openmetrics() || !family.buckets.has_negative())
}

/// TYPE, UNIT and HELP, in this order; empty ones not at all (OpenMetrics 1.0, "MetricFamily metadata").
fn openmetrics_metadata(out: &mut impl Write, family: &Family, name: &str, kind: Kind) -> io::Result<()> {
    writeln!(out, "# TYPE {name} {}", kind.name())?;
    if let Some(unit) = &family.unit {
        // Not so for the quantiles of a histogram.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LabelSet;
    use crate::store::FamilySpec;

    /// The suffixes of a page's samples, each once.
    fn suffixes(page: &str, name: &str) -> Vec<String> {
        let samples = page.lines().filter_map(|line| line.strip_prefix(name));
        let mut suffixes: Vec<String> = samples
            .map(|rest| rest.split([' ', '{']).next().unwrap_or_default().to_owned())
            .collect();
        suffixes.dedup();
        suffixes
    }

    #[test]
    fn each_kind_shows_its_columns() {
        for kind in Kind::ALL {
            let store = Store::new();
            let (mut writer, _) = store.register(FamilySpec::new(kind, "x")).unwrap();
            let (location, _) = writer.find_or_create(LabelSet::new().as_bytes()).unwrap();
            if kind == Kind::Gauge {
                crate::store::updates::gauge::set(writer.record(location), 1_u64.into(), &writer.family().cork);
            }
            let mut out = Vec::new();
            page(&mut out, &store, Options::default(), Format::OpenMetrics0, None).unwrap();
            let columns: Vec<&str> = kind.columns().iter().map(|column| column.suffix()).collect();
            assert_eq!(suffixes(&String::from_utf8(out).unwrap(), "x"), columns, "{kind:?}");
        }
    }
}
