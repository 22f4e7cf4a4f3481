//! From news to lines.

use super::names::{FamilyNames, Names, SeriesName};
use super::parts::{Part, Suffixes};
use super::{Dropped, Histograms, Options, Tags};
use crate::encode::number;
use crate::model::Number;
use crate::snapshot::changes::News;
use crate::snapshot::{FamilySnapshot, Series};
use crate::store::Family;
use std::io::Write;

/// Writes lines. It knows all names in use, so there is one for each server.
pub struct Encoder {
    options: Options,
    names: Names,
    lines: Vec<u8>,
}

/// What the encoder remembers of a family.
pub struct FamilyOnWire {
    names: FamilyNames,
    name: SeriesName,
}

/// Takes what is written: lines that must stay together, joined by line feeds, without one at the end.
pub trait Sink {
    /// Takes some lines.
    fn lines(&mut self, lines: &[u8]);
    /// Learns that a line of this name could not be written.
    fn dropped(&mut self, cause: Dropped, name: &[u8]);
}

impl Encoder {
    /// One that hasn't given any names yet.
    pub fn new(options: Options) -> Encoder {
        Encoder {
            options,
            names: Names::default(),
            lines: Vec::new(),
        }
    }

    /// What is kept of a family from its first line to its last.
    pub fn family(&mut self, family: &Family) -> FamilyOnWire {
        FamilyOnWire {
            names: FamilyNames::new(family, &self.options, &mut self.names),
            name: SeriesName::default(),
        }
    }

    /// Gives back the names of a family whose series are all in `snapshot`.
    pub fn forget(&mut self, family: &Family, mut state: FamilyOnWire, snapshot: &FamilySnapshot) {
        for series in snapshot.all(family) {
            let names = &mut state.names;
            names.give_back_series(family, series.number, &series, &self.options, &mut self.names);
        }
        state.names.give_back(&self.options, &mut self.names);
    }

    /// Writes the lines for what is new of the series of this number.
    pub fn write(
        &mut self,
        family: &Family,
        state: &mut FamilyOnWire,
        number: usize,
        series: &Series<'_>,
        news: &News<'_>,
        sink: &mut impl Sink,
    ) {
        let Encoder { options, names, lines } = self;
        let name = &mut state.name;
        if *news == News::Gone {
            return state.names.give_back_series(family, number, series, options, names);
        }
        if !state.names.name(family, number, series, options, names, name) {
            return sink.dropped(Dropped::NameTaken, &name.path);
        }
        if let (News::Counter(step), Tags::None) = (news, options.tags) {
            return plain_count(&mut name.path, *step, sink);
        }
        let mut out = Lines {
            options,
            suffixes: &state.names.suffixes,
            name,
            lines,
            sink,
        };
        match *news {
            News::Gauge(value) => out.gauge(Part::Whole, value),
            News::Counter(step) => out.number(Part::Whole, None, step, "c"),
            News::Summary(sum, count) => {
                if let Some(sum) = sum {
                    out.number(Part::Sum, None, sum, "c");
                }
                out.count(Part::Count, None, count);
            }
            News::Histogram(sum, steps) => {
                for (number, (bucket, step)) in family.buckets.as_slice().iter().zip(steps).enumerate() {
                    out.count(Part::Bucket(number), Some(&bucket.le), *step);
                }
                out.gauge(Part::Sum, sum);
                out.count(Part::Count, None, steps.last().copied().unwrap_or(0));
            }
            News::Gone => {}
            News::Samples(samples, of_all) => {
                let seconds = family.raw_name == b"seconds" || family.raw_name.ends_with(b"_seconds");
                out.samples(samples, of_all, seconds);
            }
        }
    }
}

/// The line that there are most of, which is made where the name stands and not copied.
fn plain_count(path: &mut Vec<u8>, step: Number, sink: &mut impl Sink) {
    if !step.is_finite() {
        return sink.dropped(Dropped::NotFinite, path);
    }
    let end = path.len();
    path.push(b':');
    // Writing to memory doesn't fail.
    let _ = number::write(path, step);
    path.extend_from_slice(b"|c");
    sink.lines(path);
    path.truncate(end);
}

struct Lines<'a, S> {
    options: &'a Options,
    suffixes: &'a Suffixes,
    name: &'a SeriesName,
    lines: &'a mut Vec<u8>,
    sink: &'a mut S,
}

impl<S: Sink> Lines<'_, S> {
    /// A counter's line, if there is anything to count.
    fn count(&mut self, part: Part, le: Option<&str>, count: u64) {
        if count > 0 {
            let count = i64::try_from(count).map_or(Number::Float(count as f64), Number::Int);
            self.number(part, le, count, "c");
        }
    }

    /// Most servers take a number with a sign for a step, so a gauge below zero is set to zero first.
    fn gauge(&mut self, part: Part, value: Number) {
        if !value.is_finite() {
            return self.sink.dropped(Dropped::NotFinite, &self.name.path);
        }
        self.lines.clear();
        if value.is_negative() {
            self.line(part, None, Number::ZERO, "g", None);
            self.lines.push(b'\n');
        }
        self.line(part, None, value, "g", None);
        self.sink.lines(self.lines);
    }

    fn number(&mut self, part: Part, le: Option<&str>, value: Number, kind: &str) {
        self.sampled(part, le, value, kind, None);
    }

    fn samples(&mut self, samples: &[Number], of_all: u64, seconds: bool) {
        let (kind, in_milliseconds) = match (self.options.histograms, self.options.tags) {
            (Histograms::Distribution, _) => ("d", false),
            // Servers without tags know no `h`.
            (_, Tags::None) => ("ms", seconds),
            (_, _) if seconds => ("ms", true),
            (_, _) => ("h", false),
        };
        let count = samples.len() as u64;
        let rate = (count < of_all).then(|| count as f64 / of_all as f64);
        for sample in samples {
            if kind == "ms" && sample.is_negative() {
                self.sink.dropped(Dropped::Negative, &self.name.path);
                continue;
            }
            let value = if in_milliseconds { times_1000(*sample) } else { *sample };
            self.sampled(Part::Whole, None, value, kind, rate);
        }
    }

    fn sampled(&mut self, part: Part, le: Option<&str>, value: Number, kind: &str, rate: Option<f64>) {
        if !value.is_finite() {
            return self.sink.dropped(Dropped::NotFinite, &self.name.path);
        }
        self.lines.clear();
        self.line(part, le, value, kind, rate);
        self.sink.lines(self.lines);
    }

    fn line(&mut self, part: Part, le: Option<&str>, value: Number, kind: &str, rate: Option<f64>) {
        let Lines {
            options, name, lines, ..
        } = self;
        // Adding zero takes the sign off a zero.
        let value = match value.as_f64() == 0.0 {
            true => value.plus(Number::ZERO),
            false => value,
        };
        let suffix = self.suffixes.of(part);
        lines.extend_from_slice(&name.path);
        if !suffix.is_empty() {
            lines.extend_from_slice(suffix.as_bytes());
        }
        let le = le.filter(|_| options.tags != Tags::None);
        let tagged = le.is_some() || !name.tags.is_empty();
        if options.tags == Tags::Influx && tagged {
            lines.push(b',');
            write_tags(lines, &name.tags, le, '=');
        }
        lines.push(b':');
        // Writing to memory doesn't fail.
        let _ = number::write(lines, value);
        lines.push(b'|');
        lines.extend(kind.bytes());
        if let Some(rate) = rate {
            // `{}` writes no exponent, which statsd wouldn't read here.
            let _ = write!(lines, "|@{rate}");
        }
        if options.tags == Tags::DogStatsd {
            if tagged {
                lines.extend_from_slice(b"|#");
                write_tags(lines, &name.tags, le, ':');
            }
            if let Some(container) = &options.container {
                let _ = write!(lines, "|c:{container}");
            }
        }
    }
}

fn write_tags(out: &mut Vec<u8>, tags: &[u8], le: Option<&str>, separator: char) {
    out.extend_from_slice(tags);
    if let Some(le) = le {
        let comma = if tags.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}le{separator}{le}");
    }
}

/// Seconds as milliseconds, by moving the decimal point, so that no digits come in from rounding twice.
fn times_1000(number: Number) -> Number {
    match number {
        Number::Int(n) => n.checked_mul(1000).map_or(Number::Float(n as f64 * 1e3), Number::Int),
        Number::Float(x) => {
            let text = format!("{x:e}");
            let moved = text.split_once('e').and_then(|(mantissa, exponent)| {
                let exponent: i32 = exponent.parse().ok()?;
                format!("{mantissa}e{}", exponent + 3).parse().ok()
            });
            Number::Float(moved.unwrap_or(x * 1e3))
        }
    }
}
