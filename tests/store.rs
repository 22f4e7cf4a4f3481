//! The store by itself, without Lua.

mod common;

use common::{create, family, register};
use metre::encode::exposition::{self, page, Format, Only, Options};
use metre::model::labels::LabelSet;
use metre::model::{Kind, Number};
use metre::policy::Policy;
use metre::store::{updates, values, Assigned, FamilySpec, FamilyWriter, Location, Refused, Repair, Store};

/// The page with every creation time replaced, if it is one of these days.
fn rendered(store: &Store) -> String {
    rendered_as(store, Format::OPENMETRICS, None)
}

fn rendered_as(store: &Store, format: Format, only: Option<&Only>) -> String {
    let mut out = Vec::new();
    page(&mut out, store, Options::default(), format, only).expect("a Vec takes everything");
    let text = String::from_utf8(out).expect("UTF-8");
    let lines = text.lines().map(|line| match line.rsplit_once(' ') {
        Some((series, value)) if series.contains("_created") && !line.starts_with('#') => {
            assert!(value.parse::<f64>().expect("a number") > 1.7e9);
            format!("{series} NOW\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn the_page_is_as_it_was() {
    let store = Store::new();
    let helpful = |kind, name: &str, help: &str| FamilySpec {
        help: help.into(),
        ..FamilySpec::new(kind, name)
    };
    let gauge = helpful(Kind::Gauge, "prosody_mod_c2s/connections", "Sessions");
    let mut gauge = register(&store, gauge.labels(&["host", "type"]));
    let cork = &gauge.family().clone().cork;
    for (values, number) in [(["a", "c2s"], Number::Int(3)), (["b\\\"\n", ""], Number::Float(-0.5))] {
        let location = create(&mut gauge, &values);
        updates::gauge::set(gauge.record(location), number, cork);
    }
    let counter = FamilySpec {
        unit: b"bytes".to_vec(),
        ..helpful(Kind::Counter, "hits_bytes", "With \"quotes\"\nand lines")
    };
    let mut counter = register(&store, counter);
    let location = create(&mut counter, &[]);
    updates::counter::add(counter.record(location), Number::Int(i64::MAX)).expect("a step");
    let histogram = FamilySpec {
        unit: b"seconds".to_vec(),
        ..FamilySpec::new(Kind::Histogram, "times_seconds")
    };
    let mut histogram = register(&store, histogram.labels(&["le"]).buckets(&[0.1, 1.0]));
    let location = create(&mut histogram, &["x"]);
    for sample in [0.05, 0.5, 7.0] {
        updates::samples::histogram(histogram.record(location), Number::Float(sample), histogram.family())
            .expect("a sample");
    }
    let summary = helpful(Kind::Summary, "sizes", "Sizes");
    let mut summary = register(&store, summary.labels(&["quantile"]));
    for (value, sample) in [("up", 5), ("dn", -5)] {
        let location = create(&mut summary, &[value]);
        updates::samples::summary(summary.record(location), Number::Int(sample), summary.family()).expect("a sample");
    }
    family(&store, Kind::Gauge, "empty", &["x"]);
    assert_eq!(rendered(&store), include_str!("golden/page.txt"));
    let text = include_str!("golden/text.txt");
    assert_eq!(rendered_as(&store, Format::Text0, None), text);
    assert_eq!(rendered_as(&store, Format::Text1("values"), None), text);
}

#[test]
fn a_page_can_be_limited_to_families() {
    let store = Store::new();
    for (kind, name) in [
        (Kind::Counter, "a"),
        (Kind::Gauge, "b"),
        (Kind::Histogram, "c"),
        (Kind::Gauge, "a_b"),
    ] {
        family(&store, kind, name, &[]);
    }
    let only = |names: &[&str]| {
        let only = exposition::only(&store, names.iter().copied());
        rendered_as(&store, Format::OPENMETRICS, Some(&only))
    };
    assert_eq!(
        only(&["a", "c_bucket"]),
        "# TYPE a counter\n# TYPE c histogram\n# EOF\n"
    );
    assert_eq!(only(&["a_total", "b"]), "# TYPE a counter\n# TYPE b gauge\n# EOF\n");
    assert_eq!(only(&["A", "b_total", ""]), "# EOF\n");
    assert_eq!(only(&[]), "# EOF\n");
}

#[test]
fn own_families_give_way() {
    let store = Store::new();
    let names = || store.families().keys().cloned().collect::<Vec<_>>();
    let own = |kind, name| store.register_own(FamilySpec::new(kind, name));
    let mut kept = own(Kind::Counter, "process_cpu_seconds");
    own(Kind::Gauge, "process_threads");
    own(Kind::Gauge, "metre_up");
    assert_eq!(names(), ["metre_up", "process_cpu_seconds", "process_threads"]);
    // Whichever name they have in common.
    family(&store, Kind::Gauge, "process_cpu_seconds_total", &[]);
    family(&store, Kind::Gauge, "process.threads", &[]);
    assert_eq!(names(), ["metre_up", "process_cpu_seconds_total", "process_threads"]);
    assert!(!store.families()["process_threads"].own);
    // Nobody notices who still writes there.
    let at = create(&mut kept, &[]);
    updates::counter::add(kept.record(at), Number::Int(1)).expect("a step");
    // Too late.
    family(&store, Kind::Summary, "late", &[]);
    own(Kind::Gauge, "late_sum");
    assert_eq!(
        names(),
        ["late", "metre_up", "process_cpu_seconds_total", "process_threads"]
    );
    // And a module's family is replaced by a module's as ever.
    family(&store, Kind::Counter, "process.threads", &[]);
    assert_eq!(
        names(),
        ["late", "metre_up", "process_cpu_seconds_total", "process_threads"]
    );
}

#[test]
fn names_on_the_page_never_clash() {
    let store = Store::new();
    let name = |kind, raw| family(&store, kind, raw, &[]).family().name.clone();
    assert_eq!(name(Kind::Counter, "x"), "x");
    assert_eq!(name(Kind::Gauge, "x_total"), "x_total_2");
    assert_eq!(name(Kind::Gauge, "x.total"), "x_total_3");
    assert_eq!(name(Kind::Histogram, "h"), "h");
    assert_eq!(name(Kind::Counter, "h_sum"), "h_sum_2");
    assert_eq!(name(Kind::Gauge, "y_count"), "y_count");
    assert_eq!(name(Kind::Summary, "y"), "y_2");
    // A family that is registered again gives its old names back.
    assert_eq!(name(Kind::Gauge, "x"), "x");
    assert_eq!(name(Kind::Gauge, "x-total"), "x_total");
    assert_eq!(store.families().len(), 8);
}

#[test]
fn thousands_may_want_one_name() {
    let store = Store::with(Policy::unlimited(), None);
    let names: Vec<String> = (0..20_000)
        .map(|number| {
            let raw: String = format!("{number:05}")
                .chars()
                .map(|digit| (digit as u8 + b'!' - b'0') as char)
                .collect();
            family(&store, Kind::Counter, &raw, &[]).family().name.clone()
        })
        .collect();
    assert_eq!(names[0], "_____");
    assert_eq!(names[19_999], "______20000");
    // What one of them gives back is the next one's.
    family(&store, Kind::Gauge, "!!!!#", &["a"]);
    assert_eq!(store.families().len(), 20_000);
    assert!(store.families().contains_key(&names[2]));
}

#[test]
fn a_unit_stands_only_at_the_end_of_a_name() {
    let store = Store::new();
    let unit = |name: &str, unit: &str| {
        let spec = FamilySpec {
            unit: unit.into(),
            ..FamilySpec::new(Kind::Gauge, name)
        };
        let writer = register(&store, spec);
        (writer.family().name.clone(), writer.family().unit.clone())
    };
    assert_eq!(unit("a_bytes", "bytes"), ("a_bytes".into(), Some("bytes".into())));
    assert_eq!(unit("b_B/s", "B/s"), ("b_B__s".into(), Some("B__s".into())));
    assert_eq!(unit("a-bytes", ""), ("a_bytes_2".into(), None));
    assert_eq!(unit("a._bytes", "bytes"), ("a__bytes".into(), Some("bytes".into())));
}

#[test]
fn what_is_repaired_is_told() {
    let store = Store::new();
    family(&store, Kind::Gauge, "a", &["host", "b.c"]);
    let fine = FamilySpec {
        unit: b"B/s".to_vec(),
        help: b"fine".to_vec(),
        ..FamilySpec::new(Kind::Gauge, "x_B/s").labels(&["host", "b.c"])
    };
    assert_eq!(store.register(fine).unwrap().1, []);
    let odd = FamilySpec {
        help: b"\xff".to_vec(),
        ..FamilySpec::new(Kind::Histogram, "a\0").labels(&["host", "host", "le"])
    };
    let odd = odd.buckets(&[1.0, f64::NAN]);
    family(&store, Kind::Counter, "a_", &[]);
    let told: Vec<String> = store.register(odd).unwrap().1.iter().map(Repair::to_string).collect();
    assert_eq!(
        told,
        [
            "another metric uses its name on the page, where it is called a__2",
            "its label key 2 is called host_2 on the page",
            "its label key 3 is called exported_le on the page",
            "its description is not valid UTF-8",
            "its buckets are put in order, without what can't be one",
        ]
    );
}

#[test]
fn counters_refuse_what_would_spoil_them() {
    let store = Store::new();
    let mut writer = family(&store, Kind::Counter, "c", &[]);
    let location = create(&mut writer, &[]);
    let record = writer.record(location);
    updates::counter::add(record, Number::Int(5)).expect("a step");
    for (bad, why) in [
        (Number::Int(-1), Refused::Negative),
        (Number::Float(-0.5), Refused::Negative),
        (Number::Float(f64::NEG_INFINITY), Refused::Negative),
        (Number::Float(f64::NAN), Refused::Nan),
        (Number::Float(f64::INFINITY), Refused::Infinite),
    ] {
        assert_eq!(updates::counter::add(record, bad), Err(why));
        assert_eq!(updates::counter::set(record, bad, writer.family()), Err(why));
    }
    assert_eq!(values::value(record), Number::Int(5));
    updates::counter::set(record, Number::Float(-0.0), writer.family()).expect("a total");
    assert_eq!(values::value(record).as_f64().to_bits(), 0);
    updates::counter::set(record, Number::Int(5), writer.family()).expect("a total");
    let before = values::created(record);
    updates::counter::set(record, Number::Int(5), writer.family()).expect("a total");
    assert_eq!(values::created(record), before);
    updates::counter::set(record, Number::Int(4), writer.family()).expect("a total");
    assert!(values::created(record) > before);
}

#[test]
fn a_million_series_are_found_again() {
    let store = Store::with(Policy::unlimited(), None);
    let mut writer = family(&store, Kind::Counter, "c", &["user"]);
    let created: Vec<Location> = (0..1_000_000)
        .map(|number: u32| create(&mut writer, &[&number.to_string()]))
        .collect();
    for (number, location) in created.iter().enumerate().step_by(997) {
        assert_eq!(create(&mut writer, &[&number.to_string()]), *location);
    }
    let mut at = None;
    for location in &created {
        at = writer.next(at);
        assert_eq!(at.map(|(location, _)| location), Some(*location));
    }
    assert_eq!(writer.next(at), None);
}

#[test]
fn records_of_any_size_have_a_location_each() {
    for buckets in [1, 500, 2000, 2040, 4000, 4100, 10_000] {
        let store = Store::new();
        let thresholds: Vec<f64> = (0..buckets).map(f64::from).collect();
        let wide = FamilySpec::new(Kind::Histogram, "h")
            .labels(&["a"])
            .buckets(&thresholds);
        let mut writer = register(&store, wide);
        let locations = ["1", "2", "3", "4"].map(|value| create(&mut writer, &[value]));
        for (value, location) in ["1", "2", "3", "4"].into_iter().zip(locations) {
            assert_eq!(create(&mut writer, &[value]), location);
        }
        assert_eq!(rendered(&store).matches("h_count").count(), 4);
    }
}

#[test]
fn values_that_look_alike_once_repaired_are_one_series() {
    let store = Store::new();
    let mut writer = family(&store, Kind::Counter, "c", &["a"]);
    let mut add = |value: &[u8]| {
        let mut set = LabelSet::new();
        set.push(value);
        writer.find_or_create(set.as_bytes()).expect("room")
    };
    let (first, placed) = add(b"x\xff");
    assert_eq!(placed, Assigned::Repaired);
    assert_eq!(add(b"x\xfe"), (first, Assigned::Repaired));
    assert_eq!(add("x\u{fffd}".as_bytes()), (first, Assigned::Plainly));
    assert_eq!(add(b"plain").1, Assigned::Plainly);
}

#[test]
fn a_label_set_larger_than_a_chunk_has_room() {
    let store = Store::with(Policy::unlimited(), None);
    let mut writer = family(&store, Kind::Counter, "c", &["a"]);
    for size in [0, 1, 127, 128, 300, 40_000, 1_000_000] {
        let value = "x".repeat(size);
        let location = create(&mut writer, &[&value]);
        assert_eq!(create(&mut writer, &[&value]), location);
        create(&mut writer, &[&size.to_string()]);
    }
    assert_eq!(rendered(&store).matches("c_total").count(), 14);
}

#[test]
fn what_was_corked_can_be_discarded() {
    let store = Store::new();
    let mut gauge = family(&store, Kind::Gauge, "g", &["a"]);
    let family = gauge.family().clone();
    let set = |gauge: &FamilyWriter, at, value| updates::gauge::set(gauge.record(at), value, &family.cork);
    let old = create(&mut gauge, &["old"]);
    set(&gauge, old, Number::Float(2.5));
    store.cork();
    set(&gauge, old, Number::Int(9));
    let new = create(&mut gauge, &["new"]);
    set(&gauge, new, Number::Int(1));
    store.discard();
    assert_eq!(rendered(&store), "# TYPE g gauge\ng{a=\"old\"} 2.5\n# EOF\n");
    assert_eq!(values::value(gauge.record(old)), Number::Float(2.5));
    // Whichever way it goes on.
    set(&gauge, old, Number::Int(3));
    store.cork();
    set(&gauge, new, Number::Int(4));
    store.uncork();
    store.discard();
    assert_eq!(
        rendered(&store),
        "# TYPE g gauge\ng{a=\"old\"} 3\ng{a=\"new\"} 4\n# EOF\n"
    );
}
