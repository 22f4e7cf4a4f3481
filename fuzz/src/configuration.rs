//! Configurations as the Lua wall makes them of tables, and as TOML: keys that exist, near misses, and values that may be anything.

use crate::input::Input;
use metre::config::{check, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// It stands where a token could, and must not be told.
pub const SECRET: &str = "s3cretT0ken";

/// The keys that stand in a table of each name, all that the schema has; the configuration itself has none. Labels may be called
/// anything, also as what is no key anywhere.
const TABLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "openmetrics", "limits", "labels", "rule", "exporter", "statsd", "collect_interval", "self_metrics",
            "process_metrics", "operator", "statsd_server", "statsd_port", "prefix", "config_file",
        ],
    ),
    ("openmetrics", &["created", "canonical_le"]),
    (
        "limits",
        &[
            "max_families", "max_series", "max_series_per_family", "max_label_bytes", "max_quantile_series",
        ],
    ),
    (
        "rule",
        &[
            "match", "host", "type", "drop", "max_series", "buckets", "idle_ttl", "quantiles", "quantile_window",
            "allow_negative",
        ],
    ),
    (
        "operator",
        &[
            "enabled", "stanzas", "processing", "storage", "remotes", "certificates", "bytes", "active_users",
            "slow_log",
        ],
    ),
    (
        "exporter",
        &[
            "listen", "socket_mode", "allow", "bearer_token_file", "probes", "max_connections", "header_timeout",
            "idle_timeout", "send_timeout", "collect_timeout", "collect_min_interval",
        ],
    ),
    (
        "statsd",
        &[
            "server", "prefix", "flush_interval", "max_datagram", "resolve_interval", "tags", "rename_tags",
            "constant_tags", "container", "histograms", "max_samples_per_second", "self_metrics", "remotes",
        ],
    ),
    (
        "labels",
        &["creatd", "1", "", "a.b", "le", "cluster", "__x", "\n'", "ttl"],
    ),
];
const TEXTS: &[&str] = &[
    "", "localhost", "udp://h:1", "tcp://[::1]:8125", "unixgram:///a", "udp://", "://", "127.0.0.1:9469", "[::1]:1",
    "unix:/a", "unix:", "*", "a*", "?", "counter", "summary", "histogram", "0660", "999", "10.0.0.0/8", "::/0",
    "::ffff:0:0/96", "1/2/3", "/path", "none", "dogstatsd", "influx", "buckets", "timing", "distribution", "90s",
    "1h 30m", "1e400", "-1s", "9999999999999999999y", "NaN", "inf", "8125", "x", "\u{e9}", "'\n\u{1b}", "true",
    "false", "all", "unix:///a", "127.0.0.1:1,unix:/b", "0.5, 0.9", ",", " 7\n",
];
fn any_key(input: &mut Input<'_>) -> &'static str {
    let keys = input.of(TABLES).1;
    input.of(keys)
}

/// The name of a table in the configuration.
fn any_table(input: &mut Input<'_>) -> &'static str {
    input.of(&TABLES[1..]).0
}

/// Panics if the schema has other keys than `TABLES`, by what it says of one that it hasn't.
pub fn check_keys() {
    for (table, known) in TABLES.iter().filter(|(table, _)| *table != "labels") {
        let unknown = Value::Table([("?".to_owned(), Value::Bool(true))].into());
        let given = match *table {
            "" => unknown,
            "rule" => Value::Table([("rule".to_owned(), Value::List(vec![unknown]))].into()),
            table => Value::Table([(table.to_owned(), unknown)].into()),
        };
        let errors = check(given, false);
        let said = errors
            .iter()
            .map(ToString::to_string)
            .find_map(|said| Some(said.split_once("allowed here: ")?.1.to_owned()));
        let said = said.unwrap_or_else(|| panic!("{errors:?}"));
        let allowed: BTreeSet<&str> = said.split(", ").map(|key| key.trim_matches('\'')).collect();
        assert_eq!(
            allowed,
            known.iter().copied().collect(),
            "keys of {table:?}: the schema's, and the fuzzer's"
        );
    }
}

/// A whole configuration, which may not even be a table.
pub fn table(input: &mut Input<'_>) -> Value {
    match input.one_in(20) {
        true => value(input, 0),
        false => {
            let mut keys = BTreeMap::new();
            for _ in 0..input.below(5) {
                let name = match input.any() {
                    true => any_table(input),
                    false => any_key(input),
                };
                let inside = match name {
                    "rule" if input.any() => Value::List((0..input.below(3)).map(|_| section(name, input)).collect()),
                    name if TABLES.iter().any(|(table, _)| *table == name) && !input.one_in(5) => section(name, input),
                    name => for_key(name, input),
                };
                keys.insert(name.to_owned(), inside);
            }
            Value::Table(keys)
        }
    }
}

fn section(name: &str, input: &mut Input<'_>) -> Value {
    let mut keys = BTreeMap::new();
    if name == "rule" && !input.one_in(4) {
        keys.insert("match".to_owned(), Value::String("*".to_owned()));
    }
    for _ in 0..input.below(6) {
        let known = match TABLES.iter().find(|(table, _)| *table == name) {
            Some((_, keys)) if !input.one_in(10) => keys,
            _ => input.of(TABLES).1,
        };
        let key = input.of(known);
        keys.insert(key.to_owned(), for_key(key, input));
    }
    Value::Table(keys)
}

/// A value for a key, more often than not one that it could have.
fn for_key(key: &str, input: &mut Input<'_>) -> Value {
    if input.one_in(4) {
        return value(input, 0);
    }
    let text = |text: &str| Value::String(text.to_owned());
    match key {
        "created" | "drop" | "self_metrics" if input.one_in(8) => text(input.of(&["true", "false", ""])),
        "created" | "canonical_le" | "drop" | "allow_negative" | "self_metrics" | "process_metrics" | "enabled"
        | "stanzas" | "processing" | "storage" | "certificates" | "bytes" | "active_users" => Value::Bool(input.any()),
        "operator" => input.of(&[Value::Bool(true), Value::Bool(false), text("true"), text("false")]),
        "remotes" => Value::Int(input.of(&[0, 10, 50, 51])),
        "slow_log" => input.of(&[Value::Bool(false), Value::Float(0.5), text("0.5s"), text("false")]),
        "bearer_token_file" => text(input.of(&[SECRET, "/token"])),
        "match" | "host" => text(input.of(&["*", "a?", "x"])),
        "type" => text(input.of(&["counter", "histogram", "summary", "gauge"])),
        "buckets" | "quantiles" => Value::List(vec![
            Value::Float(0.5),
            Value::Float(input.of(&[0.9, 0.99, 1.0, 0.5, f64::NAN])),
        ]),
        "tags" => text(input.of(&["none", "dogstatsd", "influx"])),
        "histograms" => text(input.of(&["buckets", "timing", "distribution"])),
        "server" | "statsd_server" => text(input.of(&["localhost", "udp://[::1]:8125", "unixgram:///a", "tcp://h"])),
        "listen" => text(input.of(&["127.0.0.1:9469", "unix:/a/b", "[::]:1"])),
        "allow" => text(input.of(&["127.0.0.0/8", "::1", "::ffff:10.0.0.0/104", "*"])),
        "probes" => text(input.of(&["allow", "all", ""])),
        "socket_mode" => text(input.of(&["0660", "777", "9"])),
        "constant_tags" => Value::Table([("env".to_owned(), text("prod"))].into()),
        "rename_tags" => match input.any() {
            true => Value::Table(
                [(
                    input.of(&["host", "a", "a.b"]).to_owned(),
                    text(input.of(&["x", "vhost", "le"])),
                )]
                .into(),
            ),
            false => Value::Bool(input.any()),
        },
        "prefix" | "container" | "cluster" => text(input.of(&["a", "a.b", "", "x-1"])),
        _ => Value::Int(i64::from(input.any::<u16>())),
    }
}

/// Any value.
fn value(input: &mut Input<'_>, depth: usize) -> Value {
    match input.below(if depth < 4 { 9 } else { 6 }) {
        0 => Value::Bool(input.any()),
        1 => Value::Int(input.any()),
        2 => Value::Float(f64::from_bits(input.any())),
        3 => Value::String(input.of(TEXTS).to_owned()),
        4 => Value::String(String::from_utf8_lossy(&input.bytes()).into_owned()),
        5 => Value::Other(input.of(&["a function", "a table nested too deep"]).to_owned()),
        6 | 7 => Value::List((0..input.below(4)).map(|_| value(input, depth + 1)).collect()),
        _ => {
            let pairs = (0..input.below(4)).map(|_| (any_key(input).to_owned(), value(input, depth + 1)));
            Value::Table(pairs.collect())
        }
    }
}

/// Something near TOML.
pub fn toml(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    for _ in 0..input.below(8) {
        match input.below(4) {
            0 => {
                let table = any_table(input);
                let header = if table == "rule" {
                    "[[rule]]\n".to_owned()
                } else {
                    format!("[{table}]\n")
                };
                text.push_str(&header);
                if table == "rule" && input.any() {
                    text.push_str("match = \"*\"\ndrop = false\n");
                }
            }
            1 => {
                let key = any_key(input);
                let _ = writeln!(text, "{key:?} = {}", literal(&for_key(key, input)));
            }
            2 => {
                let _ = writeln!(text, "{} = {}", any_key(input), literal(&value(input, 0)));
            }
            _ if input.one_in(20) => {
                // Deep, long, or much of it.
                let piece = input.of(&["a.", "[", "{a=", "[[a]]\n", "[a.", "\"", "x", "\n"]);
                text.push_str(&piece.repeat(input.below(60_000)));
            }
            _ => text.push_str(&String::from_utf8_lossy(&input.bytes())),
        }
    }
    text
}

fn literal(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}").replace("NaN", "nan"),
        Value::String(text) => format!("{text:?}"),
        Value::List(list) => format!("[{}]", list.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Table(keys) => {
            let pairs = keys.iter().map(|(key, value)| format!("{key:?} = {}", literal(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Other(_) => "1979-05-27".to_owned(),
    }
}
