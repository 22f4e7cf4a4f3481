//! Looking at a configuration without running it.

use super::error::Origin;
use super::{policy_of, read, without_false, Config, ConfigError, Given, Problem, Value};
use crate::model::Kind;
use crate::policy;
use crate::transport::http::Tokens;
use std::collections::BTreeMap;
use std::io::ErrorKind;

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

/// What is wrong with what the files have in them that a configuration names, as far as they can be read; nothing if [`check`] finds mistakes.
pub fn check_files(table: Value) -> Vec<ConfigError> {
    token_file(table).ok().flatten().into_iter().collect()
}

/// What is wrong in the file of tokens.
fn token_file(table: Value) -> Result<Option<ConfigError>, ConfigError> {
    let given = Given::new(table)?;
    let path_in = |config: Config| config.exporter?.bearer_token_file;
    let Some(path) = path_in(given.config()?) else {
        return Ok(None);
    };
    let shown = path.display();
    let problem = match Tokens::read(&path) {
        Ok(tokens) => tokens
            .flaws()
            .map(|flaws| format!("names {shown}: {flaws}; its tokens hold")),
        Err(why) if why.kind() == ErrorKind::InvalidData => {
            Some(format!("names {shown}, which has no token that can be used: {why}"))
        }
        Err(_) => None,
    };
    let Some(problem) = problem else {
        return Ok(None);
    };
    let error = ConfigError::new("", Problem::Other(problem)).inside("bearer_token_file");
    let error = error.inside("exporter");
    // The table comes first, as it wins.
    let names_it = |value: &Value, origin: &Origin<'_>| {
        let config = read::config(&without_false(value), origin).ok();
        config.and_then(path_in).as_ref() == Some(&path)
    };
    let origin = given.parts().find(|(value, origin)| names_it(value, origin));
    Ok(origin.map(|(_, origin)| error.in_origin(&origin)))
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
                let position = rest[0].parse::<usize>().ok();
                let rule = position.and_then(|number| rules.get_mut(number.wrapping_sub(1)));
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
