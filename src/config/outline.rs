//! What of a configuration other programs on the machine have to do with: for `metre check`.

use super::{settings, Config, Value};
use std::path::PathBuf;
use std::time::Duration;

/// What a configuration without mistakes has of that.
#[derive(Debug, PartialEq, Eq)]
pub struct Outline {
    /// Where the exporter listens, as `127.0.0.1:9469` or `unix:/path`.
    pub listen: Vec<String>,
    /// How long a scrape waits for a collection, if there is an exporter.
    pub collect_timeout: Option<Duration>,
    /// The file with the exporter's token.
    pub token_file: Option<PathBuf>,
}

/// The outline of a configuration, unless that has mistakes; those are [`check`](super::check)'s to tell.
pub fn outline(table: Value, statsd: bool) -> Option<Outline> {
    let export = settings(table, statsd).ok()?.runtime.export;
    let http = export.as_ref().map(|export| &export.http);
    Some(Outline {
        listen: http.map_or_else(Vec::new, |http| http.listen.iter().map(ToString::to_string).collect()),
        collect_timeout: export.as_ref().map(|export| export.collecting.timeout),
        token_file: http.and_then(|http| http.access.token_file.clone()),
    })
}

/// The keys that stand in `statistics_config` itself.
pub fn keys() -> impl Iterator<Item = &'static str> {
    std::iter::once("config_file").chain(Config::KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn table<const N: usize>(keys: [(&str, Value); N]) -> Value {
        Value::Table(keys.map(|(key, value)| (key.to_owned(), value)).into())
    }

    #[test]
    fn an_outline_has_what_the_exporter_needs() {
        let text = |text: &str| Value::String(text.to_owned());
        let listen = Value::List(vec![text("[::1]:1"), text("unix:/run/s")]);
        let exporter = table([
            ("listen", listen),
            ("collect_timeout", text("15s")),
            ("bearer_token_file", text("/etc/token")),
        ]);
        let given = outline(table([("exporter", exporter)]), false).unwrap();
        assert_eq!(given.listen, ["[::1]:1", "unix:/run/s"]);
        assert_eq!(given.collect_timeout, Some(Duration::from_secs(15)));
        assert_eq!(given.token_file, Some("/etc/token".into()));
        let nothing = outline(Value::Table(BTreeMap::new()), true).unwrap();
        assert_eq!((nothing.listen, nothing.collect_timeout), (Vec::new(), None));
        assert_eq!(outline(table([("exporter", Value::Bool(true))]), false), None);
        assert!(keys().any(|key| key == "exporter") && keys().any(|key| key == "config_file"));
    }
}
