//! `limits` and `labels`: how much modules may make, and what every series has.

use super::read_values::{text, whole};
use crate::policy;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// `limits`: how much modules may make.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Limits {
    /// The most families.
    #[serde(deserialize_with = "count")]
    pub max_families: usize,
    /// The most series of all families together.
    #[serde(deserialize_with = "count")]
    pub max_series: usize,
    /// The most series of one family.
    #[serde(deserialize_with = "count")]
    pub max_series_per_family: usize,
    /// The longest label value and the longest name, in bytes.
    #[serde(deserialize_with = "label_bytes")]
    pub max_label_bytes: usize,
    /// The most series with quantiles.
    #[serde(deserialize_with = "count")]
    pub max_quantile_series: usize,
}

impl Limits {
    /// Its keys.
    pub(super) const KEYS: [&'static str; 5] = [
        "max_families",
        "max_series",
        "max_series_per_family",
        "max_label_bytes",
        "max_quantile_series",
    ];
}

impl Default for Limits {
    fn default() -> Self {
        let policy::Limits {
            max_families,
            max_series,
            max_series_per_family,
            max_label_bytes,
            max_quantile_series,
        } = policy::Limits::default();
        Limits {
            max_families,
            max_series,
            max_series_per_family,
            max_label_bytes,
            max_quantile_series,
        }
    }
}

/// `labels`: labels on every series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Labels, D::Error> {
        from.deserialize_map(LabelTable)
    }
}

struct LabelTable;

impl<'de> Visitor<'de> for LabelTable {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of label names with their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Labels, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some(name) = given.next_key::<String>()? {
            let value = given.next_value_seed(LabelValue(&name))?;
            // Nor has Prometheus a label without a value.
            if !value.is_empty() {
                labels.insert(name, value);
            }
        }
        Ok(Labels(labels))
    }
}

/// The value of the label of this name.
struct LabelValue<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for LabelValue<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        let value = text(from, "the label's value as a string")?;
        let name = self.0;
        let first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
        let legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.as_bytes().first().is_some_and(first)
            && !name.starts_with("__");
        let why = if !legal {
            "is no name for a label; allowed: letters, digits and '_', no digit first, and no two '_' at the beginning"
        } else if name == "le" || name == "quantile" {
            "is a label of histograms or summaries already; choose another name"
        } else if name == "host" {
            "is a label of most of Prosody's families already; choose another name, such as 'server'"
        } else if value.len() > 1024 {
            "has a value that is longer than 1024 bytes; leave the label out, or shorten it"
        } else {
            return Ok(value);
        };
        Err(D::Error::custom(why))
    }
}

/// A number of things.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    whole(from, 0, 100_000_000, "").map(|count| count as usize)
}

fn label_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    whole(from, 128, 1 << 20, " bytes").map(|bytes| bytes as usize)
}
