use super::*;
use std::collections::BTreeMap;

fn table<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Table(BTreeMap::from(pairs.map(|(key, value)| (key.to_owned(), value))))
}

fn message(value: Value) -> String {
    load(value).unwrap_err().to_string()
}

/// A file that is gone when this is.
struct File(std::path::PathBuf);

impl File {
    fn with(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("metre-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn value(&self) -> Value {
        Value::String(self.path())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(load(table([])).unwrap(), Config::default());
    assert!(Config::default().openmetrics.created);
}

#[test]
fn the_table_wins_over_the_file_key_by_key() {
    let file = File::with("wins", "[openmetrics]\ncreated = false\ncanonical_le = true\n");
    let over = table([
        ("config_file", file.value()),
        ("openmetrics", table([("created", Value::Bool(true))])),
    ]);
    let config = load(over).unwrap();
    assert!(config.openmetrics.created);
    assert!(config.openmetrics.canonical_le);
}

#[test]
fn an_unknown_key_is_named_with_the_likely_one() {
    assert_eq!(
        message(table([("openmetrics", table([("creatd", Value::Bool(false))]))])),
        "statistics_config: unknown key 'openmetrics.creatd' (given: false); did you mean 'created'? \
         allowed here: 'created', 'canonical_le'"
    );
    assert_eq!(
        message(table([("zzz", Value::Int(3))])),
        "statistics_config: unknown key 'zzz' (given: the number 3); allowed here: 'config_file', 'openmetrics'"
    );
    assert!(
        message(table([("config_file", Value::String(String::new()))])).contains("'config_file' is the string \"\";")
    );
    assert!(message(table([("config_fil", Value::Int(3))])).contains("did you mean 'config_file'?"));
}

#[test]
fn a_wrong_type_is_named_with_what_is_allowed() {
    assert_eq!(
        message(table([("openmetrics", table([("created", Value::Int(1))]))])),
        "statistics_config: 'openmetrics.created' is the number 1; allowed: a boolean"
    );
    let other = Value::Other("a function".to_owned());
    assert!(message(table([("openmetrics", other)])).contains("'openmetrics' is a function; allowed: "));
    let list = Value::List(vec![Value::Bool(false)]);
    assert_eq!(
        message(table([("openmetrics", list)])),
        "statistics_config: 'openmetrics' is a list; allowed: a table"
    );
    assert_eq!(
        message(table([("a\nb", Value::Bool(true))])),
        "statistics_config: unknown key 'a\u{fffd}b' (given: true); allowed here: 'config_file', 'openmetrics'"
    );
    assert_eq!(
        message(Value::Bool(true)),
        "statistics_config: is true; allowed: a table"
    );
    assert_eq!(
        message(table([("config_file", Value::Bool(true))])),
        "statistics_config: 'config_file' is true; allowed: the path of a TOML file, as a string"
    );
}

#[test]
fn errors_in_the_file_name_the_file() {
    let unknown = File::with("unknown", "[openmetrics]\nbogus = 1\n");
    let text = message(table([("config_file", unknown.value())]));
    assert!(
        text.starts_with(&format!("{}: unknown key 'openmetrics.bogus'", unknown.path())),
        "{text}"
    );

    let malformed = File::with("malformed", "[openmetrics\n");
    let text = message(table([("config_file", malformed.value())]));
    assert!(
        text.contains("is not valid TOML: ") && text.contains("line 1"),
        "{text}"
    );

    let missing = table([("config_file", Value::String("/nonexistent/metre.toml".to_owned()))]);
    let text = message(missing);
    assert!(
        text.starts_with("/nonexistent/metre.toml: cannot be read: No such file"),
        "{text}"
    );

    let directory = table([("config_file", Value::String("/".to_owned()))]);
    assert!(message(directory).contains("not a regular file"));

    // A file can't name a further one.
    let nested = File::with("nested", "config_file = \"x\"\n");
    let text = message(table([("config_file", nested.value())]));
    assert!(text.ends_with("allowed here: 'openmetrics'"), "{text}");
}

#[test]
fn a_long_value_is_not_repeated_whole() {
    let long = Value::String("x".repeat(100_000));
    assert!(message(table([("zzz", long)])).len() < 300);
}
