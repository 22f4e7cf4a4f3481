//! Configuration: one schema for Prosody's `statistics_config` table and for a TOML file.
//!
//! Nothing unknown is ignored: [`load`] names the key, what was given, what is allowed, and a near miss.
//! `docs/configuration.md` is for operators.

mod check;
mod error;
mod exporter;
mod file;
mod limits;
mod lines;
mod operator;
mod outline;
mod policy;
mod read;
mod read_values;
mod rename_tags;
mod rule;
mod statsd;
mod value;

pub use check::{check, check_files, explain};
pub use error::{ConfigError, Problem};
pub use exporter::{Exporter, Listen, Range};
pub use limits::{Labels, Limits};
pub use operator::Operator;
pub use outline::{keys, outline, Outline};
pub use rule::Rule;
pub use statsd::{Prefix, Server, Statsd};
pub use value::Value;

use crate::encode::exposition;
use crate::policy::Policy;
use crate::runtime::Options;
use error::{Origin, TABLE};
use lines::Lines;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The whole configuration. Every key has a default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Config {
    /// The OpenMetrics page.
    pub openmetrics: OpenMetrics,
    /// How much modules may make.
    pub limits: Limits,
    /// Labels on every series.
    pub labels: Labels,
    /// The rules, in order.
    #[serde(deserialize_with = "rule::rules")]
    pub rule: Vec<Rule>,
    /// The HTTP server for metrics; there is one only if this is given.
    pub exporter: Option<Exporter>,
    /// How old the last collection may be before a pusher has Prosody collect, if that collects only when somebody asks.
    #[serde(deserialize_with = "statsd::collect_interval")]
    pub collect_interval: Duration,
    /// Whether metre's own metrics are there.
    pub self_metrics: bool,
    /// Whether those of the process are.
    pub process_metrics: bool,
    /// Which of metre's own families about what operators ask are there.
    pub operator: Operator,
    /// The statsd pusher; there is one only if this or `statsd_server` is given.
    pub statsd: Option<Statsd>,
    /// As for Prosody's own pusher: the server.
    pub statsd_server: Option<Server>,
    /// As for Prosody's own pusher: the server's port.
    #[serde(deserialize_with = "statsd::port")]
    pub statsd_port: Option<u16>,
    /// As for Prosody's own pusher: what all names begin with.
    pub prefix: Option<Prefix>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            openmetrics: OpenMetrics::default(),
            limits: Limits::default(),
            labels: Labels::default(),
            rule: Vec::new(),
            exporter: None,
            collect_interval: Duration::from_secs(10),
            self_metrics: true,
            process_metrics: true,
            operator: Operator::default(),
            statsd: None,
            statsd_server: None,
            statsd_port: None,
            prefix: None,
        }
    }
}

/// `openmetrics`: what the page looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct OpenMetrics {
    /// Whether there are `_created` samples.
    pub created: bool,
    /// Whether `le` is written in canonical form (`1.0`) instead of Prosody's (`1`).
    pub canonical_le: bool,
}

impl Default for OpenMetrics {
    fn default() -> Self {
        let exposition::Options { created, canonical_le } = exposition::Options::default();
        OpenMetrics { created, canonical_le }
    }
}

impl From<OpenMetrics> for exposition::Options {
    fn from(config: OpenMetrics) -> Self {
        exposition::Options {
            created: config.created,
            canonical_le: config.canonical_le,
        }
    }
}

impl Config {
    /// Its keys.
    const KEYS: [&'static str; 13] = [
        "openmetrics",
        "limits",
        "labels",
        "rule",
        "exporter",
        "collect_interval",
        "self_metrics",
        "process_metrics",
        "operator",
        "statsd",
        "statsd_server",
        "statsd_port",
        "prefix",
    ];
}

/// What a configuration comes to.
#[derive(Debug)]
pub struct Settings {
    /// What runs beside Prosody's thread, and what pages look like.
    pub runtime: Options,
    /// What there may be, and what becomes of it.
    pub policy: Policy,
    /// What the Lua side gathers by itself.
    pub operator: Operator,
}

/// What the configuration in `table` comes to, laid over that of the file which its key `config_file` names, if it
/// does. With `statsd` there is a pusher even if it names no server.
///
/// # Errors
/// A file that can't be read or isn't TOML, an unknown key, a value that can't stand where it stands.
pub fn settings(table: Value, statsd: bool) -> Result<Settings, ConfigError> {
    let given = Given::new(table)?;
    let config = given.config()?;
    Ok(Settings {
        policy: config.policy(given.rule_lines()),
        operator: config.operator.clone(),
        runtime: Options {
            statsd: config.push_options(statsd)?,
            export: config.exporter.map(Into::into),
            page: config.openmetrics.into(),
            self_metrics: config.self_metrics,
            process_metrics: config.process_metrics,
        },
    })
}

/// What the operator has decided in it.
///
/// # Errors
/// Those of [`settings`].
fn policy_of(table: Value) -> Result<Policy, ConfigError> {
    let given = Given::new(table)?;
    Ok(given.config()?.policy(given.rule_lines()))
}

/// What was given, before it is compared with the schema.
struct Given {
    table: Value,
    /// The file's path, what is in it, and on which lines.
    file: Option<(String, Value, Lines)>,
}

impl Given {
    fn new(table: Value) -> Result<Given, ConfigError> {
        let Value::Table(mut keys) = table else {
            return Err(ConfigError::new(TABLE, Problem::wrong_type(&table, "a table")));
        };
        let file = match keys.remove("config_file") {
            None => None,
            Some(Value::String(path)) if !path.is_empty() => {
                let (value, lines) = file::load(&path)?;
                Some((path, with_tables(value), lines))
            }
            Some(other) => {
                let problem = Problem::wrong_type(&other, "the path of a TOML file, as a string");
                return Err(ConfigError::new(TABLE, problem).inside("config_file"));
            }
        };
        Ok(Given {
            table: with_tables(Value::Table(keys)),
            file,
        })
    }

    /// All together as the schema has it. Each is checked alone first, so that an error names the place where the key stands.
    fn config(&self) -> Result<Config, ConfigError> {
        for (value, origin) in self.parts() {
            read::config(&without_false(value), &origin)?;
        }
        let table = self.table.clone();
        let all = self
            .file
            .iter()
            .fold(table, |table, (_, below, _)| below.clone().overlaid(table));
        read::config(&without_false(&all), &TABLE_ORIGIN)
    }

    fn parts(&self) -> impl Iterator<Item = (&Value, Origin<'_>)> {
        let file = self.file.iter().map(|(path, value, lines)| {
            let origin = Origin {
                name: path,
                lines: Some(lines),
            };
            (value, origin)
        });
        std::iter::once((&self.table, TABLE_ORIGIN)).chain(file)
    }

    /// Where the rules stand, if they are those of the file.
    fn rule_lines(&self) -> Option<(&str, &Lines)> {
        let (path, _, lines) = self.file.as_ref()?;
        let in_table = matches!(&self.table, Value::Table(keys) if keys.contains_key("rule"));
        (!in_table).then_some((path, lines))
    }
}

const TABLE_ORIGIN: Origin<'_> = Origin {
    name: TABLE,
    lines: None,
};

/// `exporter = false` and `statsd = false` are as if they weren't there, but for what a file says.
fn without_false(config: &Value) -> Value {
    let mut config = config.clone();
    if let Value::Table(keys) = &mut config {
        keys.retain(|key, value| !(["exporter", "statsd"].contains(&key.as_str()) && *value == Value::Bool(false)));
    }
    config
}

/// `statsd = "server"` is short for `statsd = { server = "server" }`; `exporter = "address"` or a list of them for
/// `exporter = { listen = … }`; `operator = true` or `false` for `operator = { enabled = … }`. Text that stands for something
/// else (`read::config`) is none.
fn with_tables(config: Value) -> Value {
    let Value::Table(mut keys) = config else {
        return config;
    };
    for (key, main) in [("statsd", "server"), ("exporter", "listen"), ("operator", "enabled")] {
        if let Some(value) = keys.get_mut(key) {
            match value {
                Value::String(text) if text.is_empty() => continue,
                Value::String(text) if ["true", "false"].contains(&text.as_str()) => {
                    *value = Value::Bool(text == "true")
                }
                _ => {}
            }
            let is_short = match value {
                Value::Bool(_) => key == "operator",
                Value::String(_) => key != "operator",
                Value::List(_) => key == "exporter",
                _ => false,
            };
            if is_short {
                let given = std::mem::replace(value, Value::Table(BTreeMap::new()));
                *value = Value::Table(BTreeMap::from([(main.to_owned(), given)]));
            }
        }
    }
    Value::Table(keys)
}

#[cfg(test)]
mod as_text;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
