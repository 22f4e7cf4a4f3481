//! `rule`: what is decided for some families.

use super::limits::count;
use super::read_values::{ascending, list, one_or_more, seconds, text};
use super::Value;
use crate::model::{Kind, Number};
use crate::policy;
use crate::policy::Pattern;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// `rule`: what is decided for some families.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Rule(pub(super) policy::Rule);

/// A rule's keys as they stand there.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
struct Keys {
    #[serde(rename = "match", deserialize_with = "name_pattern")]
    name: Option<String>,
    #[serde(deserialize_with = "host_pattern")]
    host: Option<String>,
    #[serde(rename = "type", deserialize_with = "kinds")]
    kinds: Option<Vec<Kind>>,
    drop: Option<bool>,
    #[serde(deserialize_with = "buckets")]
    buckets: Option<Vec<f64>>,
    #[serde(deserialize_with = "max_series")]
    max_series: Option<usize>,
    #[serde(deserialize_with = "idle_ttl")]
    idle_ttl: Option<u32>,
    #[serde(deserialize_with = "quantiles")]
    quantiles: Option<Vec<f64>>,
    #[serde(deserialize_with = "quantile_window")]
    quantile_window: Option<Duration>,
    allow_negative: Option<bool>,
}

impl TryFrom<Keys> for Rule {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Rule, String> {
        let Some(name) = &keys.name else {
            return Err(
                "has no 'match'; add the name of a family, or a pattern, as in match = \"prosody_mod_c2s_*\"".into(),
            );
        };
        let of_buckets = keys.buckets.is_some();
        let of_quantiles = keys.quantiles.is_some() || keys.quantile_window.is_some();
        let of_series = keys.drop.is_some() || keys.max_series.is_some() || keys.idle_ttl.is_some();
        let of_samples = keys.allow_negative.is_some();
        if !of_buckets && !of_quantiles && !of_series && !of_samples {
            return Err(
                "decides nothing; add 'drop', 'buckets', 'max_series', 'idle_ttl', 'quantiles', 'quantile_window' or \
                 'allow_negative'"
                    .into(),
            );
        }
        if keys.host.is_some() && (of_buckets || of_quantiles || of_samples) {
            return Err(
                "has 'host' with 'buckets', 'quantiles', 'quantile_window' or 'allow_negative', which all hosts of a \
                 family share; put these into a rule without 'host'"
                    .into(),
            );
        }
        let lacks = |kinds: &[Kind]| {
            let found = |listed: &Vec<Kind>| listed.iter().any(|kind| kinds.contains(kind));
            keys.kinds.as_ref().is_some_and(|listed| !found(listed))
        };
        if of_buckets && lacks(&[Kind::Histogram]) {
            return Err("has 'buckets' for types that have none; they are for type = \"histogram\"".into());
        }
        if of_quantiles && lacks(&[Kind::Histogram, Kind::Summary]) {
            return Err("has quantiles for types that have none; they are for \"summary\" and \"histogram\"".into());
        }
        if of_samples && lacks(&[Kind::Histogram, Kind::Summary]) {
            return Err(
                "has 'allow_negative' for types without samples; it is for \"summary\" and \"histogram\"".into(),
            );
        }
        Ok(Rule(policy::Rule {
            name: Pattern::new(name),
            host: keys.host.as_deref().map(Pattern::new),
            kinds: keys.kinds,
            drop: keys.drop,
            buckets: keys.buckets.map(|list| list.into_iter().map(Number::Float).collect()),
            max_series: keys.max_series,
            idle_ttl: keys.idle_ttl,
            quantiles: keys.quantiles,
            quantile_window: keys.quantile_window,
            allow_negative: keys.allow_negative,
            origin: policy::Origin::default(),
        }))
    }
}

/// Each family looks at all of them, once.
const MOST_RULES: usize = 1000;

/// `rule`.
pub(super) fn rules<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Rule>, D::Error> {
    let rules = list(
        from,
        "a list of tables: [[rule]] begins one in TOML, rule = { { match = … } } is one in Lua",
    )?;
    match rules.len() <= MOST_RULES {
        true => Ok(rules),
        false => Err(D::Error::custom(format!(
            "has {} rules; allowed: {MOST_RULES}",
            rules.len()
        ))),
    }
}

fn max_series<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    count(from).map(Some)
}

fn idle_ttl<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    // A year.
    let ttl = seconds(from, 0.0, 31_536_000.0)?;
    match ttl.is_zero() || ttl >= Duration::from_secs(1) {
        true => Ok(Some(ttl.as_secs_f64().ceil() as u32)),
        false => Err(D::Error::custom(
            "is shorter than a second; allowed: \"1s\" or more, or 0 for never",
        )),
    }
}

fn quantile_window<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    seconds(from, 1.0, 86400.0).map(Some)
}

fn name_pattern<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let allowed =
        "a family's name on the page, where * stands for any characters and ? for one; one rule for each name";
    let pattern = pattern(from, allowed)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_*?".contains(&byte);
    match pattern.bytes().all(legal) {
        true => Ok(Some(pattern)),
        false => Err(D::Error::custom(format!(
            "is {}, which no name on the page can be: those have letters, digits and '_' alone, '__' for a '/'; * and ? are \
             the only wildcards",
            Value::String(pattern)
        ))),
    }
}

fn host_pattern<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    pattern(
        from,
        "a host, where * stands for any characters and ? for one; one rule for each host",
    )
    .map(Some)
}

fn pattern<'de, D: Deserializer<'de>>(from: D, allowed: &'static str) -> Result<String, D::Error> {
    let text = text(from, allowed)?;
    match text.is_empty() || text.len() > 1024 {
        false => Ok(text),
        true => Err(D::Error::custom(format!(
            "is {}; allowed: {allowed}",
            Value::String(text)
        ))),
    }
}

fn kinds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Kind>>, D::Error> {
    let names: Vec<String> = one_or_more(from, "a type")?;
    let kind = |name: &String| {
        Kind::from_name(name).ok_or_else(|| {
            D::Error::custom(format!(
                "is {}; allowed: \"gauge\", \"counter\", \"histogram\", \"summary\"",
                Value::String(name.clone())
            ))
        })
    };
    match names.is_empty() {
        false => names.iter().map(kind).collect::<Result<_, _>>().map(Some),
        true => Err(D::Error::custom("is an empty list; leave it out for all types")),
    }
}

fn buckets<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<f64>>, D::Error> {
    const MOST: usize = 500;
    let all = ascending(
        from,
        "a list of ascending numbers, as in [0.1, 1, 10]; +Inf is added by itself",
    )?;
    match all.is_empty() || all.len() > MOST {
        false => Ok(Some(all)),
        true => Err(D::Error::custom(format!(
            "has {} thresholds; allowed: 1 to {MOST}",
            all.len()
        ))),
    }
}

fn quantiles<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<f64>>, D::Error> {
    const MOST: usize = 100;
    let all = ascending(from, "a list of ascending numbers from 0 to 1, as in [0.5, 0.9, 0.99]")?;
    if let Some(outside) = all.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
        return Err(D::Error::custom(format!(
            "has {outside}; allowed: numbers from 0 to 1, such as 0.99 for 99 %"
        )));
    }
    match all.len() <= MOST {
        true => Ok(Some(all)),
        false => Err(D::Error::custom(format!(
            "has {} quantiles; allowed: {MOST}",
            all.len()
        ))),
    }
}
