//! Looking at a configuration without running it.

use super::{policy_of, read, without_false, ConfigError, Given, Value};
use crate::model::Kind;
use crate::policy;
use std::collections::BTreeMap;

/// How many errors are told at most.
const MOST: usize = 50;

/// Everything that is wrong with a configuration: in the table first, then in the file, line by line.
pub fn check(table: Value, statsd: bool) -> Vec<ConfigError> {
    let given = match Given::new(table.clone()) {
        Ok(given) => given,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    for (value, origin) in given.parts() {
        let mut value = value.clone();
        while let Err(error) = read::config(&without_false(&value), &origin) {
            let mended = mend(&mut value, error.path());
            errors.push(error);
            if !mended || errors.len() == MOST {
                break;
            }
        }
    }
    errors.sort_by_key(ConfigError::line);
    if errors.is_empty() {
        errors.extend(super::settings(table, statsd).err());
    }
    errors
}

/// Takes out what is wrong, so that the rest can be looked at. False if there is nothing there.
fn mend(value: &mut Value, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    match value {
        Value::Table(keys) if key == "rule" && rest.is_empty() => keys.remove(key).is_some(),
        Value::Table(keys) => match keys.get_mut(key) {
            Some(Value::List(rules)) if key == "rule" => {
                let place = rest[0].parse::<usize>().ok();
                let rule = place.and_then(|number| rules.get_mut(number.wrapping_sub(1)));
                rule.is_some_and(|rule| mend_rule(rule, rest.get(1)))
            }
            Some(table @ Value::Table(_)) if !rest.is_empty() => mend(table, rest),
            Some(_) => keys.remove(key).is_some(),
            None => false,
        },
        _ => false,
    }
}

/// Takes a wrong key out of a rule, or all of them; what is left is one, and the others keep their numbers.
fn mend_rule(rule: &mut Value, key: Option<&String>) -> bool {
    let Value::Table(keys) = rule else {
        *rule = Value::Table(BTreeMap::new());
        return mend_rule(rule, None);
    };
    match key {
        Some(key) => drop(keys.remove(key)),
        None => keys.clear(),
    }
    keys.entry("match".to_owned()).or_insert(Value::String("*".to_owned()));
    keys.entry("drop".to_owned()).or_insert(Value::Bool(false));
    true
}

/// What a configuration decides for families of this name on the page, and where it says so; for one type and one host, if
/// they are given.
///
/// # Errors
/// A configuration that is wrong.
pub fn explain(table: Value, name: &str, kind: Option<Kind>, host: Option<&str>) -> Result<String, ConfigError> {
    Ok(policy::explain(&policy_of(table)?, name, kind, host))
}
