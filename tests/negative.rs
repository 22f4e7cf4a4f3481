//! Samples below zero, and names that belong to whoever reads pages.

use metre::encode::exposition::{page, Format, Options};
use metre::model::{Kind, Number};
use metre::policy::{Pattern, Policy, Rule};
use metre::store::{updates, FamilySpec, FamilyWriter, Repair, Store, Taken};

mod common;

use common::{create, rule};

fn register(store: &Store, kind: Kind, name: &str, keys: &[&str]) -> (FamilyWriter, Vec<Repair>) {
    let spec = FamilySpec::new(kind, name).labels(keys).buckets(&[0.0, 1.0]);
    store.register(spec).expect("nothing is ignored")
}

fn sample(writer: &mut FamilyWriter, labels: &[&str], sample: f64) -> Taken {
    let at = create(writer, labels);
    let (record, family, sample) = (writer.record(at), writer.family(), Number::Float(sample));
    let taken = match family.kind {
        Kind::Summary => updates::samples::summary(record, sample, family),
        _ => updates::samples::histogram(record, sample, family),
    };
    let taken = taken.expect("a sample");
    updates::samples::into_window(record, sample, taken, family);
    taken
}

fn rendered(store: &Store, format: Format) -> String {
    let options = Options {
        created: false,
        ..Options::default()
    };
    let mut out = Vec::new();
    page(&mut out, store, options, format, None).expect("a Vec takes everything");
    String::from_utf8(out).expect("UTF-8")
}

fn has(page: &str, line: &str) -> bool {
    page.lines().any(|found| found == line)
}

#[test]
fn times_and_sizes_below_zero_count_as_zero() {
    let store = Store::new();
    let (mut times, _) = register(&store, Kind::Histogram, "t_seconds", &[]);
    let (mut sizes, _) = register(&store, Kind::Summary, "s/bytes", &[]);
    for writer in [&mut times, &mut sizes] {
        assert_eq!(sample(writer, &[], 0.5), Taken::Plainly);
        assert_eq!(sample(writer, &[], -4e-7), Taken::Clamped);
        assert_eq!(sample(writer, &[], f64::NEG_INFINITY), Taken::Clamped);
        assert_eq!(sample(writer, &[], -0.0), Taken::Plainly);
        assert_eq!((writer.family().clamped(), writer.family().without_sum()), (2, 0));
    }
    for format in [Format::OPENMETRICS, Format::Text0] {
        let page = rendered(&store, format);
        for line in [
            "t_seconds_bucket{le=\"0\"} 3",
            "t_seconds_count 4",
            "t_seconds_sum 0.5",
            "s__bytes_count 4",
            "s__bytes_sum 0.5",
        ] {
            assert!(has(&page, line), "{line} in {page}");
        }
    }
}

#[test]
fn rules_decide_what_is_never_negative() {
    let allowing = |name: &str, allow| Rule {
        allow_negative: Some(allow),
        quantiles: Some(vec![0.0]),
        ..rule(name)
    };
    let store = Store::with(
        Policy {
            rules: vec![allowing("a_*", true), allowing("b*", false)],
            ..Policy::default()
        },
        None,
    );
    let (mut kept, _) = register(&store, Kind::Summary, "a_seconds", &[]);
    assert_eq!(sample(&mut kept, &[], -1.0), Taken::FirstNegative);
    let (mut clamped, _) = register(&store, Kind::Summary, "b", &[]);
    assert_eq!(sample(&mut clamped, &[], -1.0), Taken::Clamped);
    let page = rendered(&store, Format::Text0);
    assert!(has(&page, "a_seconds_sum -1") && has(&page, "b_sum 0"), "{page}");
    assert!(has(&page, "b{quantile=\"0\"} 0"), "quantiles are told the same: {page}");
}

#[test]
fn what_may_be_negative_loses_its_sum_until_a_reset() {
    let store = Store::new();
    let (mut summary, _) = register(&store, Kind::Summary, "s", &["l"]);
    let (mut histogram, _) = register(&store, Kind::Histogram, "h", &[]);
    assert_eq!(sample(&mut summary, &["x"], -5.0), Taken::FirstNegative);
    assert_eq!(sample(&mut summary, &["x"], -5.0), Taken::Plainly);
    sample(&mut summary, &["y"], 5.0);
    assert_eq!(sample(&mut histogram, &[], -5.0), Taken::FirstNegative);
    let page = rendered(&store, Format::OPENMETRICS);
    // OpenMetrics lets a summary have a count alone, but not a histogram.
    assert!(
        has(&page, "s_count{l=\"x\"} 2") && !page.contains("s_sum{l=\"x\"}"),
        "{page}"
    );
    assert!(has(&page, "s_sum{l=\"y\"} 5"), "{page}");
    assert!(
        has(&page, "h_bucket{le=\"+Inf\"} 1") && !page.contains("h_count"),
        "{page}"
    );
    assert!(has(&rendered(&store, Format::Text0), "s_sum{l=\"x\"} -10"));
    let (of_summary, of_histogram) = (summary.family().clone(), histogram.family().clone());
    assert_eq!((of_summary.without_sum(), of_histogram.without_sum()), (1, 1));
    assert_eq!(of_summary.clamped(), 0);
    let at = summary.find(common::labels(&["x"]).as_bytes()).expect("a series");
    updates::samples::reset(summary.record(at), &of_summary);
    updates::samples::reset(summary.record(at), &of_summary);
    assert_eq!(of_summary.without_sum(), 0);
    assert_eq!(sample(&mut summary, &["x"], -5.0), Taken::FirstNegative);
    assert_eq!(of_summary.without_sum(), 1);
}

#[test]
fn series_without_a_sum_that_go_are_not_counted_any_more() {
    let goes = Rule {
        idle_ttl: Some(10),
        ..rule("*")
    };
    let dropped = Rule {
        host: Some(Pattern::new("dropped")),
        drop: Some(true),
        ..rule("*")
    };
    let policy = Policy {
        rules: vec![goes, dropped],
        ..Policy::default()
    };
    let store = Store::with(policy, None);
    let (mut summary, _) = register(&store, Kind::Summary, "s", &["host"]);
    sample(&mut summary, &["x"], -1.0);
    // What nobody sees misses nothing.
    assert_eq!(sample(&mut summary, &["dropped"], -1.0), Taken::Plainly);
    assert_eq!(summary.family().without_sum(), 1);
    common::sweep(&mut summary);
    store.clock().skip(std::time::Duration::from_secs(100));
    common::sweep(&mut summary);
    assert_eq!(
        (summary.family().series_count(), summary.family().without_sum()),
        (0, 0)
    );
}

#[test]
fn names_of_scrapers_are_theirs() {
    let store = Store::new();
    for (name, expected) in [
        ("up", "exported_up"),
        ("scrape_duration_seconds", "exported_scrape_duration_seconds"),
        ("exported_up", "exported_up_2"),
    ] {
        let (writer, repairs) = register(&store, Kind::Gauge, name, &[]);
        assert_eq!(writer.family().name, expected);
        assert_eq!(repairs.len(), 1, "{repairs:?}");
    }
    // As long as it is there, and again.
    let (writer, repairs) = register(&store, Kind::Counter, "up", &[]);
    assert_eq!(writer.family().name, "exported_up");
    assert_eq!(repairs, [Repair::Scrapers("exported_up".to_owned())]);
    for kind in [Kind::Summary, Kind::Histogram] {
        let (writer, repairs) = register(&store, kind, "x", &["quantile"]);
        assert_eq!(writer.family().label_names, ["exported_quantile"], "whatever rules say");
        assert_eq!(repairs.len(), 1);
    }
    let (writer, _) = register(&store, Kind::Counter, "y", &["quantile", "le"]);
    assert_eq!(writer.family().label_names, ["quantile", "le"]);
}
