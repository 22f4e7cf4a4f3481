//! `operator`: metre's own families about what operators ask, which its Lua side gathers.

use super::read_values::{seconds_or_false, whole};
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// `operator`: which of these families there are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, or true or false")]
pub struct Operator {
    /// Whether there are any.
    pub enabled: bool,
    /// Those that count stanzas.
    pub stanzas: bool,
    /// Those that time how long stanzas and requests take.
    pub processing: bool,
    /// Those that time the storage.
    pub storage: bool,
    /// How many remote servers are named at most; 0 for none.
    #[serde(deserialize_with = "remotes")]
    pub remotes: u32,
    /// Those of certificates.
    pub certificates: bool,
    /// Those that count bytes.
    pub bytes: bool,
    /// Those that count users who were active lately.
    pub active_users: bool,
    /// From which time on something slow is logged; `None` for never.
    #[serde(deserialize_with = "slow_log")]
    pub slow_log: Option<Duration>,
}

impl Default for Operator {
    fn default() -> Self {
        Operator {
            enabled: true,
            stanzas: true,
            processing: true,
            storage: true,
            remotes: 10,
            certificates: true,
            bytes: false,
            active_users: false,
            slow_log: None,
        }
    }
}

fn remotes<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    whole(from, 0, 50, "").map(|count| count as u32)
}

fn slow_log<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    seconds_or_false(from, 0.001, 3600.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, message, table, text, File};
    use super::super::Value;
    use super::*;

    fn operator(given: Value) -> Operator {
        load(table([("operator", given)])).unwrap().operator
    }

    #[test]
    fn every_key_is_read() {
        assert_eq!(operator(table([])), Operator::default());
        let given = table([
            ("enabled", Value::Bool(true)),
            ("stanzas", Value::Bool(false)),
            ("processing", Value::Bool(false)),
            ("storage", text("false")),
            ("remotes", Value::Int(50)),
            ("certificates", Value::Bool(false)),
            ("bytes", Value::Bool(true)),
            ("active_users", text("true")),
            ("slow_log", text("0.5s")),
        ]);
        let all = Operator {
            enabled: true,
            stanzas: false,
            processing: false,
            storage: false,
            remotes: 50,
            certificates: false,
            bytes: true,
            active_users: true,
            slow_log: Some(Duration::from_millis(500)),
        };
        assert_eq!(operator(given), all);
        let slow_log = |value| operator(table([("slow_log", value)])).slow_log;
        for off in [Value::Bool(false), text("false"), text("")] {
            assert_eq!(slow_log(off), None);
        }
        for half in [Value::Float(0.5), text("0.5"), text("500ms")] {
            assert_eq!(slow_log(half), Some(Duration::from_millis(500)));
        }
        assert_eq!(slow_log(Value::Int(2)), Some(Duration::from_secs(2)));
        assert_eq!(operator(table([("remotes", text("0"))])).remotes, 0);
    }

    #[test]
    fn true_and_false_are_short_forms() {
        assert_eq!(operator(Value::Bool(true)), Operator::default());
        assert_eq!(operator(text("true")), Operator::default());
        assert_eq!(operator(text("")), Operator::default());
        assert!(!operator(Value::Bool(false)).enabled && !operator(text("false")).enabled);
        let file = File::with("operator", "[operator]\nremotes = 3\nslow_log = 1\n");
        let over = |value| {
            let given = table([("config_file", text(&file.path())), ("operator", value)]);
            load(given).unwrap().operator
        };
        assert!(!over(Value::Bool(false)).enabled);
        let on = over(Value::Bool(true));
        assert!(on.enabled && on.remotes == 3);
        let other = over(table([("slow_log", Value::Bool(false)), ("bytes", Value::Bool(true))]));
        assert!(other.enabled && other.bytes && other.remotes == 3 && other.slow_log.is_none());
        let off = File::with("operator-off", "operator = false\n");
        let over = |value| {
            let given = table([("config_file", text(&off.path())), ("operator", value)]);
            load(given).unwrap().operator
        };
        assert!(!over(text("")).enabled);
        assert!(over(Value::Bool(true)).enabled);
    }

    #[test]
    fn what_is_wrong_is_told() {
        const SLOW: &str = "a number from 0.001 to 3600 seconds, or a time such as \"90s\" or \"1h 30m\", or false";
        for (given, expected) in [
            (
                Value::Int(5),
                "'operator' is the number 5; allowed: a table, or true or false".to_owned(),
            ),
            (
                text("no"),
                "'operator' is the string \"no\"; allowed: a table, or true or false".to_owned(),
            ),
            (
                Value::List(vec![Value::Bool(true)]),
                "'operator' is a list; allowed: a table, or true or false".to_owned(),
            ),
            (
                table([("remote", Value::Int(5))]),
                "unknown key 'operator.remote' (given: the number 5); did you mean 'remotes'? allowed here: 'enabled', 'stanzas', \
                 'processing', 'storage', 'remotes', 'certificates', 'bytes', 'active_users', 'slow_log'"
                    .to_owned(),
            ),
            (
                table([("remotes", Value::Int(51))]),
                "'operator.remotes' is the number 51; allowed: a whole number from 0 to 50".to_owned(),
            ),
            (
                table([("remotes", Value::Float(0.5))]),
                "'operator.remotes' is the number 0.5; allowed: a whole number from 0 to 50".to_owned(),
            ),
            (
                table([("bytes", Value::Int(1))]),
                "'operator.bytes' is the number 1; allowed: true or false".to_owned(),
            ),
            (
                table([("slow_log", Value::Bool(true))]),
                format!("'operator.slow_log' is true; allowed: {SLOW}"),
            ),
            (
                table([("slow_log", Value::Int(0))]),
                format!("'operator.slow_log' is the number 0; allowed: {SLOW}"),
            ),
            (
                table([("slow_log", Value::Int(3601))]),
                format!("'operator.slow_log' is the number 3601; allowed: {SLOW}"),
            ),
            (
                table([("slow_log", text("soon"))]),
                format!("'operator.slow_log' is the string \"soon\"; allowed: {SLOW}"),
            ),
            (
                table([("slow_log", text("1e400"))]),
                format!("'operator.slow_log' is the string \"1e400\"; allowed: {SLOW}"),
            ),
        ] {
            assert_eq!(
                message(table([("operator", given)])),
                format!("statistics_config: {expected}")
            );
        }
        assert!(message(table([("operater", Value::Bool(false))])).contains("did you mean 'operator'?"));
    }
}
