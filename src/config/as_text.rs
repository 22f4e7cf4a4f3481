//! Settings that come from environment variables: text, whatever they are for, and none where a variable isn't set.

use super::tests::{export, list, load, message, push, table, text, File};
use super::*;
use crate::runtime::Probes;
use std::time::Duration;

fn exporter<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    table([("exporter", table(pairs))])
}

fn rule<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    table([("rule", list([table(pairs)]))])
}

#[test]
fn booleans_numbers_and_lists_may_be_text() {
    let given = table([
        (
            "openmetrics",
            table([("created", text("false")), ("canonical_le", text("true"))]),
        ),
        ("self_metrics", text("false")),
        (
            "limits",
            table([("max_series", text("500")), ("max_families", text(" 7\n"))]),
        ),
        (
            "exporter",
            table([
                ("listen", text("127.0.0.1:1, unix:///run/s")),
                ("allow", text("10.0.0.0/8,::1")),
                ("max_connections", text("5")),
                ("idle_timeout", text("90")),
                ("collect_timeout", text("0.5")),
                ("probes", text("all")),
            ]),
        ),
        (
            "rule",
            list([
                table([
                    ("match", text("x")),
                    ("drop", text("true")),
                    ("type", text("gauge, counter")),
                ]),
                table([
                    ("match", text("y")),
                    ("buckets", text("0.1,1, 10")),
                    ("quantiles", list([text("0.5"), Value::Float(0.9)])),
                    ("idle_ttl", text("60")),
                ]),
            ]),
        ),
    ]);
    let as_usual = table([
        (
            "openmetrics",
            table([("created", Value::Bool(false)), ("canonical_le", Value::Bool(true))]),
        ),
        ("self_metrics", Value::Bool(false)),
        (
            "limits",
            table([("max_series", Value::Int(500)), ("max_families", Value::Int(7))]),
        ),
        (
            "exporter",
            table([
                ("listen", list([text("127.0.0.1:1"), text("unix:/run/s")])),
                ("allow", list([text("10.0.0.0/8"), text("::1")])),
                ("max_connections", Value::Int(5)),
                ("idle_timeout", Value::Int(90)),
                ("collect_timeout", Value::Float(0.5)),
                ("probes", text("all")),
            ]),
        ),
        (
            "rule",
            list([
                table([
                    ("match", text("x")),
                    ("drop", Value::Bool(true)),
                    ("type", list([text("gauge"), text("counter")])),
                ]),
                table([
                    ("match", text("y")),
                    ("buckets", list([Value::Float(0.1), Value::Int(1), Value::Int(10)])),
                    ("quantiles", list([Value::Float(0.5), Value::Float(0.9)])),
                    ("idle_ttl", Value::Int(60)),
                ]),
            ]),
        ),
    ]);
    assert_eq!(load(given).unwrap(), load(as_usual).unwrap());
    // In a file, too.
    let file = File::with("as-text", "self_metrics = 'false'\nexporter = 'true'\n");
    let over = |value| table([("config_file", text(&file.path())), ("exporter", value)]);
    assert!(!load(over(text("127.0.0.1:1"))).unwrap_err().to_string().is_empty());
    let file = File::with(
        "as-text-2",
        "self_metrics = 'false'\nexporter = '127.0.0.1:1,127.0.0.1:2'\n",
    );
    let over = |value| table([("config_file", text(&file.path())), ("exporter", value)]);
    assert!(!load(over(table([]))).unwrap().self_metrics);
    assert_eq!(export(over(text(""))).http.listen.len(), 2);
    assert_eq!(load(over(text("false"))).unwrap().exporter, None);
}

#[test]
fn nothing_is_as_if_it_were_not_there() {
    let nothing = text("");
    for key in Config::KEYS {
        if key != "prefix" {
            assert_eq!(
                load(table([(key, nothing.clone())])).unwrap(),
                Config::default(),
                "{key}"
            );
        }
    }
    let keys = [
        "listen",
        "max_connections",
        "header_timeout",
        "collect_timeout",
        "collect_min_interval",
    ];
    for key in keys {
        let given = exporter([(key, nothing.clone())]);
        assert_eq!(load(given).unwrap(), load(exporter([])).unwrap(), "{key}");
    }
    for key in [
        "server",
        "tags",
        "histograms",
        "container",
        "constant_tags",
        "flush_interval",
    ] {
        let given = table([("statsd", table([(key, nothing.clone())]))]);
        assert_eq!(push(given), push(table([("statsd", table([]))])), "{key}");
    }
    let labels = table([("labels", table([("cluster", nothing.clone()), ("zone", text("a"))]))]);
    assert_eq!(load(labels), load(table([("labels", table([("zone", text("a"))]))])));
    let tags = |env| {
        let tags = table([("env", env), ("zone", text("a"))]);
        push(table([(
            "statsd",
            table([("tags", text("influx")), ("constant_tags", tags)]),
        )]))
    };
    assert_eq!(tags(nothing.clone()).lines.constant_tags.len(), 1);
    assert_eq!(tags(text("x")).lines.constant_tags.len(), 2);
    // What is below it shows.
    let file = File::with(
        "below",
        "prefix = 'a'\nstatsd_server = 'h'\nlabels = { zone = 'a' }\n[exporter]\nlisten = '127.0.0.1:7'\nidle_timeout = 7\n",
    );
    let over = table([
        ("config_file", text(&file.path())),
        ("prefix", nothing.clone()),
        ("labels", table([("zone", nothing.clone())])),
        (
            "exporter",
            table([("listen", nothing.clone()), ("idle_timeout", nothing.clone())]),
        ),
    ]);
    let config = load(over).unwrap();
    let exporter = config.exporter.clone().unwrap();
    assert_eq!(exporter.idle_timeout, Duration::from_secs(7));
    assert_ne!(exporter.listen, Exporter::default().listen);
    assert_eq!(config.labels.0["zone"], "a");
    // But for a prefix, where it is a value.
    assert_eq!(config.push_options(false).unwrap().unwrap().lines.prefix, "");
    // A key that doesn't exist is none.
    assert!(message(table([("exportr", nothing.clone())])).contains("did you mean 'exporter'?"));
    assert!(message(table([("limits", table([("max_serie", nothing)]))])).contains("did you mean 'max_series'?"));
}

/// A variable that isn't set must not open anything, nor have anything go.
#[test]
fn nothing_opens_nothing() {
    for key in ["bearer_token_file", "allow", "probes", "socket_mode"] {
        let told = message(exporter([(key, text(""))]));
        assert!(
            told.starts_with(&format!("statistics_config: 'exporter.{key}' is ")),
            "{told}"
        );
        assert!(told.contains("allowed: "), "{told}");
        // Nor over a file that says something.
        let file = File::with(
            key,
            "[exporter]\nallow = '10.0.0.0/8'\nprobes = 'allow'\nsocket_mode = '0600'\nbearer_token_file = '/t'\n",
        );
        let over = table([
            ("config_file", text(&file.path())),
            ("exporter", table([(key, text(""))])),
        ]);
        assert_eq!(message(over), told);
    }
    for key in ["match", "host", "type"] {
        let mut keys = vec![("match", text("x")), ("drop", Value::Bool(true))];
        keys.retain(|(other, _)| *other != key);
        let mut given: BTreeMap<String, Value> = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        given.insert(key.to_owned(), text(""));
        let told = message(table([("rule", list([Value::Table(given)]))]));
        assert!(
            told.contains(&format!("'rule.1.{key}' is the string \"\"; allowed: ")),
            "{told}"
        );
    }
    assert!(message(table([("config_file", text(""))])).contains("'config_file' is the string \"\"; allowed: "));
}

#[test]
fn other_text_is_told() {
    for (given, expected) in [
        (
            table([("self_metrics", text("yes"))]),
            "'self_metrics' is the string \"yes\"; allowed: true or false",
        ),
        (
            table([("process_metrics", text("True"))]),
            "'process_metrics' is the string \"True\"; allowed: true or false",
        ),
        (
            table([("exporter", text("true"))]),
            "'exporter' is true; allowed: a table, or an address as a string",
        ),
        (
            table([("statsd", text("true"))]),
            "'statsd' is true; allowed: a table, or a server as a string",
        ),
        (
            exporter([("allow", text("10.0.0.0/8,"))]),
            "'exporter.allow' has a comma with nothing before or after it; leave it out",
        ),
        (
            exporter([("allow", text("::1,*"))]),
            "'exporter.allow' is the string \"*\"; allowed: an address or a range of them, as in \"192.0.2.7\", \"10.0.0.0/8\" or \
             \"2001:db8::/32\"; for everybody: \"0.0.0.0/0\" and \"::/0\"",
        ),
        (
            exporter([("max_connections", text("5.5"))]),
            "'exporter.max_connections' is the string \"5.5\"; allowed: a whole number from 1 to 10000",
        ),
        (
            exporter([("max_connections", text("0"))]),
            "'exporter.max_connections' is the string \"0\"; allowed: a whole number from 1 to 10000",
        ),
        (
            exporter([("probes", text("everybody"))]),
            "'exporter.probes' is the string \"everybody\"; allowed: \"allow\", \"all\"",
        ),
        (
            exporter([("probes", Value::Bool(true))]),
            "'exporter.probes' is true; allowed: \"allow\", \"all\"",
        ),
        (
            rule([("match", text("x")), ("buckets", text("1,x"))]),
            "'rule.1.buckets' is the string \"1,x\"; allowed: a finite number; +Inf is added by itself",
        ),
        (
            rule([("match", text("x")), ("buckets", text("1;2"))]),
            "'rule.1.buckets' is the string \"1;2\"; allowed: a finite number; +Inf is added by itself",
        ),
        (
            table([("rule", text("x"))]),
            "'rule' is the string \"x\"; allowed: a list of tables: [[rule]] begins one in TOML, rule = { { match = … } } is one in Lua",
        ),
    ] {
        assert_eq!(message(given), format!("statistics_config: {expected}"));
    }
}

#[test]
fn what_is_wrong_with_a_file_of_tokens_is_told() {
    let told = |given: Value| -> Vec<String> { check_files(given).iter().map(ToString::to_string).collect() };
    let tokens = File::with("tokens", "hunter2\n");
    let given = || exporter([("bearer_token_file", text(&tokens.path()))]);
    assert_eq!(told(given()), [""; 0]);
    let path = tokens.path();
    std::fs::write(&path, "hunter2\n\nhunter3\n").unwrap();
    assert_eq!(
        told(given()),
        [format!(
            "statistics_config: 'exporter.bearer_token_file' names {path}: line 2 is blank; remove it; its tokens hold"
        )]
    );
    std::fs::write(&path, "hunter2 hunter3\n").unwrap();
    let file = File::with("with-tokens", &format!("[exporter]\nbearer_token_file = '{path}'\n"));
    let in_file = || table([("config_file", text(&file.path()))]);
    assert_eq!(
        told(in_file()),
        [format!(
            "{}, line 2: 'exporter.bearer_token_file' names {path}, which has no token that can be used: line 1 has blanks inside; \
             write one token on a line, and no comments",
            file.path()
        )]
    );
    let off = table([("config_file", text(&file.path())), ("exporter", Value::Bool(false))]);
    assert_eq!(told(off), [""; 0]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(told(in_file()), [""; 0], "whether it can be read is another question");
    assert_eq!(told(table([])), [""; 0]);
    assert_eq!(told(table([("exporter", Value::Int(5))])), [""; 0]);
}

#[test]
fn probes_have_their_key() {
    let probes = |value| export(exporter([("probes", text(value))])).probes;
    assert_eq!(export(exporter([])).probes, Probes::Guarded);
    assert_eq!((probes("allow"), probes("all")), (Probes::Allow, Probes::All));
}
