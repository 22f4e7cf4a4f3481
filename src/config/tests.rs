use super::*;
use crate::encode::statsd::Tags;
use crate::runtime::{ExportOptions, StatsdOptions};
use std::collections::BTreeMap;

pub(super) fn table<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Table(BTreeMap::from(pairs.map(|(key, value)| (key.to_owned(), value))))
}

pub(super) fn message(value: Value) -> String {
    settings(value, false).unwrap_err().to_string()
}

pub(super) fn load(value: Value) -> Result<Config, ConfigError> {
    Given::new(value)?.config()
}

pub(super) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(super) fn push(value: Value) -> StatsdOptions {
    settings(value, false).unwrap().runtime.statsd.expect("a pusher")
}

pub(super) fn export(value: Value) -> ExportOptions {
    settings(value, false).unwrap().runtime.export.expect("an exporter")
}

/// A file that is gone when this is.
pub(super) struct File(std::path::PathBuf);

impl File {
    pub(super) fn with(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("metre-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    pub(super) fn path(&self) -> String {
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
        "statistics_config: unknown key 'zzz' (given: the number 3); allowed here: 'config_file', 'openmetrics', 'limits', 'labels', 'rule', 'exporter', 'collect_interval', 'self_metrics', 'process_metrics', 'operator', 'statsd', \
         'statsd_server', 'statsd_port', 'prefix'"
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
        "statistics_config: 'openmetrics.created' is the number 1; allowed: true or false"
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
        "statistics_config: unknown key 'a\u{fffd}b' (given: true); allowed here: 'config_file', 'openmetrics', 'limits', 'labels', 'rule', 'exporter', 'collect_interval', 'self_metrics', 'process_metrics', 'operator', 'statsd', \
         'statsd_server', 'statsd_port', 'prefix'"
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
        text.starts_with(&format!("{}, line 2: unknown key 'openmetrics.bogus'", unknown.path())),
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
    assert!(text.contains("allowed here: 'openmetrics'"), "{text}");
}

#[test]
fn an_error_is_one_line_whatever_was_given() {
    for (key, given) in [
        ("statsd", "'\n\u{1b}"),
        ("exporter", "127.0.0.1:\n1"),
        ("statsd", "h:\r\n1"),
    ] {
        let message = message(table([(key, text(given))]));
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}

#[test]
fn a_long_value_is_not_repeated_whole() {
    let long = Value::String("x".repeat(100_000));
    assert!(message(table([("zzz", long.clone())])).len() < 300);
    assert!(message(table([("statsd", long.clone())])).len() < 300);
    let tags = table([("a", long)]);
    assert!(message(table([("statsd", table([("constant_tags", tags)]))])).len() < 400);
}

#[test]
fn there_is_a_pusher_only_if_asked_for() {
    assert_eq!(settings(table([]), false).unwrap().runtime.statsd, None);
    let default = settings(table([]), true).unwrap().runtime.statsd.unwrap();
    assert_eq!(default.server.to_string(), "udp://localhost:8125");
    assert_eq!(default.lines.prefix, "prosody.");
    assert_eq!(push(table([("statsd", table([]))])), default);
}

#[test]
fn prosodys_own_statsd_keys_mean_the_same() {
    let keys = [
        ("statsd_server", text("::1")),
        ("statsd_port", text("9125")),
        ("prefix", text("xmpp.eu")),
    ];
    let own = push(table(keys));
    assert_eq!(own.server.to_string(), "udp://[::1]:9125");
    assert_eq!(own.lines.prefix, "xmpp.eu.");
    assert_eq!(own.collect_interval.as_secs(), 10);
    let seldom = table([("statsd", text("h")), ("collect_interval", text("1m 30s"))]);
    assert_eq!(push(seldom).collect_interval.as_secs(), 90);
    let short = push(table([("statsd", text("unixgram:///run/statsd"))]));
    assert_eq!(short.server.to_string(), "unixgram:///run/statsd");
    let stream = push(table([("statsd_server", text("unixstream:///run/statsd"))]));
    assert_eq!(stream.server.to_string(), "unixstream:///run/statsd");
    assert_eq!(
        push(table([("statsd_server", text("h")), ("prefix", text(""))]))
            .lines
            .prefix,
        ""
    );
}

#[test]
fn statsd_keys_from_file_and_table_come_together() {
    let file = File::with("statsd", "statsd = \"tcp://localhost:1\"\n");
    let over = table([
        ("config_file", file.value()),
        (
            "statsd",
            table([("flush_interval", Value::Float(0.5)), ("tags", text("influx"))]),
        ),
    ]);
    let options = push(over);
    assert_eq!(options.server.to_string(), "tcp://localhost:1");
    assert_eq!(options.flush_interval.as_millis(), 500);
    assert_eq!(options.lines.tags, Tags::Influx);
}

#[test]
fn what_is_wrong_with_statsd_is_named() {
    let statsd = |key, value| message(table([("statsd", table([(key, value)]))]));
    for (given, expected) in [
        (
            statsd("server", text("http://x")),
            "'statsd.server' is the string \"http://x\": there is no 'http://'; allowed: udp://host:port, tcp://host:port, \
             unix:///path or unixstream:///path",
        ),
        (
            statsd("server", text("unix:run/statsd.sock")),
            "'statsd.server' is the string \"unix:run/statsd.sock\": its path does not begin with '/'; allowed: udp://host:port, \
             tcp://host:port, unix:///path or unixstream:///path",
        ),
        (
            message(table([
                ("statsd_server", text("unixstream:///run/s")),
                ("statsd_port", Value::Int(1)),
            ])),
            "'statsd_port' goes with a host; a Unix socket has no port",
        ),
        (
            statsd("flush_interval", Value::Int(0)),
            "'statsd.flush_interval' is the number 0; allowed: a number from 0.1 to 3600 seconds, or a time such as \"90s\" or \"1h 30m\"",
        ),
        (
            statsd("max_datagram", text("big")),
            "'statsd.max_datagram' is the string \"big\"; allowed: a whole number from 64 to 65507 bytes",
        ),
        (
            statsd("tags", text("datadog")),
            "'statsd.tags' is the string \"datadog\"; allowed: \"none\", \"dogstatsd\", \"influx\"",
        ),
        (
            statsd("prefix", text("a..b")),
            "'statsd.prefix' is the string \"a..b\"; allowed: letters, digits, '_' and '-', in parts joined by '.', 200 in all, or \"\" for \
             none",
        ),
        (
            statsd("container", text("ci-1")),
            "'statsd.container' needs 'tags' to be \"dogstatsd\"",
        ),
        (
            statsd("rename_tags", table([("host", text("domain"))])),
            "'statsd.rename_tags' needs 'tags' to be \"dogstatsd\" or \"influx\"; without tags labels have no names",
        ),
        (
            statsd("constant_tags", table([("env", text("prod"))])),
            "'statsd.constant_tags' needs 'tags' to be \"dogstatsd\" or \"influx\"",
        ),
        (
            message(table([("statsd_server", text("a")), ("statsd", text("b"))])),
            "'statsd_server' says the same as 'statsd.server'; leave one of them out",
        ),
        (
            message(table([("statsd_port", Value::Int(8125))])),
            "'statsd_port' is for statsd, and there is neither 'statsd' nor 'statsd_server'",
        ),
        (
            message(table([("collect_interval", Value::Int(0))])),
            "'collect_interval' is the number 0; allowed: a number from 0.1 to 3600 seconds, or a time such as \"90s\" or \"1h 30m\"",
        ),
        (
            message(table([("statsd", Value::Bool(true))])),
            "'statsd' is true; allowed: a table, or a server as a string",
        ),
    ] {
        assert_eq!(given, format!("statistics_config: {expected}"));
    }
}

pub(super) fn list<const N: usize>(values: [Value; N]) -> Value {
    Value::List(Vec::from(values))
}

#[test]
fn the_exporter_has_three_forms() {
    assert_eq!(settings(table([]), false).unwrap().runtime.export, None);
    let listens = |value: Value| -> Vec<String> {
        let exporter = export(table([("exporter", value)]));
        exporter.http.listen.iter().map(ToString::to_string).collect()
    };
    let (first, second) = ("127.0.0.1:1", "unix:/run/s");
    assert_eq!(listens(table([])), ["127.0.0.1:9469"]);
    assert_eq!(listens(text(first)), [first]);
    assert_eq!(listens(list([text(first), text(second)])), [first, second]);
    assert_eq!(listens(table([("listen", text(second))])), [second]);
    assert_eq!(
        listens(table([("listen", list([text("[::1]:2"), text(first)]))])),
        ["[::1]:2", first]
    );

    let exporter = export(table([(
        "exporter",
        table([
            ("socket_mode", text("0666")),
            (
                "allow",
                list([text("10.1.2.3/8"), text("::1"), text("::ffff:192.0.2.0/120")]),
            ),
            ("bearer_token_file", text("/etc/token")),
            ("collect_timeout", Value::Float(0.5)),
            ("max_connections", Value::Int(7)),
        ]),
    )]));
    assert_eq!(exporter.http.socket_mode, 0o666);
    let allow: Vec<String> = exporter.http.access.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["10.0.0.0/8", "::1/128", "192.0.2.0/24"]);
    assert_eq!(exporter.http.access.token_file, Some("/etc/token".into()));
    assert_eq!(exporter.http.limits.connections, 7);
    assert_eq!(exporter.collecting.timeout.as_millis(), 500);
}

#[test]
fn false_switches_off_what_a_file_has_switched_on() {
    let file = File::with("off", "exporter = '127.0.0.1:1'\nstatsd = '127.0.0.1'\n");
    let off = |key| {
        settings(table([("config_file", file.value()), (key, Value::Bool(false))]), false)
            .unwrap()
            .runtime
    };
    assert_eq!((off("exporter").export, off("exporter").statsd.is_some()), (None, true));
    assert_eq!((off("statsd").export.is_some(), off("statsd").statsd), (true, None));
    assert!(message(table([("openmetrics", Value::Bool(false))])).contains("is false; allowed: a table"));
}

#[test]
fn keys_are_those_of_the_schema() {
    let all = message(table([("no such key", Value::Int(1))]));
    let expected = Config::KEYS.map(|key| format!("'{key}'")).join(", ");
    assert!(all.ends_with(&format!("'config_file', {expected}")), "{all}");
}

#[test]
fn what_an_exporter_cannot_be_is_told() {
    let wrong = |key, value| message(table([("exporter", table([(key, value)]))]));
    for (key, value, expected) in [
        (
            "listen",
            text("localhost:1"),
            "is the string \"localhost:1\": write 127.0.0.1:1 or [::1]:1; allowed: \"127.0.0.1:9469\", \
             \"[::1]:9469\", \"unix:/path\", with addresses and ports of your own",
        ),
        ("listen", Value::Int(9469), "is the number 9469; allowed: an address as a string, or a list of them"),
        ("listen", list([text("127.0.0.1:1"), text("127.0.0.1:1")]), "has 127.0.0.1:1 twice; leave one of them out"),
        (
            "allow",
            list([text("10.0.0.0/33")]),
            "is the string \"10.0.0.0/33\"; allowed: an address or a range of them, as in \"192.0.2.7\", \"10.0.0.0/8\" or \
             \"2001:db8::/32\"",
        ),
        ("socket_mode", text("0999"), "is the string \"0999\"; allowed: file permissions in octal digits, in quotes, as in \"0660\""),
        ("socket_mode", Value::Int(660), "is the number 660; allowed: file permissions in octal digits, in quotes, as in \"0660\""),
        ("bearer_token_file", text("token"), "is no path from '/' on; allowed: the path of a file with the token in it"),
        ("max_connections", Value::Int(0), "is the number 0; allowed: a whole number from 1 to 10000"),
        ("idle_timeout", Value::Float(0.1), "is the number 0.1; allowed: a number from 1 to 86400 seconds, or a time such as \"90s\" or \"1h 30m\""),
    ] {
        let key = if key == "allow" { "allow.1" } else { key };
        assert_eq!(
            wrong(key.trim_end_matches(".1"), value),
            format!("statistics_config: 'exporter.{key}' {expected}")
        );
    }
    assert!(wrong("lissten", text("")).contains("did you mean 'listen'?"));
    assert!(wrong("listen", table([])).contains("is an empty list; allowed: at least one address"));
    assert!(wrong("listen", list([Value::Int(5)]))
        .contains("'exporter.listen.1' is the number 5; allowed: \"127.0.0.1:9469\""));
    assert!(wrong("allow", text("*")).contains("for everybody: \"0.0.0.0/0\""));
    assert!(wrong("self_metrics", Value::Bool(false)).contains("'self_metrics' stands outside of 'exporter'; "));
    assert!(wrong("1", text("127.0.0.1:1")).contains("a value that stands without a key"));
    let secret = wrong("bearer_token", text("hunter2"));
    assert!(
        secret.contains("did you mean 'bearer_token_file'?") && !secret.contains("hunter2"),
        "{secret}"
    );
    assert!(message(table([("exporter", Value::Bool(true))])).contains("allowed: a table, or an address as a string"));
    let statsd = table([("self_metrics", Value::Bool(true))]);
    assert_eq!(
        message(table([("self_metrics", Value::Bool(false)), ("statsd", statsd)])),
        "statistics_config: 'statsd.self_metrics' pushes what 'self_metrics = false' has switched off; leave one of them out"
    );
}

#[test]
fn a_wrong_file_is_told_line_by_line() {
    let file = File::with(
        "policy",
        "[limits]\nmax_families = 'many'\nmax_serie = 5\n\n[labels]\nle = 'x'\nfine = 'y'\n\n\
         [[rule]]\nmatch = '*'\ntype = 'sumary'\nquantiles = [0.5]\n\n\
         [[rule]]\nmatch = 'a'\nhost = 'b'\nbuckets = [1]\n\n\
         [[rule]]\ndrop = true\n\n\
         [[rule]]\nmatch = '*'\nquantiles = [0.5, 1.5]\n\n\
         [[rule]]\nmatch = '*'\nidle_ttl = '1 fortnight'\n\n\
         [[rule]]\nmatch = '*'\nquantiles = [0.5, 0.50000000000000011]\n\n\
         [[rule]]\nmatch = '*'\nbuckets = [1, 1]\n\n\
         [[rule]]\nmatch = '*'\n\
         [[rule]]\nmatch = '*'\ntype = 'gauge'\nallow_negative = true\n\n\
         [[rule]]\nmatch = '*'\nhost = 'a'\nallow_negative = true\n",
    );
    let table = table([("config_file", file.value()), ("self_metrics", Value::Int(1))]);
    let told: Vec<String> = check(table.clone(), false).iter().map(ToString::to_string).collect();
    let expected = [
        "line 2: 'limits.max_families' is the string \"many\"; allowed: a whole number from 0 to 100000000",
        "line 3: unknown key 'limits.max_serie' (given: the number 5); did you mean 'max_series'? allowed here: 'max_families', \
         'max_series', 'max_series_per_family', 'max_label_bytes', 'max_quantile_series'",
        "line 6: 'labels.le' is a label of histograms or summaries already; choose another name",
        "line 11: 'rule.1.type' is the string \"sumary\"; allowed: \"gauge\", \"counter\", \"histogram\", \"summary\"",
        "line 14: 'rule.2' has 'host' with 'buckets', 'quantiles', 'quantile_window' or 'allow_negative', which all hosts of a \
         family share; put these into a rule without 'host'",
        "line 19: 'rule.3' has no 'match'; add the name of a family, or a pattern, as in match = \"prosody_mod_c2s_*\"",
        "line 24: 'rule.4.quantiles' has 1.5; allowed: numbers from 0 to 1, such as 0.99 for 99 %",
        "line 28: 'rule.5.idle_ttl' is the string \"1 fortnight\"; allowed: a number from 0 to 31536000 seconds, or a time such as \
         \"90s\" or \"1h 30m\"",
        "line 32: 'rule.6.quantiles' has 0.5 before 0.5000000000000001; put them in ascending order, each once",
        "line 36: 'rule.7.buckets' has 1 before 1; put them in ascending order, each once",
        "line 38: 'rule.8' decides nothing; add 'drop', 'buckets', 'max_series', 'idle_ttl', 'quantiles', 'quantile_window' or \
         'allow_negative'",
        "line 40: 'rule.9' has 'allow_negative' for types without samples; it is for \"summary\" and \"histogram\"",
        "line 45: 'rule.10' has 'host' with 'buckets', 'quantiles', 'quantile_window' or 'allow_negative', which all hosts of a \
         family share; put these into a rule without 'host'",
    ];
    assert_eq!(
        told[0],
        "statistics_config: 'self_metrics' is the number 1; allowed: true or false"
    );
    assert_eq!(
        told[1..],
        expected.map(|expected| format!("{}, {expected}", file.path()))
    );
    assert_eq!(message(table), told[0]);
}

#[test]
fn rules_are_read_from_either_form() {
    let file = File::with(
        "rules",
        "limits.max_series = 7\nlabels = { zone = 'a' }\n\n[[rule]]\nmatch = 'x'\ntype = ['gauge', 'counter']\nidle_ttl = '1h 30m'\n\
         max_series = 5\n\n[[rule]]\nmatch = 'y'\nbuckets = [0.1, 1, 10]\nquantiles = []\nquantile_window = 90\n",
    );
    let policy = settings(table([("config_file", file.value())]), false).unwrap().policy;
    assert_eq!((policy.limits.max_series, policy.limits.max_families), (7, 5000));
    assert_eq!(policy.labels, [("zone".to_owned(), "a".to_owned())]);
    let [first, second] = &policy.rules[..] else {
        panic!("two rules");
    };
    assert_eq!(
        (first.idle_ttl, first.max_series, first.drop),
        (Some(5400), Some(5), None)
    );
    assert_eq!(
        first.kinds,
        Some(vec![crate::model::Kind::Gauge, crate::model::Kind::Counter])
    );
    assert_eq!(first.origin.to_string(), format!("rule 1, {}, line 4", file.path()));
    assert_eq!(second.origin.to_string(), format!("rule 2, {}, line 10", file.path()));
    assert_eq!(second.quantile_window, Some(std::time::Duration::from_secs(90)));
    assert_eq!(second.quantiles, Some(Vec::new()));
    // A table's rules take the place of the file's, and Lua's empty list is an empty table.
    let rule = table([
        ("match", text("z")),
        ("drop", Value::Bool(true)),
        ("quantiles", table([])),
    ]);
    let over = table([("config_file", file.value()), ("rule", list([rule]))]);
    let policy = settings(over, false).unwrap().policy;
    assert_eq!(policy.rules.len(), 1);
    assert_eq!(policy.rules[0].origin.to_string(), "rule 1");
    let none = table([("config_file", file.value()), ("rule", table([]))]);
    assert_eq!(settings(none, false).unwrap().policy.rules, []);
}
