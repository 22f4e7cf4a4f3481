//! Any configuration: an error names where and what, `check` and `settings` agree, and what is accepted can be run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use metre::config::{check, check_files, explain, settings, Value};
use metre::encode::exposition::{page, Format};
use metre::model::Kind;
use metre::runtime::{Runtime, StatsdOptions};
use metre::store::{FamilySpec, Store};
use metre_fuzz::configuration::{check_keys, table, toml, SECRET};
use metre_fuzz::exposition::{self, Dialect};
use metre_fuzz::input::Input;
use std::collections::BTreeMap;
use std::sync::Arc;

fuzz_target!(init: check_keys(), |bytes: &[u8]| {
    let input = &mut Input::new(bytes);
    let statsd = input.any();
    let given = match input.any() {
        true => table(input),
        false => Value::Table(BTreeMap::new()),
    };
    let (given, file) = match (given, input.any()) {
        (Value::Table(keys), true) => with_file(keys, input),
        (given, _) => (given, None),
    };
    let errors = check(given.clone(), statsd);
    let settings = settings(given.clone(), statsd);
    let explained = Kind::ALL.map(|kind| explain(given.clone(), "a_total", Some(kind), Some("h0")).is_ok());
    match settings {
        Err(error) => {
            assert!(!errors.is_empty(), "nothing is wrong with {given:?}, but: {error}");
            assert!(errors.len() <= 50);
            for error in errors.iter().chain([&error]) {
                is_helpful(&error.to_string(), &given, file.as_deref());
            }
        }
        Ok(settings) => {
            assert!(errors.is_empty(), "{errors:?}");
            for error in check_files(given.clone()) {
                is_helpful(&error.to_string(), &given, file.as_deref());
            }
            assert_eq!(explained, [true; 4]);
            let samples = settings.runtime.statsd.as_ref().map(StatsdOptions::samples);
            let store = Arc::new(Store::with(settings.policy, samples));
            let runtime = Runtime::new(&store, settings.runtime.clone(), "none");
            // Held to the end.
            let _families = Kind::ALL.map(|kind| {
                let spec = FamilySpec::new(kind, kind.name()).labels(&["host", "cluster"]);
                store.register(spec.buckets(&[1.0]))
            });
            runtime.update_own_metrics();
            let mut out = Vec::new();
            page(&mut out, &store, settings.runtime.page, Format::OPENMETRICS, None).expect("a Vec takes everything");
            exposition::parse(&out, Dialect::OpenMetrics).unwrap_or_else(|why| panic!("{why}"));
        }
    }
});

/// The same with a file below it, and what is in that.
fn with_file(mut keys: BTreeMap<String, Value>, input: &mut Input<'_>) -> (Value, Option<String>) {
    let path = metre_fuzz::directory().join("metre.toml");
    let text = match input.any() {
        true => input.rest(),
        false => toml(input).into_bytes(),
    };
    std::fs::write(&path, &text).expect("a file");
    keys.insert(
        "config_file".to_owned(),
        Value::String(path.to_string_lossy().into_owned()),
    );
    (Value::Table(keys), Some(String::from_utf8_lossy(&text).into_owned()))
}

/// One line that begins with the place and names a key, and tells no secret.
fn is_helpful(error: &str, given: &Value, file: Option<&str>) {
    assert!(
        !error.contains(char::is_control) && !error.contains(SECRET),
        "{error:?}"
    );
    let is_unread = error.contains(": cannot be read: ");
    let in_file = file.is_some() && error.contains("metre.toml");
    assert!(
        error.starts_with("statistics_config: ") || in_file || is_unread,
        "{error}"
    );
    // A file that isn't TOML, and a configuration that is no table, have no key.
    let whole = is_unread || error.contains(": is not valid TOML: ") || !matches!(given, Value::Table(_));
    assert!(whole || error.contains('\''), "no key in {error}");
}
