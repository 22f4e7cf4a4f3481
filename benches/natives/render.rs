//! Pages: metre's store beside the families of prometheus-client, with the same series.

use crate::turns::{medians, tell, time, Runner};
use crate::{user, HOST, LABELS, TYPE};
use metre::encode::exposition::{self, Format, Options};
use metre::model::{Kind, LabelSet, Number};
use metre::store::{updates, FamilySpec, FamilyWriter, Store};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

const COUNTERS: usize = 50_000;
const HISTOGRAMS: usize = 5_000;
const THRESHOLDS: [f64; 7] = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];

const NAME: &str = "bench_render";
const HELP: &str = "Series for a page.";

/// As prometheus-client recommends "for performance and/or type safety".
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    host: &'static str,
    r#type: &'static str,
    ip_family: String,
}

fn in_struct(number: usize) -> Labels {
    Labels {
        host: HOST,
        r#type: TYPE,
        ip_family: user(number),
    }
}

/// As it recommends for convenience.
fn in_list(number: usize) -> Vec<(String, String)> {
    let values = [HOST.to_owned(), TYPE.to_owned(), user(number)];
    LABELS.map(str::to_owned).into_iter().zip(values).collect()
}

/// What the series of this number holds: a counter's total, and a histogram's only sample.
fn sample(number: usize) -> f64 {
    number as f64 / 100.0
}

fn theirs<L>(kind: Kind, series: usize, labels: fn(usize) -> L) -> Registry
where
    L: Clone + Debug + Hash + Eq + EncodeLabelSet + Send + Sync + 'static,
{
    let mut registry = Registry::default();
    if kind == Kind::Counter {
        let family = Family::<L, Counter>::default();
        for number in 1..=series {
            family.get_or_create(&labels(number)).inc_by(number as u64);
        }
        registry.register(NAME, HELP, family);
    } else {
        let family = Family::<L, Histogram>::new_with_constructor(|| Histogram::new(THRESHOLDS));
        for number in 1..=series {
            family.get_or_create(&labels(number)).observe(sample(number));
        }
        registry.register(NAME, HELP, family);
    }
    registry
}

/// The store, and its writer, without which there would be no series.
fn ours(kind: Kind, series: usize) -> (Store, FamilyWriter) {
    let store = Store::new();
    let spec = FamilySpec {
        help: HELP.into(),
        ..FamilySpec::new(kind, NAME)
    };
    let spec = spec.labels(&LABELS).buckets(&THRESHOLDS);
    let mut writer = store.register(spec).expect("nothing is ignored").0;
    let family = Arc::clone(writer.family());
    for number in 1..=series {
        let mut labels = LabelSet::new();
        for value in [HOST, TYPE, &user(number)] {
            labels.push(value.as_bytes());
        }
        let (at, _) = writer.find_or_create(labels.as_bytes()).expect("room");
        let record = writer.record(at);
        let taken = match kind {
            Kind::Counter => updates::counter::add(record, Number::Int(number as i64)),
            _ => updates::samples::histogram(record, Number::Float(sample(number)), &family),
        };
        taken.expect("a number");
    }
    assert_eq!(family.series_count(), series, "a limit");
    (store, writer)
}

fn write_ours(out: &mut Vec<u8>, store: &Store, options: Options) {
    out.clear();
    exposition::page(out, store, options, Format::OPENMETRICS, None).expect("a Vec takes everything");
}

fn write_theirs(out: &mut String, registry: &Registry) {
    out.clear();
    encode(out, registry).expect("a String takes everything");
}

/// The samples of a page: name and labels, and the value, which may be written in two ways. Samples and labels are put in order,
/// since prometheus-client's have another one.
fn samples(page: &str) -> Vec<(Vec<&str>, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let mut samples: Vec<(Vec<&str>, f64)> = lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.trim_end_matches('}').split_once('{').expect("labels");
            let mut parts: Vec<&str> = labels.split(',').collect();
            parts.sort_unstable();
            parts.insert(0, name);
            (parts, value.parse().expect("a number"))
        })
        .collect();
    samples.sort_by(|one, other| one.0.cmp(&other.0));
    samples
}

/// Measures pages of one family.
fn family(what: &str, kind: Kind, series: usize, rounds: usize) {
    let (store, _writer) = ours(kind, series);
    let structs = theirs(kind, series, in_struct);
    let lists = theirs(kind, series, in_list);
    let whole = Options::default();
    // What prometheus-client writes: no `_created`, and `le` in canonical form.
    let alike = Options {
        created: false,
        canonical_le: true,
    };

    let (mut page, mut text) = (Vec::new(), String::new());
    let bytes = |length: usize| length as f64 / series as f64;
    write_ours(&mut page, &store, whole);
    tell(&format!("bytes a {what}"), "metre", bytes(page.len()));
    write_ours(&mut page, &store, alike);
    tell(&format!("bytes a {what}"), "metre, without _created", bytes(page.len()));
    for (who, registry) in [("struct", &structs), ("list", &lists)] {
        write_theirs(&mut text, registry);
        tell(
            &format!("bytes a {what}"),
            &format!("prometheus-client, labels in a {who}"),
            bytes(text.len()),
        );
        let (mine, other) = (samples(std::str::from_utf8(&page).expect("UTF-8")), samples(&text));
        let differing = mine.iter().zip(&other).find(|(mine, other)| mine != other);
        assert!(
            mine.len() == other.len() && differing.is_none(),
            "the pages differ: {differing:?}"
        );
    }

    let mut runners: Vec<Runner<'_>> = Vec::new();
    for (who, options) in [("metre", whole), ("metre, without _created", alike)] {
        let (store, mut page) = (&store, Vec::new());
        runners.push((
            who.to_owned(),
            Box::new(move || time(|| write_ours(&mut page, store, options))),
        ));
    }
    for (who, registry) in [("struct", &structs), ("list", &lists)] {
        let mut text = String::new();
        let who = format!("prometheus-client, labels in a {who}");
        runners.push((who, Box::new(move || time(|| write_theirs(&mut text, registry)))));
    }
    medians(&format!("ns a {what}"), rounds, series, &mut runners);
}

/// Measures pages.
pub fn run(rounds: usize) {
    family("counter", Kind::Counter, COUNTERS, rounds);
    family("histogram", Kind::Histogram, HISTOGRAMS, rounds);
}
