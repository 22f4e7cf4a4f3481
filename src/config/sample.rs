//! `docs/metre.toml` has every key with its default.

use super::tests::File;
use super::*;
use crate::model::Kind;
use std::collections::BTreeSet;

/// The file with its lines switched on: those of all keys, or only those that have a default.
fn sample(with_examples: bool) -> Value {
    let is_key =
        |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let lines = include_str!("../../docs/metre.toml").lines();
    let switched_on = lines
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| is_key(line));
    let kept = switched_on.filter(|line| with_examples || !line.ends_with("# example"));
    let text: Vec<&str> = kept.collect();
    let file = File::with(&format!("sample-{with_examples}"), &text.join("\n"));
    file::load(&file.path()).unwrap().0
}

fn keys(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Table(keys) => keys.keys().cloned().collect(),
        _ => panic!("a table"),
    }
}

/// The keys that the schema has in a table, from what it says of one that it hasn't.
fn allowed(table: &str) -> BTreeSet<String> {
    let unknown = Value::Table(BTreeMap::from([("?".to_owned(), Value::Bool(true))]));
    let value = match table {
        "" => unknown,
        "rule" => Value::Table(BTreeMap::from([(table.to_owned(), Value::List(vec![unknown]))])),
        table => Value::Table(BTreeMap::from([(table.to_owned(), unknown)])),
    };
    let text = read::config(&value, &TABLE_ORIGIN).unwrap_err().to_string();
    let (_, list) = text.split_once("allowed here: ").expect("a list");
    let names = list.split(", ").map(|name| name.trim_matches('\'').to_owned());
    names.filter(|name| name != "config_file").collect()
}

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    match value {
        Value::Table(keys) => &keys[name],
        _ => panic!("a table"),
    }
}

#[test]
fn every_key_is_there_and_no_other() {
    let sample = sample(true);
    assert_eq!(keys(&sample), allowed(""));
    for table in ["openmetrics", "limits", "operator", "exporter", "statsd"] {
        assert_eq!(keys(field(&sample, table)), allowed(table), "{table}");
    }
    let Value::List(rules) = field(&sample, "rule") else {
        panic!("a list");
    };
    let of_rules: BTreeSet<String> = rules.iter().flat_map(keys).collect();
    assert_eq!(of_rules, allowed("rule"));
    // Nothing is wrong with the examples but that the last statsd keys need others.
    let mut statsd = field(&sample, "statsd").clone();
    if let Value::Table(keys) = &mut statsd {
        keys.insert("tags".to_owned(), Value::String("dogstatsd".to_owned()));
        keys.remove("server");
        keys.remove("prefix");
    }
    let over = Value::Table(BTreeMap::from([("statsd".to_owned(), statsd.clone())]));
    let Value::Table(mut all) = sample.overlaid(over) else {
        panic!("a table");
    };
    all.insert("statsd".to_owned(), statsd);
    assert_eq!(check(Value::Table(all), false), []);
}

#[test]
fn every_default_is_the_one() {
    let Value::Table(mut keys) = sample(false) else {
        panic!("a table");
    };
    let Some(Value::List(mut rules)) = keys.remove("rule") else {
        panic!("a list");
    };
    let config = read::config(&Value::Table(keys), &TABLE_ORIGIN).unwrap();
    let expected = Config {
        exporter: Some(Exporter::default()),
        statsd: Some(Statsd::default()),
        ..Config::default()
    };
    assert_eq!(config, expected);
    // A rule with the defaults alone changes nothing.
    for rule in &mut rules {
        if let Value::Table(keys) = rule {
            let kinds = Kind::ALL.map(|kind| Value::String(kind.name().to_owned()));
            keys.insert("match".to_owned(), Value::String("*".to_owned()));
            keys.insert("type".to_owned(), Value::List(kinds.to_vec()));
        }
    }
    let ruled = Value::Table(BTreeMap::from([("rule".to_owned(), Value::List(rules))]));
    let policy = read::config(&ruled, &TABLE_ORIGIN).unwrap().policy(None);
    assert_eq!(policy.rules.len(), 2);
    for kind in Kind::ALL {
        assert_eq!(policy.family("x", kind, &[]), Policy::default().family("x", kind, &[]));
    }
}
