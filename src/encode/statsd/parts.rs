//! The lines of one series, and what tells their names apart.

use super::{Histograms, Options, Tags};
use crate::model::Kind;
use crate::store::Family;

/// One line of a series.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// The only one: a gauge's value, a counter's step, a sample.
    Whole,
    /// The step of this bucket of a histogram.
    Bucket(usize),
    /// The sum of samples.
    Sum,
    /// How many there were.
    Count,
}

const SUM: &str = ".sum";
const COUNT: &str = ".count";

/// What follows a series' path, line by line.
pub(super) struct Suffixes {
    buckets: Vec<String>,
    others: &'static [&'static str],
}

impl Suffixes {
    /// What the lines of a family's series have.
    pub(super) fn new(family: &Family, options: &Options) -> Suffixes {
        let bucket = |le: &String| match options.tags {
            Tags::None => format!(".bucket.{}", le.replace('.', "_")),
            Tags::DogStatsd | Tags::Influx => ".bucket".to_owned(),
        };
        // metre's own have no samples to be sent one by one.
        let histograms = match family.own {
            true => Histograms::Buckets,
            false => options.histograms,
        };
        match (family.kind, histograms) {
            (Kind::Summary, _) | (Kind::Histogram, Histograms::Buckets) => Suffixes {
                buckets: family.buckets.as_slice().iter().map(|of| bucket(&of.le)).collect(),
                others: &[SUM, COUNT],
            },
            (Kind::Gauge | Kind::Counter, _) | (Kind::Histogram, Histograms::Timing | Histograms::Distribution) => {
                Suffixes {
                    buckets: Vec::new(),
                    others: &[""],
                }
            }
        }
    }

    /// All of them, those of buckets first.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        let buckets = self.buckets.iter().map(String::as_str);
        buckets.chain(self.others.iter().copied())
    }

    /// What follows in this line.
    pub(super) fn of(&self, part: Part) -> &str {
        match part {
            Part::Whole => "",
            Part::Bucket(number) => self.buckets.get(number).map_or("", String::as_str),
            Part::Sum => SUM,
            Part::Count => COUNT,
        }
    }
}
