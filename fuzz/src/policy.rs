//! What operators may decide, and what the model makes of it.

use crate::input::Input;
use metre::model::{Kind, Number};
use metre::policy::{Limits, Origin, Pattern, Policy, Rule};
use std::time::Duration;

/// The host of which nothing is kept, if there is a rule for it.
const DROPPED_HOST: &str = "h0";

const PATTERNS: [&str; 4] = ["*", "a*", "?", "*_total"];

/// Some policy.
pub fn policy(input: &mut Input<'_>) -> Policy {
    let mut policy = Policy::default();
    if input.any() {
        policy.limits = Limits {
            max_families: input.of(&[5000, 3, 0]),
            max_series: input.of(&[1_000_000, 7, 0]),
            max_series_per_family: input.of(&[50_000, 2, 0]),
            max_label_bytes: input.of(&[1024, 128]),
            max_quantile_series: input.of(&[10_000, 1]),
        };
    }
    if input.one_in(3) {
        policy.labels = vec![
            ("a_b".to_owned(), "z".to_owned()),
            ("cluster".to_owned(), "\"\\\n eu,1".to_owned()),
        ];
    }
    policy.rules = (1..=input.below(4)).map(|number| rule(input, number)).collect();
    policy
}

fn rule(input: &mut Input<'_>, number: usize) -> Rule {
    let mut rule = Rule {
        name: Pattern::new(input.of(&PATTERNS)),
        host: None,
        kinds: input.any::<bool>().then(|| Kind::ALL.to_vec()),
        drop: None,
        buckets: None,
        max_series: None,
        idle_ttl: None,
        quantiles: None,
        quantile_window: None,
        allow_negative: None,
        origin: Origin { number, line: None },
    };
    match input.below(7) {
        0 => rule.idle_ttl = Some(input.of(&[100, 1, 0])),
        1 => {
            rule.quantiles = Some(input.of(&[vec![0.0, 0.5, 0.99, 1.0], vec![0.1 + 0.2], vec![]]));
            rule.quantile_window = Some(Duration::from_secs(600));
        }
        2 => {
            let lists = [vec![Number::Int(1)], vec![Number::Float(-0.5), Number::Int(1 << 54)]];
            rule.buckets = Some(input.of(&lists));
        }
        3 => {
            rule.host = Some(Pattern::new(DROPPED_HOST));
            rule.drop = Some(true);
        }
        4 => {
            rule.host = Some(Pattern::new("h*"));
            rule.max_series = Some(1);
            rule.idle_ttl = Some(50);
        }
        5 => rule.allow_negative = Some(input.any()),
        _ => rule.max_series = Some(input.of(&[3, 0])),
    }
    rule
}

/// What the model knows of the rules for one family.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// Whether nothing is kept of [`DROPPED_HOST`].
    pub drops_host: bool,
    /// The least number of seconds after which a series may go; none may if there is none.
    pub shortest_ttl: Option<u64>,
    /// The thresholds that take the place of the module's.
    pub buckets: Option<Vec<Number>>,
    /// Which quantiles are shown.
    pub quantiles: Vec<f64>,
    /// Whether samples below zero count as zero.
    pub clamps: bool,
    /// Whether only the general limit on series holds.
    pub general_limit: bool,
}

impl Decided {
    /// For a family of this name on the page.
    pub fn new(policy: &Policy, name: &str, kind: Kind, keys: &[Vec<u8>]) -> Decided {
        let words: Vec<&str> = name.split('_').collect();
        let mut decided = Decided {
            clamps: matches!(words[..], [.., "seconds" | "bytes"]),
            general_limit: true,
            ..Decided::default()
        };
        let has_host = keys.iter().any(|key| key == b"host");
        let total = format!("{name}_total");
        for rule in &policy.rules {
            let pattern = rule.name.to_string();
            let named = fits(&pattern, name) || (kind == Kind::Counter && fits(&pattern, &total));
            if !named || (rule.host.is_some() && !has_host) {
                continue;
            }
            let said = rule.kinds.is_some();
            decided.drops_host |= rule.drop == Some(true);
            decided.general_limit &= rule.max_series.is_none();
            if let Some(ttl) = rule.idle_ttl.filter(|ttl| *ttl > 0 && (kind != Kind::Counter || said)) {
                let shortest = decided.shortest_ttl.unwrap_or(u64::MAX);
                decided.shortest_ttl = Some(shortest.min(ttl.into()));
            }
            if let Some(allow) = rule.allow_negative {
                decided.clamps = !allow;
            }
            if kind == Kind::Histogram {
                decided.buckets = rule.buckets.clone().or(decided.buckets);
            }
            if kind == Kind::Summary || (kind == Kind::Histogram && said) {
                decided.quantiles = rule.quantiles.clone().unwrap_or(decided.quantiles);
            }
        }
        decided
    }

    /// Whether nothing is kept of a series with this label `host`.
    pub fn drops(&self, host: Option<&str>) -> bool {
        self.drops_host && host == Some(DROPPED_HOST)
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern {
        "*" => true,
        "a*" => name.starts_with('a'),
        "?" => name.len() == 1,
        "*_total" => name.ends_with("_total"),
        other => panic!("no pattern of ours: {other}"),
    }
}

/// The name on the page that Prosody gives a family of this name, and that it has unless somebody else has it.
pub fn page_name(raw: &[u8]) -> String {
    let mut name: String = raw
        .iter()
        .map(|byte| match byte {
            b'/' => "__".to_owned(),
            byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
            _ => "_".to_owned(),
        })
        .collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    // What scrapers make themselves.
    if matches!(name.as_str(), "up" | "ALERTS" | "ALERTS_FOR_STATE" | "target_info") || name.starts_with("scrape_") {
        name.insert_str(0, "exported_");
    }
    match name.is_empty() {
        true => "unnamed".to_owned(),
        false => name,
    }
}
