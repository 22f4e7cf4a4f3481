//! One rule: what it is about, and what it decides.

use crate::model::{Kind, Number};
use std::fmt;
use std::time::Duration;
use wildmatch::WildMatch;

/// A glob: `*` stands for any characters, `?` for one. It is compared with the whole text.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(WildMatch);

impl Pattern {
    /// The pattern that `text` is.
    pub fn new(text: &str) -> Pattern {
        Pattern(WildMatch::new(text))
    }

    /// Whether `text` is as the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a rule stands, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its number, from 1.
    pub number: usize,
    /// The file and the line there, if it is in one.
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

/// A rule. What is `None` it leaves as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The names of the families it is about.
    pub name: Pattern,
    /// The hosts whose series it is about, if not all.
    pub host: Option<Pattern>,
    /// The types of families it is about, if not all.
    pub kinds: Option<Vec<Kind>>,
    /// Whether nothing is kept.
    pub drop: Option<bool>,
    /// The thresholds of a histogram's buckets.
    pub buckets: Option<Vec<Number>>,
    /// How many series there may be.
    pub max_series: Option<usize>,
    /// After how many seconds without an update a series goes; 0 for never.
    pub idle_ttl: Option<u32>,
    /// The quantiles that are shown, ascending; may be none.
    pub quantiles: Option<Vec<f64>>,
    /// How far back they look.
    pub quantile_window: Option<Duration>,
    /// Whether samples below zero are kept, instead of counting as zero.
    pub allow_negative: Option<bool>,
    /// Where it stands.
    pub origin: Origin,
}

impl Rule {
    /// Whether it is about families of this name and type. A counter is also known by the name of its samples.
    pub(super) fn applies(&self, name: &str, kind: Kind) -> bool {
        let named = self.name.matches(name) || (kind == Kind::Counter && self.name.matches(&format!("{name}_total")));
        named && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// What of it holds for families of this type, which it is about. Counters that go away take what they counted with
    /// them, and quantiles of a histogram are a further family on the page: so that must be said of the type.
    pub(super) fn for_kind(&self, kind: Kind) -> Rule {
        let said = self.kinds.is_some();
        let quantiles = kind == Kind::Summary || (kind == Kind::Histogram && said);
        let mut rule = self.clone();
        rule.idle_ttl = rule.idle_ttl.filter(|_| kind != Kind::Counter || said);
        rule.buckets = rule.buckets.filter(|_| kind == Kind::Histogram);
        rule.quantiles = rule.quantiles.filter(|_| quantiles);
        rule.quantile_window = rule.quantile_window.filter(|_| quantiles);
        rule.allow_negative = rule.allow_negative.filter(|_| kind.is_of_samples());
        rule
    }
}
