//! What can be wrong with a configuration, told so that it can be mended.

use super::lines::Lines;
use super::{Config, Limits, Value};
use std::fmt;

/// Where keys stand that no file holds.
pub(super) const TABLE: &str = "statistics_config";

/// Where keys come from: a file's path, with lines, or a table.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) name: &'a str,
    pub(super) lines: Option<&'a Lines>,
}

/// An error in the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    origin: String,
    line: Option<usize>,
    path: Vec<String>,
    problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// The last key of the path doesn't exist.
    UnknownKey {
        /// What it was set to.
        given: String,
        /// The keys that exist there.
        allowed: &'static [&'static str],
    },
    /// A value can't stand for the key.
    WrongValue {
        /// What it was set to.
        given: String,
        /// What would be right.
        allowed: String,
    },
    /// The file can't be read.
    Unreadable(String),
    /// The file is not TOML; the message has line and column.
    Malformed(String),
    /// Anything else.
    Other(String),
}

impl Problem {
    pub(super) fn wrong_type(given: &Value, allowed: &str) -> Problem {
        Problem::WrongValue {
            given: given.to_string(),
            allowed: allowed.to_owned(),
        }
    }
}

impl ConfigError {
    /// An error in `origin`: a file's path, or `statistics_config`.
    pub fn new(origin: &str, problem: Problem) -> ConfigError {
        ConfigError {
            origin: origin.to_owned(),
            line: None,
            path: Vec::new(),
            problem,
        }
    }

    /// A value that can't stand where it stands.
    pub(super) fn wrong_type(given: &Value, allowed: &dyn serde::de::Expected) -> ConfigError {
        ConfigError::new("", Problem::wrong_type(given, &allowed.to_string()))
    }

    /// The same error, told of `value` in our words if it is about just that.
    pub(super) fn about(mut self, value: &Value) -> ConfigError {
        if let (true, Problem::WrongValue { given, .. }) = (self.path.is_empty(), &mut self.problem) {
            *given = value.to_string();
        }
        self
    }

    /// The same error, one key further out.
    pub(super) fn inside(mut self, key: &str) -> ConfigError {
        self.path.insert(0, key.to_owned());
        self
    }

    /// The same error, in a file or a table.
    pub(super) fn in_origin(mut self, origin: &Origin<'_>) -> ConfigError {
        self.origin = origin.name.to_owned();
        self.line = origin.lines.and_then(|lines| lines.of(&self.path));
        self
    }

    /// The line that it is on, if it is in a file.
    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }

    /// The keys that lead to what it is about.
    pub(super) fn path(&self) -> &[String] {
        &self.path
    }

    /// The same error, with what an unknown key was set to.
    pub(super) fn with_given(mut self, value: &Value) -> ConfigError {
        if let Problem::UnknownKey { given, .. } = &mut self.problem {
            // It may be a password or a token.
            *given = match value {
                Value::String(_) => "a string".to_owned(),
                value => value.to_string(),
            };
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        let mut origin = printable(&self.origin);
        if let Some(line) = self.line {
            origin += &format!(", line {line}");
        }
        let key = printable(&path.join("."));
        let at = match path.is_empty() {
            true => String::new(),
            false => format!("'{key}' "),
        };
        match &self.problem {
            Problem::UnknownKey { given, allowed } => {
                let last = path.last().map_or("", String::as_str);
                let at_top = self.origin == TABLE && path.len() == 1;
                write!(f, "{origin}: unknown key '{key}' (given: {given}); ")?;
                if last.bytes().all(|digit| digit.is_ascii_digit()) {
                    write!(
                        f,
                        "it is the place of a value that stands without a key, as in 'key = value'; "
                    )?;
                } else if path.len() > 1 && Config::KEYS.contains(&last) {
                    write!(f, "'{last}' stands outside of '{}'; ", path[0])?;
                } else if Limits::KEYS.contains(&last) && !allowed.contains(&last) {
                    write!(f, "'{last}' stands in 'limits'; ")?;
                } else if last == "config_file" && !at_top {
                    write!(f, "'config_file' stands in Prosody's statistics_config; ")?;
                }
                // `config_file` is taken out before the schema sees the table, but it is a key there all the same.
                let file = at_top.then_some("config_file");
                let allowed: Vec<&str> = file.iter().chain(*allowed).copied().collect();
                if let Some(likely) = nearest(last, &allowed) {
                    write!(f, "did you mean '{likely}'? ")?;
                }
                write!(f, "allowed here: '{}'", allowed.join("', '"))
            }
            Problem::WrongValue { given, allowed } => {
                write!(f, "{origin}: {at}is {given}; allowed: {allowed}")
            }
            Problem::Unreadable(why) => write!(
                f,
                "{origin}: cannot be read: {}; check the path, and that Prosody's user may read it",
                printable(why)
            ),
            Problem::Malformed(why) => write!(f, "{origin}: is not valid TOML: {}", printable(why)),
            Problem::Other(why) => write!(f, "{origin}: {at}{}", printable(why)),
        }
    }
}

impl std::error::Error for ConfigError {}

impl serde::de::Error for ConfigError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ConfigError::new("", Problem::Other(message.to_string()))
    }

    fn invalid_type(given: serde::de::Unexpected<'_>, allowed: &dyn serde::de::Expected) -> Self {
        let problem = Problem::WrongValue {
            given: given.to_string(),
            allowed: match allowed.to_string().as_str() {
                "a boolean" => "true or false".to_owned(),
                allowed => allowed.to_owned(),
            },
        };
        ConfigError::new("", problem)
    }

    fn invalid_value(given: serde::de::Unexpected<'_>, allowed: &dyn serde::de::Expected) -> Self {
        Self::invalid_type(given, allowed)
    }

    fn unknown_field(field: &str, allowed: &'static [&'static str]) -> Self {
        let problem = Problem::UnknownKey {
            given: String::new(),
            allowed,
        };
        ConfigError::new("", problem).inside(field)
    }
}

/// Without what would break a line in the log.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Other words for keys that people think of.
const SYNONYMS: [(&str, &str); 7] = [
    ("ttl", "idle_ttl"),
    ("expire", "idle_ttl"),
    ("window", "quantile_window"),
    ("name", "match"),
    ("family", "match"),
    ("pattern", "match"),
    ("kind", "type"),
];

/// The allowed key that was probably meant.
fn nearest<'a>(key: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let synonym = SYNONYMS.iter().find(|(word, _)| *word == key);
    if let Some(meant) = synonym.and_then(|(_, meant)| allowed.iter().find(|other| *other == meant)) {
        return Some(meant);
    }
    const ALIKE: f64 = 0.8;
    let likeness = |other: &str| strsim::jaro_winkler(&key.to_lowercase(), other);
    allowed
        .iter()
        .copied()
        .filter(|other| likeness(other) >= ALIKE)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}
