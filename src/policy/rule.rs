//! One rule: the families and series that it is for, and what it decides for them.

use crate::model::{Kind, Number};
use std::fmt;
use std::time::Duration;
use wildmatch::WildMatch;

/// A glob: `*` stands for any characters, `?` for one. It is compared with the whole text.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(WildMatch);

impl Pattern {
    /// The pattern with this text.
    pub fn new(text: &str) -> Pattern {
        Pattern(WildMatch::new(text))
    }

    /// Whether the whole of `text` is as the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the operator wrote a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The rule's number, from 1.
    pub number: usize,
    /// The file and the line there, if the rule is in a file.
    pub line: Option<(String, usize)>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.number)?;
        match &self.line {
            Some((file, line)) => write!(f, ", {file}, line {line}"),
            None => Ok(()),
        }
    }
}

/// A rule. Of what is `None` it decides nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The names of the families that the rule is for.
    pub name: Pattern,
    /// The hosts whose series the rule is for; `None` for all series.
    pub host: Option<Pattern>,
    /// The types of the families that the rule is for; `None` for all types.
    pub kinds: Option<Vec<Kind>>,
    /// Whether the series are not kept.
    pub drop: Option<bool>,
    /// The thresholds of a histogram's buckets.
    pub buckets: Option<Vec<Number>>,
    /// How many series the rule allows, of each family.
    pub max_series: Option<usize>,
    /// After how many seconds without an update a series goes; 0 for never.
    pub idle_ttl: Option<u32>,
    /// The quantiles that are shown, ascending; an empty list shows none.
    pub quantiles: Option<Vec<f64>>,
    /// How far back quantiles look.
    pub quantile_window: Option<Duration>,
    /// Whether samples below zero are kept, instead of counting as zero.
    pub allow_negative: Option<bool>,
    /// Where the operator wrote it.
    pub origin: Origin,
}

impl Rule {
    /// Whether the rule is for families of this name and type. A counter is also known by the name of its samples.
    pub(super) fn applies(&self, name: &str, kind: Kind) -> bool {
        let named = self.name.matches(name) || (kind == Kind::Counter && self.name.matches(&format!("{name}_total")));
        named && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// The part of the rule that holds for families of this type, which the rule must be for. Counters that go take
    /// their totals with them, and quantiles of a histogram are a further family on the page: so idle times of counters
    /// and quantiles of histograms hold only if the rule names the type.
    pub(super) fn for_kind(&self, kind: Kind) -> Rule {
        let names_type = self.kinds.is_some();
        let quantiles = kind == Kind::Summary || (kind == Kind::Histogram && names_type);
        let mut rule = self.clone();
        rule.idle_ttl = rule.idle_ttl.filter(|_| kind != Kind::Counter || names_type);
        rule.buckets = rule.buckets.filter(|_| kind == Kind::Histogram);
        rule.quantiles = rule.quantiles.filter(|_| quantiles);
        rule.quantile_window = rule.quantile_window.filter(|_| quantiles);
        rule.allow_negative = rule.allow_negative.filter(|_| kind.is_of_samples());
        rule
    }
}
