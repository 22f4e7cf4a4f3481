//! What a family gets, and from where, for operators.

use super::{is_never_negative, Policy, Rule, DEFAULT_WINDOW};
use crate::model::{Kind, Number};
use std::fmt::Write;
use std::time::Duration;

/// Explains the policy of families with this name on the page: a line for each key, with its value and where that is
/// from. Without a type it explains each type, unless all have the same lines; without a host it adds the rules for
/// some hosts.
pub fn explain(policy: &Policy, name: &str, kind: Option<Kind>, host: Option<&str>) -> String {
    let mut texts: Vec<(Vec<&str>, String)> = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|any| kind.is_none_or(|kind| kind == *any)) {
        // A counter's samples are called so.
        let total = name.strip_suffix("_total").filter(|_| kind == Kind::Counter);
        let text = Explained::new(policy, total.unwrap_or(name), kind, host).text(policy);
        match texts.iter_mut().find(|(_, other)| *other == text) {
            Some((kinds, _)) => kinds.push(kind.name()),
            None => texts.push((vec![kind.name()], text)),
        }
    }
    let text = |(kinds, text): (Vec<&str>, String)| format!("{name} as a {}:\n{text}", kinds.join(" or "));
    texts.into_iter().map(text).collect()
}

/// The rules for one name, type and host.
struct Explained<'a> {
    name: &'a str,
    kind: Kind,
    /// The rules that hold, in order: for each the part for this type, and the whole rule.
    rules: Vec<(Rule, &'a Rule)>,
    /// The parts for this type of the rules for some hosts, if no host is given.
    for_hosts: Vec<Rule>,
}

impl<'a> Explained<'a> {
    fn new(policy: &'a Policy, name: &'a str, kind: Kind, host: Option<&str>) -> Explained<'a> {
        let applying = policy.rules.iter().filter(|rule| rule.applies(name, kind));
        let (rules, for_hosts): (Vec<&Rule>, Vec<&Rule>) = applying.partition(|rule| {
            let pattern = rule.host.as_ref();
            pattern.is_none_or(|pattern| host.is_some_and(|host| pattern.matches(host)))
        });
        Explained {
            name,
            kind,
            rules: rules.into_iter().map(|rule| (rule.for_kind(kind), rule)).collect(),
            for_hosts: match host {
                Some(_) => Vec::new(),
                None => for_hosts.into_iter().map(|rule| rule.for_kind(kind)).collect(),
            },
        }
    }

    fn text(&self, policy: &Policy) -> String {
        let mut out = String::new();
        self.line(
            &mut out,
            "drop",
            |rule| rule.drop.map(|drop| drop.to_string()),
            "false    (default)",
        );
        let limit = format!(
            "{}    (limits.max_series_per_family)",
            policy.limits.max_series_per_family
        );
        self.line(
            &mut out,
            "max_series",
            |rule| rule.max_series.map(|most| most.to_string()),
            &limit,
        );
        self.line(
            &mut out,
            "idle_ttl",
            |rule| rule.idle_ttl.map(seconds),
            "0s    (default: never)",
        );
        if self.kind == Kind::Histogram {
            self.line(
                &mut out,
                "buckets",
                |rule| rule.buckets.as_deref().map(list),
                "those of the module",
            );
        }
        if self.kind.is_of_samples() {
            self.line(
                &mut out,
                "quantiles",
                |rule| rule.quantiles.as_ref().map(|all| format!("{all:?}")),
                "[]    (default)",
            );
        }
        if self
            .rules
            .iter()
            .any(|(rule, _)| rule.quantiles.as_ref().is_some_and(|all| !all.is_empty()))
        {
            let default = format!("{}    (default)", time(DEFAULT_WINDOW));
            self.line(
                &mut out,
                "quantile_window",
                |rule| rule.quantile_window.map(time),
                &default,
            );
        }
        if self.kind.is_of_samples() {
            let default = match is_never_negative(self.name) {
                true => "false    (default for seconds and bytes: such samples count as 0)",
                false => "true    (default)",
            };
            self.line(
                &mut out,
                "allow_negative",
                |rule| rule.allow_negative.map(|allow| allow.to_string()),
                default,
            );
        }
        for rule in &self.for_hosts {
            self.host_line(&mut out, rule);
        }
        out
    }

    /// A key's line: the value of the last rule that has one, and where that rule is; or the default, and where a rule
    /// is whose value doesn't hold for the type.
    fn line(&self, out: &mut String, key: &str, say: impl Fn(&Rule) -> Option<String>, default: &str) {
        let said = self
            .rules
            .iter()
            .rev()
            .find_map(|(rule, _)| Some((say(rule)?, &rule.origin)));
        let ignored = self.rules.iter().rev().find(|(_, rule)| say(rule).is_some());
        let _ = match (said, ignored) {
            (Some((value, origin)), _) => writeln!(out, "  {key} = {value}    ({origin})"),
            (None, Some((rule, _))) if default.ends_with(')') => {
                let (kind, kinds) = (self.kind.name(), format!("{}s", self.kind.name()));
                let default = default.trim_end_matches(')');
                let origin = &rule.origin;
                writeln!(
                    out,
                    "  {key} = {default}; what {origin} says is not for {kinds}, unless it has type = \"{kind}\")"
                )
            }
            (None, _) => writeln!(out, "  {key} = {default}"),
        };
    }

    fn host_line(&self, out: &mut String, rule: &Rule) {
        let said = [
            ("drop", rule.drop.map(|drop| drop.to_string())),
            ("max_series", rule.max_series.map(|most| most.to_string())),
            ("idle_ttl", rule.idle_ttl.map(seconds)),
        ];
        for (key, value) in said {
            if let (Some(value), Some(host)) = (value, &rule.host) {
                let _ = writeln!(out, "  where host is {host}: {key} = {value}    ({})", rule.origin);
            }
        }
    }
}

fn seconds(seconds: u32) -> String {
    time(Duration::from_secs(seconds.into()))
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn list(numbers: &[Number]) -> String {
    let texts: Vec<String> = numbers.iter().map(|number| number.as_f64().to_string()).collect();
    format!("[{}]", texts.join(", "))
}
