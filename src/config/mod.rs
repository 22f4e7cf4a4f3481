//! Configuration: one schema for Prosody's `statistics_config` table and for a TOML file.
//!
//! Nothing unknown is ignored: [`load`] names the key, what was given, what is allowed, and a near miss.
//! `docs/configuration.md` is for operators.

mod error;
mod file;
mod read;
mod value;

pub use error::{ConfigError, Problem};
pub use value::Value;

use crate::encode::openmetrics;
use error::TABLE;
use serde::Deserialize;

/// The whole configuration. Every key has a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct Config {
    /// The OpenMetrics page.
    pub openmetrics: OpenMetrics,
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
        let openmetrics::Options { created, canonical_le } = openmetrics::Options::default();
        OpenMetrics { created, canonical_le }
    }
}

impl From<OpenMetrics> for openmetrics::Options {
    fn from(config: OpenMetrics) -> Self {
        openmetrics::Options {
            created: config.created,
            canonical_le: config.canonical_le,
        }
    }
}

/// The configuration that `table` stands for, laid over that of the file which its key `config_file` names, if it
/// does.
///
/// # Errors
/// A file that can't be read or isn't TOML, an unknown key, a value of the wrong type.
pub fn load(table: Value) -> Result<Config, ConfigError> {
    let Value::Table(mut keys) = table else {
        return Err(ConfigError::new(TABLE, Problem::wrong_type(&table, "a table")));
    };
    let file = keys.remove("config_file");
    let table = Value::Table(keys);
    // Checked alone, so that an error names the place where the key stands.
    let config = read::config(&table, TABLE)?;
    match file {
        None => Ok(config),
        Some(Value::String(path)) if !path.is_empty() => {
            let from_file = file::load(&path)?;
            read::config(&from_file, &path)?;
            read::config(&from_file.overlaid(table), TABLE)
        }
        Some(other) => {
            let problem = Problem::wrong_type(&other, "the path of a TOML file, as a string");
            Err(ConfigError::new(TABLE, problem).inside("config_file"))
        }
    }
}

#[cfg(test)]
mod tests;
