//! Configuration values, wherever they come from.

use std::collections::BTreeMap;
use std::fmt;

/// Keys for which `""` stands there all the same. A variable that is empty must neither open anything nor have anything go, so for keys
/// that limit who gets in, or what a rule is for, it is a mistake; likewise for every `…_file`. For `prefix` it is a value like others.
const TAKE_EMPTY: [&str; 7] = ["allow", "probes", "socket_mode", "match", "host", "type", "prefix"];

/// Whether a key that is set to this is as if it weren't there.
pub(super) fn is_unset(key: &str, value: &Value) -> bool {
    let is_empty = matches!(value, Value::String(text) if text.is_empty());
    is_empty && !TAKE_EMPTY.contains(&key) && !key.ends_with("_file")
}

/// A configuration value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// Keys and values.
    Table(BTreeMap<String, Value>),
    /// What no key takes, by its name: a function, a date.
    Other(String),
}

impl Value {
    /// This with `over` laid over it: tables key by key, anything else replaced by what is set.
    pub fn overlaid(self, over: Value) -> Value {
        match (self, over) {
            (Value::Table(mut below), Value::Table(over)) => {
                for (key, value) in over {
                    if below.contains_key(&key) && is_unset(&key, &value) {
                        continue;
                    }
                    let value = match below.remove(&key) {
                        Some(old) => old.overlaid(value),
                        None => value,
                    };
                    below.insert(key, value);
                }
                Value::Table(below)
            }
            (_, over) => over,
        }
    }
}

/// As it is told to operators.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "the number {value}"),
            Value::Float(value) => write!(f, "the number {value}"),
            Value::String(value) => {
                let start: String = value.chars().take(80).collect();
                let cut = if start.len() < value.len() { "…" } else { "" };
                write!(f, "the string {start:?}{cut}")
            }
            Value::List(_) => f.write_str("a list"),
            Value::Table(_) => f.write_str("a table"),
            Value::Other(name) => f.write_str(name),
        }
    }
}

impl From<toml::Value> for Value {
    fn from(value: toml::Value) -> Value {
        match value {
            toml::Value::Boolean(value) => Value::Bool(value),
            toml::Value::Integer(value) => Value::Int(value),
            toml::Value::Float(value) => Value::Float(value),
            toml::Value::String(value) => Value::String(value),
            toml::Value::Datetime(value) => Value::Other(format!("the date {value}")),
            toml::Value::Array(list) => Value::List(list.into_iter().map(Value::from).collect()),
            toml::Value::Table(table) => Value::from(table),
        }
    }
}

impl From<toml::Table> for Value {
    fn from(table: toml::Table) -> Value {
        let pairs = table.into_iter().map(|(key, value)| (key, Value::from(value)));
        Value::Table(pairs.collect())
    }
}
