//! What the operator decides about families and series, whatever modules register. `docs/policy.md` is for operators.

mod explain;
mod rule;

pub use explain::explain;
pub use rule::{Origin, Pattern, Rule};

use crate::model::{labels, Kind, Number};
use std::fmt;
use std::time::Duration;

/// Everything the operator has decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// How much there may be.
    pub limits: Limits,
    /// Labels on every series, by name; at most one of a name.
    pub labels: Vec<(String, String)>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// How much modules may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Families.
    pub max_families: usize,
    /// Series of all families together.
    pub max_series: usize,
    /// Series of one family, unless a rule says something else.
    pub max_series_per_family: usize,
    /// The longest label value, and the longest name, in bytes.
    pub max_label_bytes: usize,
    /// Series with quantiles, of all families together.
    pub max_quantile_series: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_families: 5000,
            max_series: 1_000_000,
            max_series_per_family: 50_000,
            max_label_bytes: 1024,
            max_quantile_series: 10_000,
        }
    }
}

impl Limits {
    /// None to speak of.
    pub fn none() -> Limits {
        Limits {
            max_families: usize::MAX,
            max_series: usize::MAX,
            max_series_per_family: usize::MAX,
            max_label_bytes: usize::MAX,
            max_quantile_series: usize::MAX,
        }
    }
}

/// What a label set ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Limits::max_series`].
    Series,
    /// [`Limits::max_series_per_family`].
    SeriesPerFamily,
    /// A rule's `max_series`.
    Rule,
    /// [`Limits::max_label_bytes`].
    LabelBytes,
    /// [`Limits::max_quantile_series`].
    QuantileSeries,
}

impl Limit {
    /// All of them, in the order of the enum.
    pub const ALL: [Limit; 5] = [
        Limit::Series,
        Limit::SeriesPerFamily,
        Limit::Rule,
        Limit::LabelBytes,
        Limit::QuantileSeries,
    ];

    /// As the value of a label.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Series => "max_series",
            Limit::SeriesPerFamily => "max_series_per_family",
            Limit::Rule => "rule",
            Limit::LabelBytes => "max_label_bytes",
            Limit::QuantileSeries => "max_quantile_series",
        }
    }

    /// Whether a label set that ran into it may have a series later on.
    pub fn may_pass(self) -> bool {
        matches!(self, Limit::Series | Limit::SeriesPerFamily | Limit::Rule)
    }

    /// What it means for a label set that is new, as the rest of a sentence that begins with "new label sets".
    pub fn meaning(self) -> &'static str {
        match self {
            Limit::Series => {
                "are beyond limits.max_series and share one series from now on, with 'overflow' as label values"
            }
            Limit::SeriesPerFamily => {
                "are beyond limits.max_series_per_family and share one series from now on, with 'overflow' as label values"
            }
            Limit::Rule => {
                "are beyond the max_series of a rule and share one series from now on, with 'overflow' as label values"
            }
            Limit::LabelBytes => {
                "with a value longer than limits.max_label_bytes share one series, with 'overflow' as label values"
            }
            Limit::QuantileSeries => "are beyond limits.max_quantile_series and have no quantiles",
        }
    }
}

/// Why a family is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A rule says so.
    Dropped,
    /// [`Limits::max_families`].
    Families,
    /// Its name or a label key is longer than [`Limits::max_label_bytes`].
    NameBytes,
}

impl Ignored {
    /// All reasons, in the order of the enum.
    pub const ALL: [Ignored; 3] = [Ignored::Dropped, Ignored::Families, Ignored::NameBytes];

    /// As the value of a label.
    pub fn name(self) -> &'static str {
        match self {
            Ignored::Dropped => "drop",
            Ignored::Families => "max_families",
            Ignored::NameBytes => "max_label_bytes",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ignored::Dropped => "a rule drops it",
            Ignored::Families => "there are limits.max_families already",
            Ignored::NameBytes => "its name or a label key is longer than limits.max_label_bytes",
        })
    }
}

/// What is decided for one family. Made once, when it is registered.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyPolicy {
    /// The thresholds of its buckets, if not those of the module.
    pub buckets: Option<Vec<Number>>,
    /// The quantiles that are shown of its series, ascending.
    pub quantiles: Vec<f64>,
    /// How far back quantiles look.
    pub quantile_window: Duration,
    /// Whether samples below zero are kept, if that is decided.
    pub allow_negative: Option<bool>,
    /// The longest label value, in bytes.
    pub max_label_bytes: usize,
    /// Whether nothing is kept of any series.
    drops_all: bool,
    /// What holds for series for which no other rule does.
    series: SeriesPolicy,
    /// Which label holds the host, and the rules for some hosts and for all, in order; only if there are any for some.
    by_host: Option<(usize, Vec<SeriesRule>)>,
}

/// What a rule decides for series.
#[derive(Clone, Debug, PartialEq)]
struct SeriesRule {
    host: Option<Pattern>,
    drop: Option<bool>,
    max_series: Option<usize>,
    idle_ttl: Option<u32>,
}

impl SeriesRule {
    /// Nothing, if the rule decides nothing for series.
    fn new(rule: &Rule) -> Option<SeriesRule> {
        let Rule {
            host,
            drop,
            max_series,
            idle_ttl,
            ..
        } = rule.clone();
        let decides = drop.is_some() || max_series.is_some() || idle_ttl.is_some();
        decides.then_some(SeriesRule {
            host,
            drop,
            max_series,
            idle_ttl,
        })
    }
}

/// What is decided for one series. Made when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesPolicy {
    /// Whether nothing is kept of it.
    pub drop: bool,
    /// How many series there may be that have this limit.
    pub max_series: usize,
    /// The rule that says so, by its number among the rules for the family, from 1; 0 for none.
    pub limited_by: usize,
    /// After how many seconds without an update it goes; 0 for never.
    pub idle_ttl: u32,
}

/// Whether what a family of this name on the page measures is never below zero: times and sizes, which are told by the unit at
/// the end of the name. A sample that is comes from a clock that was set, or the like.
pub fn is_never_negative(name: &str) -> bool {
    ["seconds", "bytes"].iter().any(|unit| {
        name.strip_suffix(unit)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    })
}

/// The quantiles' window unless a rule says something else.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(120);

impl FamilyPolicy {
    /// What holds for metre's own families: no limits.
    pub fn unlimited() -> FamilyPolicy {
        FamilyPolicy {
            buckets: None,
            quantiles: Vec::new(),
            quantile_window: DEFAULT_WINDOW,
            allow_negative: None,
            max_label_bytes: usize::MAX,
            drops_all: false,
            series: SeriesPolicy {
                drop: false,
                max_series: usize::MAX,
                limited_by: 0,
                idle_ttl: 0,
            },
            by_host: None,
        }
    }

    /// Whether nothing is kept of the whole family.
    pub fn drops_all(&self) -> bool {
        self.drops_all
    }

    /// The shortest idle time after which a series of the family may go, in seconds; 0 if none may.
    pub fn shortest_ttl(&self) -> u32 {
        let of_rules = self
            .by_host
            .iter()
            .flat_map(|(_, rules)| rules)
            .map(|rule| rule.idle_ttl.unwrap_or(0));
        let all = of_rules.chain(std::iter::once(self.series.idle_ttl));
        all.filter(|ttl| *ttl > 0).min().unwrap_or(0)
    }

    /// How many limits on series there are that are counted each by itself.
    pub fn scopes(&self) -> usize {
        self.by_host.as_ref().map_or(0, |(_, rules)| rules.len()) + 1
    }

    /// What is decided for the series with this encoded label set.
    pub fn series(&self, labels: &[u8]) -> SeriesPolicy {
        let Some((position, rules)) = &self.by_host else {
            return self.series;
        };
        let host = labels::values(labels).nth(*position).unwrap_or_default();
        // Patterns take time on long texts, and whoever sends this chooses its length.
        let host = String::from_utf8_lossy(&host[..host.len().min(self.max_label_bytes)]);
        let mut series = self.series;
        for (number, rule) in (1..).zip(rules) {
            if rule.host.as_ref().is_none_or(|pattern| pattern.matches(&host)) {
                series.follow(rule, number);
            }
        }
        series
    }
}

impl SeriesPolicy {
    fn follow(&mut self, rule: &SeriesRule, number: usize) {
        self.drop = rule.drop.unwrap_or(self.drop);
        if let Some(max_series) = rule.max_series {
            self.max_series = max_series;
            self.limited_by = number;
        }
        self.idle_ttl = rule.idle_ttl.unwrap_or(self.idle_ttl);
    }
}

impl Policy {
    /// Without limits and rules.
    pub fn unlimited() -> Policy {
        Policy {
            limits: Limits::none(),
            ..Policy::default()
        }
    }

    /// What is decided for a family of this name on the page and type, whose label keys these are.
    pub fn family(&self, name: &str, kind: Kind, label_keys: &[Vec<u8>]) -> FamilyPolicy {
        let host = label_keys.iter().position(|key| key == b"host");
        let rules: Vec<Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.applies(name, kind) && (rule.host.is_none() || host.is_some()))
            .map(|rule| rule.for_kind(kind))
            .collect();
        let mut policy = FamilyPolicy {
            max_label_bytes: self.limits.max_label_bytes,
            ..FamilyPolicy::unlimited()
        };
        policy.series.max_series = self.limits.max_series_per_family;
        for rule in &rules {
            policy.buckets = rule.buckets.clone().or(policy.buckets);
            policy.quantiles = rule.quantiles.clone().unwrap_or(policy.quantiles);
            policy.quantile_window = rule.quantile_window.unwrap_or(policy.quantile_window);
            policy.allow_negative = rule.allow_negative.or(policy.allow_negative);
        }
        let rules: Vec<SeriesRule> = rules.iter().filter_map(SeriesRule::new).collect();
        for rule in &rules {
            policy.drops_all = match (&rule.host, rule.drop) {
                (None, Some(drop)) => drop,
                (Some(_), Some(false)) => false,
                _ => policy.drops_all,
            };
        }
        match host.filter(|_| rules.iter().any(|rule| rule.host.is_some())) {
            Some(host) => policy.by_host = Some((host, rules)),
            // Whichever says so, there is one limit.
            None => rules.iter().for_each(|rule| policy.series.follow(rule, 1)),
        }
        policy
    }
}

#[cfg(test)]
mod tests;
