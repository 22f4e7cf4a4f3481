//! What the operator decides about families and series, whatever modules register. `docs/policy.md` has it for
//! operators.

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
    /// The limits for the whole store.
    pub limits: Limits,
    /// Labels on every series: names and values. No name comes twice.
    pub labels: Vec<(String, String)>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// How many families and series modules may make, and how long their texts may be.
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
    /// No limits that can be reached.
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

/// A limit that a label set ran into.
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
    /// All limits, in the order of the enum.
    pub const ALL: [Limit; 5] = [
        Limit::Series,
        Limit::SeriesPerFamily,
        Limit::Rule,
        Limit::LabelBytes,
        Limit::QuantileSeries,
    ];

    /// The limit as the value of a label.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Series => "max_series",
            Limit::SeriesPerFamily => "max_series_per_family",
            Limit::Rule => "rule",
            Limit::LabelBytes => "max_label_bytes",
            Limit::QuantileSeries => "max_quantile_series",
        }
    }

    /// Whether a label set that ran into this limit may get a series later on.
    pub fn may_pass(self) -> bool {
        matches!(self, Limit::Series | Limit::SeriesPerFamily | Limit::Rule)
    }

    /// What this limit does to label sets that are new, as the rest of a sentence that begins with "new label sets".
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

/// The reason for which a family is not kept.
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

    /// The reason as the value of a label.
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

/// What the operator has decided for one family. It is put together once, when the family is registered.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyPolicy {
    /// The thresholds of its buckets; `None` for those of the module.
    pub buckets: Option<Vec<Number>>,
    /// The quantiles that are shown of its series, ascending.
    pub quantiles: Vec<f64>,
    /// How far back quantiles look.
    pub quantile_window: Duration,
    /// Whether samples below zero are kept; `None` if no rule says so.
    pub allow_negative: Option<bool>,
    /// The longest label value, in bytes.
    pub max_label_bytes: usize,
    /// Whether no series of the family is kept.
    drops_all: bool,
    /// What holds for all series, unless `by_host` has rules.
    series: SeriesPolicy,
    /// The position of the label that holds the host, and all rules for the family in order; `None` if no rule is for
    /// some hosts only.
    by_host: Option<(usize, Vec<SeriesRule>)>,
}

/// What one rule decides for the series that it is for.
#[derive(Clone, Debug, PartialEq)]
struct SeriesRule {
    host: Option<Pattern>,
    drop: Option<bool>,
    max_series: Option<usize>,
    idle_ttl: Option<u32>,
}

impl SeriesRule {
    /// `None` if the rule decides nothing for series.
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

/// What the operator has decided for one series. It is put together when the series is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesPolicy {
    /// Whether the series is not kept.
    pub drop: bool,
    /// How many series may count in the same scope.
    pub max_series: usize,
    /// The scope that the series counts in: the number of the rule that gave `max_series`, from 1 among the family's
    /// rules; 0 if no rule did.
    pub scope: usize,
    /// After how many seconds without an update it goes; 0 for never.
    pub idle_ttl: u32,
}

/// Whether a family of this name on the page measures times or sizes (its name ends in the unit), which are never below
/// zero. A negative sample of these comes from a clock that was set, or the like.
pub fn is_never_negative(name: &str) -> bool {
    ["seconds", "bytes"].iter().any(|unit| {
        name.strip_suffix(unit)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    })
}

/// How far back quantiles look, unless a rule says something else.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(120);

impl FamilyPolicy {
    /// The policy of metre's own families: no limits, and no rules.
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
                scope: 0,
                idle_ttl: 0,
            },
            by_host: None,
        }
    }

    /// Whether no series of the family is kept, so that the family needn't be, either.
    pub fn drops_all(&self) -> bool {
        self.drops_all
    }

    /// The shortest idle time that a series of the family may have, in seconds; 0 if no series goes.
    pub fn shortest_ttl(&self) -> u32 {
        let of_rules = self
            .by_host
            .iter()
            .flat_map(|(_, rules)| rules)
            .map(|rule| rule.idle_ttl.unwrap_or(0));
        let all = of_rules.chain(std::iter::once(self.series.idle_ttl));
        all.filter(|ttl| *ttl > 0).min().unwrap_or(0)
    }

    /// How many scopes the family has. A scope is a set of series that share one limit on their number; each series is
    /// in one scope. Scope 0 is for series that no rule limits. If a rule is for some hosts only, each of the family's
    /// rules has a scope; else all of them have one together.
    pub fn scopes(&self) -> usize {
        self.by_host.as_ref().map_or(1, |(_, rules)| rules.len()) + 1
    }

    /// The policy of the series with this encoded label set.
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
            self.scope = number;
        }
        self.idle_ttl = rule.idle_ttl.unwrap_or(self.idle_ttl);
    }
}

impl Policy {
    /// A policy without limits and rules.
    pub fn unlimited() -> Policy {
        Policy {
            limits: Limits::none(),
            ..Policy::default()
        }
    }

    /// The policy of a family with this name on the page, this type and these label keys.
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
            // The rules are for all series, so whichever rule sets the limit, one scope counts them.
            None => rules.iter().for_each(|rule| policy.series.follow(rule, 1)),
        }
        policy
    }
}

#[cfg(test)]
mod tests;
