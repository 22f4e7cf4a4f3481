use super::*;
use crate::model::{Kind, LabelSet, Number};
use crate::policy::Policy;
use crate::snapshot::changes::{Changes, News};
use crate::snapshot::reservoir::Reservoirs;
use crate::snapshot::{FamilySnapshot, Series};
use crate::store::{updates, FamilySpec, FamilyWriter, Store};
use std::ops::ControlFlow;

mod tags;

/// A store, and what would go to a server.
struct Wire {
    store: Store,
    encoder: Encoder,
    tracked: Vec<(Changes, FamilyOnWire)>,
    reservoirs: Option<Reservoirs>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    dropped: Vec<Dropped>,
}

impl Sink for Lines {
    fn lines(&mut self, lines: &[u8]) {
        self.lines.push(String::from_utf8(lines.to_vec()).unwrap());
    }

    fn dropped(&mut self, cause: Dropped, _: &[u8]) {
        self.dropped.push(cause);
    }
}

impl Wire {
    fn new(options: Options) -> Wire {
        Wire::with_labels(options, &[])
    }

    fn with_labels(options: Options, labels: &[(&str, &str)]) -> Wire {
        let samples = options.histograms != Histograms::Buckets;
        let policy = Policy {
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            ..Policy::default()
        };
        Wire {
            store: Store::with(policy, Some(samples)),
            encoder: Encoder::new(options),
            tracked: Vec::new(),
            reservoirs: samples.then(|| Reservoirs::new(10)),
        }
    }

    fn family(&mut self, kind: Kind, name: &str, keys: &[&str]) -> FamilyWriter {
        let spec = FamilySpec::new(kind, name).labels(keys).buckets(&[0.1, 1.0]);
        let (writer, _) = self.store.register(spec).unwrap();
        let family = std::sync::Arc::clone(writer.family());
        let state = self.encoder.family(&family);
        self.tracked.push((Changes::new(family), state));
        writer
    }

    fn push(&mut self) -> Lines {
        let mut lines = Lines::default();
        for (changes, state) in &mut self.tracked {
            let family = std::sync::Arc::clone(changes.family());
            let encoder = &mut self.encoder;
            let report = |number: usize, series: &Series<'_>, news: News<'_>| {
                encoder.write(&family, state, number, series, &news, &mut lines);
                ControlFlow::Continue(())
            };
            let _ = match family.kind {
                Kind::Gauge => changes.report_gauges(&FamilySnapshot::of(&family), false, report),
                _ => changes.report_totals(false, self.reservoirs.as_mut(), report),
            };
        }
        lines
    }
}

/// Runs `update` with a series' record.
fn with<T>(
    writer: &mut FamilyWriter,
    labels: &[&str],
    update: impl FnOnce(&[crate::sync::atomic::AtomicU64]) -> T,
) -> T {
    let mut set = LabelSet::new();
    labels.iter().for_each(|label| set.push(label.as_bytes()));
    let (at, _) = writer.find_or_create(set.as_bytes()).unwrap();
    update(writer.record(at))
}

fn add(writer: &mut FamilyWriter, labels: &[&str], step: Number) {
    with(writer, labels, |record| updates::counter::add(record, step)).unwrap();
}

fn set(writer: &mut FamilyWriter, labels: &[&str], to: Number) {
    let family = std::sync::Arc::clone(writer.family());
    with(writer, labels, |record| updates::gauge::set(record, to, &family.cork));
}

fn sample(writer: &mut FamilyWriter, labels: &[&str], sample: f64) {
    let family = std::sync::Arc::clone(writer.family());
    let sample = Number::Float(sample);
    with(writer, labels, |record| match family.kind {
        Kind::Histogram => updates::samples::histogram(record, sample, &family),
        _ => updates::samples::summary(record, sample, &family),
    })
    .unwrap();
}

fn tagged(tags: Tags) -> Options {
    Options {
        tags,
        ..Options::default()
    }
}

#[test]
fn all_types_as_prosody_writes_them() {
    let mut wire = Wire::new(Options {
        prefix: "prosody.".to_owned(),
        ..Options::default()
    });
    let mut counter = wire.family(Kind::Counter, "prosody_mod_x/stanzas", &["host"]);
    let mut gauge = wire.family(Kind::Gauge, "g", &[]);
    let mut summary = wire.family(Kind::Summary, "s", &[]);
    let mut histogram = wire.family(Kind::Histogram, "h_seconds", &["host", "kind"]);
    assert_eq!(wire.push().lines, [""; 0]);
    add(&mut counter, &["example.org"], Number::Int(2));
    add(&mut counter, &["example.org"], Number::Int(3));
    set(&mut gauge, &[], Number::Float(0.1));
    sample(&mut summary, &[], 2.5);
    sample(&mut histogram, &["example.org", "a/b"], 0.5);
    sample(&mut histogram, &["example.org", "a/b"], 0.25);
    let expected = [
        "prosody.prosody_mod_x.stanzas.example_org:5|c",
        "prosody.g:0.1|g",
        "prosody.s.sum:2.5|c",
        "prosody.s.count:1|c",
        "prosody.h_seconds.example_org.a.b.bucket.1:2|c",
        "prosody.h_seconds.example_org.a.b.bucket.+Inf:2|c",
        "prosody.h_seconds.example_org.a.b.sum:0.75|g",
        "prosody.h_seconds.example_org.a.b.count:2|c",
    ];
    assert_eq!(wire.push().lines, expected);
    assert_eq!(wire.push().lines, [""; 0]);
    set(&mut gauge, &[], Number::Float(0.1));
    assert_eq!(wire.push().lines, ["prosody.g:0.1|g"], "set again, so sent again");
}

#[test]
fn gauges_are_never_steps_and_never_no_numbers() {
    let mut wire = Wire::new(Options::default());
    let mut gauge = wire.family(Kind::Gauge, "g", &[]);
    for (value, expected) in [
        (Number::Int(-5), vec!["g:0|g\ng:-5|g"]),
        (Number::Float(-0.0), vec!["g:0|g"]),
        (Number::Float(1e300), vec!["g:1e+300|g"]),
        (Number::Int(i64::MIN), vec!["g:0|g\ng:-9223372036854775808|g"]),
        (Number::Float(f64::NAN), vec![]),
        (Number::Float(f64::NEG_INFINITY), vec![]),
    ] {
        set(&mut gauge, &[], value);
        let pushed = wire.push();
        assert_eq!(pushed.lines, expected);
        assert_eq!(pushed.dropped.len(), usize::from(!value.is_finite()));
    }
}

#[test]
fn gauges_that_nobody_has_set_are_not_sent() {
    let mut wire = Wire::new(Options::default());
    let mut gauge = wire.family(Kind::Gauge, "g", &["x"]);
    with(&mut gauge, &["made"], |_| ());
    wire.store.cork();
    with(&mut gauge, &["made corked"], |_| ());
    set(&mut gauge, &["set"], Number::ZERO);
    assert_eq!(wire.push().lines, [""; 0]);
    wire.store.uncork();
    assert_eq!(wire.push().lines, ["g.set:0|g"]);
}

#[test]
fn restarts_lose_nothing_and_are_never_negative() {
    let mut wire = Wire::new(Options::default());
    let mut counter = wire.family(Kind::Counter, "c", &[]);
    let family = std::sync::Arc::clone(counter.family());
    let put = |counter: &mut FamilyWriter, to: i64| {
        with(counter, &[], |record| {
            updates::counter::set(record, Number::Int(to), &family)
        })
        .unwrap();
    };
    add(&mut counter, &[], Number::Int(10));
    assert_eq!(wire.push().lines, ["c:10|c"]);
    put(&mut counter, 4);
    assert_eq!(wire.push().lines, ["c:4|c"], "10, then 4: 14 in all");
    add(&mut counter, &[], Number::Int(3));
    put(&mut counter, 0);
    add(&mut counter, &[], Number::Int(2));
    with(&mut counter, &[], |record| updates::counter::reset(record, &family));
    add(&mut counter, &[], Number::Int(100));
    assert_eq!(
        wire.push().lines,
        ["c:105|c"],
        "3 before the reload, 2 before the reset"
    );
    put(&mut counter, 0);
    assert_eq!(wire.push().lines, [""; 0]);

    let mut histogram = wire.family(Kind::Histogram, "h", &[]);
    let family = std::sync::Arc::clone(histogram.family());
    sample(&mut histogram, &[], 0.5);
    wire.push();
    sample(&mut histogram, &[], 0.05);
    with(&mut histogram, &[], |record| updates::samples::reset(record, &family));
    let expected = [
        "h.bucket.0_1:1|c",
        "h.bucket.1:1|c",
        "h.bucket.+Inf:1|c",
        "h.sum:0|g",
        "h.count:1|c",
    ];
    assert_eq!(wire.push().lines, expected);
}

#[test]
fn a_summarys_sum_only_grows() {
    let mut wire = Wire::new(Options::default());
    let mut summary = wire.family(Kind::Summary, "s", &[]);
    sample(&mut summary, &[], 5.0);
    wire.push();
    sample(&mut summary, &[], -2.0);
    assert_eq!(wire.push().lines, ["s.count:1|c"]);
    sample(&mut summary, &[], 3.0);
    assert_eq!(
        wire.push().lines,
        ["s.sum:1|c", "s.count:1|c"],
        "6 now, and 5 were sent"
    );
}

#[test]
fn no_two_series_have_one_name() {
    let mut wire = Wire::new(Options::default());
    let mut family = wire.family(Kind::Counter, "c", &["host", "x"]);
    let hosts = [
        "::1",
        "_1",
        ".1",
        "a.b",
        "a_b",
        "münchen",
        "mönchen",
        "почта",
        "",
        ".",
        "_",
        "a/b",
        "\n",
        " ",
    ];
    for (host, x) in hosts.iter().flat_map(|host| ["b/c", "c", ""].map(|x| (*host, x))) {
        add(&mut family, &[host, x], Number::Int(1));
    }
    let mut flat = wire.family(Kind::Counter, "c/a", &["x"]);
    add(&mut flat, &["b.c"], Number::Int(1));
    let mut histogram = wire.family(Kind::Histogram, "h", &[]);
    sample(&mut histogram, &[], 5.0);
    let mut clashing = wire.family(Kind::Gauge, "h/sum", &[]);
    set(&mut clashing, &[], Number::Int(1));
    let lines = wire.push().lines;
    let names: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!((names.len(), lines.len()), (3 * hosts.len() + 1 + 3 + 1, names.len()));
    for name in names {
        assert!(name.split('.').all(|part| !part.is_empty()), "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.+".contains(&b)),
            "{name}"
        );
    }
}

#[test]
fn nobody_can_take_a_series_name_away() {
    let mut wire = Wire::new(Options::default());
    let mut family = wire.family(Kind::Counter, "f", &["x"]);
    add(&mut family, &["a.b"], Number::Int(1));
    add(&mut family, &["a_b"], Number::Int(1));
    let known = wire.push().lines[1].split(':').next().unwrap().to_owned();

    // With the name that the second one gets taken by a third one before.
    let mut wire = Wire::new(Options::default());
    let mut family = wire.family(Kind::Counter, "f", &["x"]);
    for label in [known.strip_prefix("f.").unwrap(), "a.b", "a_b"] {
        add(&mut family, &[label], Number::Int(1));
    }
    let pushed = wire.push();
    let names: std::collections::BTreeSet<&String> = pushed.lines.iter().collect();
    assert_eq!((names.len(), pushed.dropped.len()), (3, 0));
}

#[test]
fn names_go_with_their_family() {
    let mut wire = Wire::new(Options::default());
    let mut gone = wire.family(Kind::Counter, "c", &["a"]);
    add(&mut gone, &["x"], Number::Int(1));
    assert_eq!(wire.push().lines, ["c.x:1|c"]);
    let (changes, state) = wire.tracked.remove(0);
    let snapshot = FamilySnapshot::of(changes.family());
    wire.encoder.forget(changes.family(), state, &snapshot);
    let mut next = wire.family(Kind::Counter, "c/x", &[]);
    add(&mut next, &[], Number::Int(1));
    assert_eq!(wire.push().lines, ["c.x:1|c"]);
}

#[test]
fn samples_one_by_one() {
    for (histograms, tags, seconds_line, bytes_line) in [
        (Histograms::Timing, Tags::None, "h_seconds:1.1|ms", "h_bytes:0.0011|ms"),
        (Histograms::Timing, Tags::Influx, "h_seconds:1.1|ms", "h_bytes:0.0011|h"),
        (
            Histograms::Timing,
            Tags::None,
            "seconds:1.1|ms",
            "milliseconds:0.0011|ms",
        ),
        (
            Histograms::Distribution,
            Tags::DogStatsd,
            "h_seconds:0.0011|d",
            "h_bytes:0.0011|d",
        ),
    ] {
        let mut wire = Wire::new(Options {
            histograms,
            ..tagged(tags)
        });
        for line in [seconds_line, bytes_line] {
            let name = line.split(':').next().unwrap();
            let mut family = wire.family(Kind::Histogram, name, &[]);
            sample(&mut family, &[], 0.0011);
        }
        assert_eq!(wire.push().lines, [seconds_line, bytes_line]);
        assert_eq!(wire.push().lines, [""; 0]);
    }
}

#[test]
fn samples_above_the_limit_are_weighed() {
    let mut wire = Wire::new(Options {
        histograms: Histograms::Timing,
        ..Options::default()
    });
    let mut family = wire.family(Kind::Histogram, "h", &[]);
    // More than the ring holds, in the end.
    for samples in [10, 40, 200_000] {
        (0..samples).for_each(|_| sample(&mut family, &[], 3.0));
        let lines = wire.push().lines;
        assert_eq!(lines.len(), 10);
        let rate = lines[0].split_once("|@").map_or(1.0, |(_, rate)| rate.parse().unwrap());
        assert_eq!((10.0 / rate) as u64, samples, "{}", lines[0]);
        assert!(!lines[0].contains('e'));
    }
    sample(&mut family, &[], -1.0);
    sample(&mut family, &[], f64::INFINITY);
    sample(&mut family, &[], -0.0);
    let pushed = wire.push();
    assert_eq!(pushed.lines, ["h:0|ms"]);
    assert_eq!(pushed.dropped, [Dropped::Negative, Dropped::NotFinite]);
}
