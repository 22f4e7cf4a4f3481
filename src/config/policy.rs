//! What `limits`, `labels` and `rule` come to.

use super::lines::Lines;
use super::{Config, Rule};
use crate::policy;
use crate::policy::Policy;

impl Config {
    /// What the operator has decided; `lines` has the file with the rules and their lines, if they are in one.
    pub(super) fn policy(&self, lines: Option<(&str, &Lines)>) -> Policy {
        let rules = (1..).zip(&self.rule).map(|(number, Rule(rule))| {
            let line = |(file, lines): (&str, &Lines)| {
                let line = lines.of(&["rule".to_owned(), number.to_string()])?;
                Some((file.to_owned(), line))
            };
            let origin = policy::Origin {
                number,
                line: lines.and_then(line),
            };
            policy::Rule { origin, ..rule.clone() }
        });
        let limits = &self.limits;
        Policy {
            limits: policy::Limits {
                max_families: limits.max_families,
                max_series: limits.max_series,
                max_series_per_family: limits.max_series_per_family,
                max_label_bytes: limits.max_label_bytes,
                max_quantile_series: limits.max_quantile_series,
            },
            labels: self.labels.0.clone().into_iter().collect(),
            rules: rules.collect(),
        }
    }
}
