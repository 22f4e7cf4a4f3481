//! `statsd`: the pusher. Prosody's own keys (`statsd_server`, `statsd_port`, `prefix`) mean what they mean there.

use super::error::TABLE;
use super::read_values::{one_of, seconds, whole};
use super::rename_tags::rename_tags;
use super::{Config, ConfigError, Problem, Value};
use crate::encode::statsd::{Histograms, Options, Renames, Tags};
use crate::runtime::StatsdOptions;
use crate::transport::statsd::Endpoint;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// `statsd`: where to, how often, in which form.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, or a server as a string")]
pub struct Statsd {
    /// The server.
    pub server: Option<Server>,
    /// What all names begin with.
    pub prefix: Option<Prefix>,
    /// Seconds between two pushes.
    #[serde(deserialize_with = "flush_interval")]
    pub flush_interval: Duration,
    /// The longest datagram, in bytes.
    #[serde(deserialize_with = "max_datagram")]
    pub max_datagram: usize,
    /// Seconds between two look-ups of the server's name.
    #[serde(deserialize_with = "resolve_interval")]
    pub resolve_interval: Duration,
    /// Where labels go.
    #[serde(deserialize_with = "tags")]
    pub tags: Tags,
    /// What labels are called as tags.
    #[serde(deserialize_with = "rename_tags")]
    pub rename_tags: Renames,
    /// Further tags on every line.
    #[serde(deserialize_with = "constant_tags")]
    pub constant_tags: BTreeMap<String, String>,
    /// DogStatsD's container field.
    #[serde(deserialize_with = "container")]
    pub container: Option<String>,
    /// What is sent of histograms.
    #[serde(deserialize_with = "histograms")]
    pub histograms: Histograms,
    /// How many samples of a series are sent one by one, in a second.
    #[serde(deserialize_with = "max_samples_per_second")]
    pub max_samples_per_second: u32,
    /// Whether metre's own metrics are pushed too.
    pub self_metrics: bool,
    /// Whether what names other servers is pushed too.
    pub remotes: bool,
}

impl Default for Statsd {
    fn default() -> Self {
        Statsd {
            server: None,
            prefix: None,
            flush_interval: Duration::from_secs(1),
            max_datagram: 1432,
            resolve_interval: Duration::from_secs(60),
            tags: Tags::None,
            rename_tags: Renames::default(),
            constant_tags: BTreeMap::new(),
            container: None,
            histograms: Histograms::Buckets,
            max_samples_per_second: 1000,
            self_metrics: false,
            remotes: false,
        }
    }
}

/// A server that can be read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Server(Endpoint);

impl TryFrom<String> for Server {
    type Error = String;

    fn try_from(text: String) -> Result<Server, String> {
        let allowed = "udp://host:port, tcp://host:port, unix:///path or unixstream:///path";
        let error = |why| format!("is {}: {why}; allowed: {allowed}", Value::String(text.clone()));
        Endpoint::parse(&text).map(Server).map_err(error)
    }
}

/// A prefix that names can have: what Prosody sends before its `.`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(String);

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Prefix, String> {
        let part =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        match text.len() <= 200 && (text.is_empty() || text.split('.').all(part)) {
            true => Ok(Prefix(text)),
            false => Err(format!(
                "is {}; allowed: letters, digits, '_' and '-', in parts joined by '.', 200 in all, or \"\" for none",
                Value::String(text)
            )),
        }
    }
}

impl Config {
    /// What is to be pushed, if anything is; with `wanted` it is in any case.
    ///
    /// # Errors
    /// Keys that contradict each other.
    pub(super) fn push_options(&self, wanted: bool) -> Result<Option<StatsdOptions>, ConfigError> {
        let on = wanted || self.statsd.is_some() || self.statsd_server.is_some();
        let statsd = self.statsd.clone().unwrap_or_default();
        let error = |path: &[&str], why: &str| {
            let error = ConfigError::new(TABLE, Problem::Other(why.to_owned()));
            path.iter().rev().fold(error, |error, key| error.inside(key))
        };
        let only_one =
            |key: &str, other: &str| error(&[key], &format!("says the same as '{other}'; leave one of them out"));
        if self.statsd_server.is_some() && statsd.server.is_some() {
            return Err(only_one("statsd_server", "statsd.server"));
        }
        if self.prefix.is_some() && statsd.prefix.is_some() {
            return Err(only_one("prefix", "statsd.prefix"));
        }
        if self.statsd_port.is_some() && statsd.server.is_some() {
            return Err(error(
                &["statsd_port"],
                "goes with 'statsd_server'; 'statsd.server' has its own port",
            ));
        }
        if !on && (self.statsd_port.is_some() || self.prefix.is_some()) {
            let key = if self.prefix.is_some() { "prefix" } else { "statsd_port" };
            return Err(error(
                &[key],
                "is for statsd, and there is neither 'statsd' nor 'statsd_server'",
            ));
        }
        if statsd.self_metrics && !self.self_metrics {
            let why = "pushes what 'self_metrics = false' has switched off; leave one of them out";
            return Err(error(&["statsd", "self_metrics"], why));
        }
        if statsd.tags == Tags::None && !statsd.constant_tags.is_empty() {
            let why = "needs 'tags' to be \"dogstatsd\" or \"influx\"";
            return Err(error(&["statsd", "constant_tags"], why));
        }
        if statsd.tags == Tags::None && !statsd.rename_tags.given.is_empty() {
            let why = "needs 'tags' to be \"dogstatsd\" or \"influx\"; without tags labels have no names";
            return Err(error(&["statsd", "rename_tags"], why));
        }
        if statsd.tags != Tags::DogStatsd && statsd.container.is_some() {
            return Err(error(&["statsd", "container"], "needs 'tags' to be \"dogstatsd\""));
        }
        if !on {
            return Ok(None);
        }
        let Server(server) = match self.statsd_server.clone().or(statsd.server) {
            Some(server) => server,
            None => Server(Endpoint::Udp("localhost".to_owned(), 8125)),
        };
        let server = match (self.statsd_port, server) {
            (Some(_), server) if server.is_path() => {
                return Err(error(&["statsd_port"], "goes with a host; a Unix socket has no port"));
            }
            (Some(port), server) => server.with_port(port),
            (None, server) => server,
        };
        let prefix = self.prefix.clone().or(statsd.prefix);
        let prefix = prefix.map_or_else(|| "prosody".to_owned(), |Prefix(prefix)| prefix);
        Ok(Some(StatsdOptions {
            server,
            flush_interval: statsd.flush_interval,
            collect_interval: self.collect_interval,
            max_datagram: statsd.max_datagram,
            resolve_interval: statsd.resolve_interval,
            max_samples_per_second: statsd.max_samples_per_second,
            self_metrics: statsd.self_metrics,
            remotes: statsd.remotes,
            lines: Options {
                prefix: if prefix.is_empty() { prefix } else { prefix + "." },
                tags: statsd.tags,
                renames: statsd.rename_tags,
                constant_tags: statsd.constant_tags.into_iter().collect(),
                container: statsd.container,
                histograms: statsd.histograms,
            },
        }))
    }
}

fn flush_interval<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    seconds(from, 0.1, 3600.0)
}

/// `collect_interval`.
pub(super) fn collect_interval<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    seconds(from, 0.1, 3600.0)
}

fn resolve_interval<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    seconds(from, 1.0, 86400.0)
}

fn max_datagram<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    // UDP over IPv4 carries no more.
    whole(from, 64, 65507, " bytes").map(|bytes| bytes as usize)
}

fn max_samples_per_second<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    whole(from, 1, 1_000_000, "").map(|count| count as u32)
}

/// `statsd_port`.
pub(super) fn port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    whole(from, 1, 65535, "").map(|port| u16::try_from(port).ok())
}

fn tags<'de, D: Deserializer<'de>>(from: D) -> Result<Tags, D::Error> {
    let all = [
        ("none", Tags::None),
        ("dogstatsd", Tags::DogStatsd),
        ("influx", Tags::Influx),
    ];
    one_of(from, &all)
}

fn histograms<'de, D: Deserializer<'de>>(from: D) -> Result<Histograms, D::Error> {
    let all = [
        ("buckets", Histograms::Buckets),
        ("timing", Histograms::Timing),
        ("distribution", Histograms::Distribution),
    ];
    one_of(from, &all)
}

fn constant_tags<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut tags = BTreeMap::<String, String>::deserialize(from)?;
    tags.retain(|_, value| !value.is_empty());
    let legal =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    match tags
        .iter()
        .find(|(name, value)| !legal(name) || !legal(value) || *name == "le")
    {
        None => Ok(tags),
        Some((name, value)) => Err(D::Error::custom(format!(
            "has {} set to {}; allowed: letters, digits, '_', '-', '.' and '/', and any name but \"le\"",
            Value::String(name.clone()),
            Value::String(value.clone())
        ))),
    }
}

fn container<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let given = String::deserialize(from)?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    match !given.is_empty() && given.bytes().all(legal) {
        true => Ok(Some(given)),
        false => Err(D::Error::custom(format!(
            "is {}; allowed: a container's id as DogStatsD has it, such as \"ci-0123abcd\"",
            Value::String(given)
        ))),
    }
}
