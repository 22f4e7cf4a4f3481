use super::*;

fn rule(name: &str) -> Rule {
    Rule {
        name: Pattern::new(name),
        host: None,
        kinds: None,
        drop: None,
        buckets: None,
        max_series: None,
        idle_ttl: None,
        quantiles: None,
        quantile_window: None,
        allow_negative: None,
        origin: Origin::default(),
    }
}

fn policy(rules: Vec<Rule>) -> Policy {
    let rules = (1..).zip(rules).map(|(number, rule)| {
        let line = Some(("/etc/metre.toml".to_owned(), 10 * number));
        let origin = Origin { number, line };
        Rule { origin, ..rule }
    });
    Policy {
        rules: rules.collect(),
        ..Policy::default()
    }
}

fn labels(values: &[&str]) -> Vec<u8> {
    let mut set = labels::LabelSet::new();
    values.iter().for_each(|value| set.push(value.as_bytes()));
    set.as_bytes().to_vec()
}

const HOUR: u32 = 3600;

#[test]
fn later_rules_win_key_by_key() {
    let policy = policy(vec![
        Rule {
            max_series: Some(5),
            idle_ttl: Some(HOUR),
            ..rule("*")
        },
        Rule {
            max_series: Some(7),
            ..rule("a_*")
        },
        Rule {
            idle_ttl: Some(0),
            ..rule("a_b")
        },
        Rule {
            drop: Some(true),
            ..rule("a_?")
        },
        Rule {
            drop: Some(false),
            ..rule("a_b")
        },
    ]);
    let of = |name| policy.family(name, Kind::Gauge, &[]).series(&[]);
    assert_eq!(
        (of("a_b").max_series, of("a_b").idle_ttl, of("a_b").drop),
        (7, 0, false)
    );
    assert_eq!(
        (of("a_bc").max_series, of("a_bc").idle_ttl, of("a_bc").drop),
        (7, HOUR, false)
    );
    assert_eq!((of("b").max_series, of("b").idle_ttl), (5, HOUR));
    assert!(policy.family("a_c", Kind::Gauge, &[]).drops_all());
    assert!(!policy.family("a_b", Kind::Gauge, &[]).drops_all());
}

#[test]
fn a_counter_is_known_by_both_its_names_and_goes_only_if_counters_are_named() {
    let policy = policy(vec![
        Rule {
            drop: Some(true),
            ..rule("x_total")
        },
        Rule {
            idle_ttl: Some(HOUR),
            ..rule("*")
        },
        Rule {
            idle_ttl: Some(2 * HOUR),
            kinds: Some(vec![Kind::Counter, Kind::Gauge]),
            ..rule("c*")
        },
    ]);
    assert!(policy.family("x", Kind::Counter, &[]).drops_all());
    assert!(!policy.family("x", Kind::Gauge, &[]).drops_all());
    let ttl = |name, kind| policy.family(name, kind, &[]).shortest_ttl();
    assert_eq!(ttl("d", Kind::Counter), 0);
    assert_eq!(ttl("d", Kind::Summary), HOUR);
    assert_eq!(ttl("c", Kind::Counter), 2 * HOUR);
    assert_eq!(ttl("c", Kind::Histogram), HOUR);
}

#[test]
fn quantiles_and_buckets_go_to_the_types_that_have_them() {
    let policy = policy(vec![
        Rule {
            quantiles: Some(vec![0.5]),
            buckets: Some(vec![Number::Int(1)]),
            ..rule("*")
        },
        Rule {
            quantiles: Some(vec![0.9]),
            kinds: Some(vec![Kind::Histogram]),
            ..rule("h")
        },
    ]);
    let of = |name, kind| policy.family(name, kind, &[]);
    assert_eq!(of("s", Kind::Summary).quantiles, [0.5]);
    assert_eq!(of("s", Kind::Summary).buckets, None);
    assert!(of("x", Kind::Histogram).quantiles.is_empty());
    assert_eq!(of("x", Kind::Histogram).buckets, Some(vec![Number::Int(1)]));
    assert_eq!(of("h", Kind::Histogram).quantiles, [0.9]);
    assert!(of("g", Kind::Gauge).quantiles.is_empty());
}

#[test]
fn hosts_narrow_what_is_decided_for_series() {
    let policy = policy(vec![
        Rule {
            max_series: Some(100),
            ..rule("*")
        },
        Rule {
            host: Some(Pattern::new("*.example.org")),
            max_series: Some(5),
            idle_ttl: Some(HOUR),
            ..rule("*")
        },
        Rule {
            host: Some(Pattern::new("b.example.org")),
            drop: Some(true),
            ..rule("*")
        },
    ]);
    let keys = [b"type".to_vec(), b"host".to_vec()];
    let family = policy.family("x", Kind::Gauge, &keys);
    let of = |host| family.series(&labels(&["host", host]));
    assert_eq!((of("example.org").max_series, of("example.org").idle_ttl), (100, 0));
    assert_eq!(
        (of("a.example.org").max_series, of("a.example.org").idle_ttl),
        (5, HOUR)
    );
    assert!(of("b.example.org").drop && !of("a.example.org").drop);
    assert_ne!(of("a.example.org").scope, of("example.org").scope);
    assert!(of("a.example.org").scope < family.scopes());
    assert_eq!(family.shortest_ttl(), HOUR);
    assert!(!family.drops_all());
    // Without the label those rules are about nothing.
    let family = policy.family("x", Kind::Gauge, &[b"type".to_vec()]);
    assert_eq!(
        (
            family.series(&labels(&["a.example.org"])).max_series,
            family.shortest_ttl()
        ),
        (100, 0)
    );
}

#[test]
fn explain_says_what_and_from_where() {
    let policy = policy(vec![
        Rule {
            max_series: Some(5),
            idle_ttl: Some(HOUR),
            ..rule("*")
        },
        Rule {
            host: Some(Pattern::new("a")),
            drop: Some(true),
            ..rule("x")
        },
        Rule {
            quantiles: Some(vec![0.5, 0.99]),
            ..rule("x")
        },
    ]);
    let text = explain(&policy, "x", None, None);
    assert_eq!(
        text,
        "x as a gauge:\n  \
           drop = false    (default)\n  \
           max_series = 5    (rule 1, /etc/metre.toml, line 10)\n  \
           idle_ttl = 1h    (rule 1, /etc/metre.toml, line 10)\n  \
           where host is a: drop = true    (rule 2, /etc/metre.toml, line 20)\n\
         x as a counter:\n  \
           drop = false    (default)\n  \
           max_series = 5    (rule 1, /etc/metre.toml, line 10)\n  \
           idle_ttl = 0s    (default: never; what rule 1, /etc/metre.toml, line 10 says is not for counters, unless it has type = \"counter\")\n  \
           where host is a: drop = true    (rule 2, /etc/metre.toml, line 20)\n\
         x as a histogram:\n  \
           drop = false    (default)\n  \
           max_series = 5    (rule 1, /etc/metre.toml, line 10)\n  \
           idle_ttl = 1h    (rule 1, /etc/metre.toml, line 10)\n  \
           buckets = those of the module\n  \
           quantiles = []    (default; what rule 3, /etc/metre.toml, line 30 says is not for histograms, unless it has type = \"histogram\")\n  \
           allow_negative = true    (default)\n  \
           where host is a: drop = true    (rule 2, /etc/metre.toml, line 20)\n\
         x as a summary:\n  \
           drop = false    (default)\n  \
           max_series = 5    (rule 1, /etc/metre.toml, line 10)\n  \
           idle_ttl = 1h    (rule 1, /etc/metre.toml, line 10)\n  \
           quantiles = [0.5, 0.99]    (rule 3, /etc/metre.toml, line 30)\n  \
           quantile_window = 2m    (default)\n  \
           allow_negative = true    (default)\n  \
           where host is a: drop = true    (rule 2, /etc/metre.toml, line 20)\n"
    );
    let text = explain(&policy, "x", Some(Kind::Gauge), Some("a"));
    assert!(
        text.contains("  drop = true    (rule 2, /etc/metre.toml, line 20)\n") && !text.contains("where host"),
        "{text}"
    );
}

#[test]
fn times_and_sizes_are_never_negative() {
    for name in ["seconds", "x_seconds", "x__bytes"] {
        assert!(is_never_negative(name), "{name}");
    }
    for name in ["milliseconds", "x_seconds_2", "bytes_x", "x", ""] {
        assert!(!is_never_negative(name), "{name}");
    }
    let policy = policy(vec![Rule {
        allow_negative: Some(true),
        ..rule("x_*")
    }]);
    let told = |name| explain(&policy, name, Some(Kind::Summary), None);
    assert!(told("x_seconds").contains("allow_negative = true    (rule 1, "));
    assert!(told("y_seconds").contains("allow_negative = false    (default for seconds and bytes: "));
    assert_eq!(
        policy.family("x_seconds", Kind::Summary, &[]).allow_negative,
        Some(true)
    );
    assert_eq!(policy.family("x_seconds", Kind::Gauge, &[]).allow_negative, None);
    assert!(!explain(&policy, "x_seconds", Some(Kind::Gauge), None).contains("allow_negative"));
}

#[test]
fn a_rule_for_a_host_leaves_what_is_dropped_dropped() {
    let host = |host, drop| Rule {
        host: Some(Pattern::new(host)),
        drop: Some(drop),
        ..rule("*")
    };
    let all = Rule {
        drop: Some(true),
        ..rule("*")
    };
    let keys = [b"host".to_vec()];
    let drops_all = |rules| policy(rules).family("x", Kind::Gauge, &keys).drops_all();
    assert!(drops_all(vec![all.clone(), host("a", true)]));
    assert!(drops_all(vec![host("a", false), all.clone()]));
    assert!(!drops_all(vec![all, host("a", false)]));
    assert!(!drops_all(vec![host("*", true)]));
}

#[test]
fn a_counter_is_explained_by_both_its_names() {
    let policy = policy(vec![Rule {
        drop: Some(true),
        ..rule("x")
    }]);
    assert!(explain(&policy, "x_total", Some(Kind::Counter), None).contains("drop = true"));
    assert!(explain(&policy, "x_total", Some(Kind::Gauge), None).contains("drop = false"));
}
