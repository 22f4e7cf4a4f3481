//! Limits and idle series in the store: nothing is lost or reported twice, and memory comes back.

mod common;

use common::{add, family, idle_policy, labels, sweep};
use metre::encode::exposition::{self, page, Format};
use metre::model::{Kind, Number};
use metre::policy::{Limits, Pattern};
use metre::snapshot::changes::{Changes, News};
use metre::snapshot::reservoir::Reservoirs;
use metre::snapshot::FamilySnapshot;
use metre::store::{updates, Assigned, FamilyWriter, Journal, Store};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::Arc;
use std::time::Duration;

fn text(store: &Store) -> String {
    let mut out = Vec::new();
    page(
        &mut out,
        store,
        exposition::Options::default(),
        Format::OPENMETRICS,
        None,
    )
    .expect("a page");
    String::from_utf8(out).expect("UTF-8")
}

/// The values of a page's samples by their names and labels, each of which is there once.
fn samples(page: &str) -> HashMap<String, f64> {
    let mut found = HashMap::new();
    for line in page
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_created"))
    {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        let before = found.insert(name.to_owned(), value.parse().expect("a number"));
        assert!(before.is_none(), "twice on the page: {name}");
    }
    found
}

/// A sender of differences, as the pusher is one.
struct Sender {
    changes: Changes,
    samples: Option<Reservoirs>,
    /// By label value: the counter's total or the sum of samples, and their number.
    reported: HashMap<String, (f64, u64)>,
    /// Series that have a name, as the encoder gives each one: by number.
    named: HashMap<usize, String>,
}

impl Sender {
    fn new(writer: &FamilyWriter, samples: bool) -> Sender {
        Sender {
            changes: Changes::new(Arc::clone(writer.family())),
            samples: samples.then(|| Reservoirs::new(1 << 20)),
            reported: HashMap::new(),
            named: HashMap::new(),
        }
    }

    fn pass(&mut self, store: &Store) {
        let pass = store.journal().map(Journal::begin_pass);
        let Sender {
            changes,
            samples,
            reported,
            named,
        } = self;
        let report = |number: usize, series: &metre::snapshot::Series<'_>, news: News<'_>| {
            let value = series.label_values().next().expect("a label");
            let name = String::from_utf8(value.to_vec()).expect("UTF-8");
            if news == News::Gone {
                named.remove(&number);
                return ControlFlow::Continue(());
            }
            if named.get(&number) != Some(&name) {
                assert!(!named.values().any(|other| *other == name), "two series are {name}");
                let before = named.insert(number, name.clone());
                assert_eq!(before, None, "{name} has another one's number");
            }
            let (sum, count) = reported.entry(name).or_default();
            match news {
                News::Gauge(value) => *sum = value.as_f64(),
                News::Counter(step) => *sum += step.as_f64(),
                News::Summary(step, samples) => {
                    *sum += step.map_or(0.0, Number::as_f64);
                    *count += samples;
                }
                News::Histogram(_, steps) => *count += steps.last().copied().unwrap_or(0),
                News::Samples(samples, of_all) => {
                    assert_eq!(samples.len() as u64, of_all);
                    *sum += samples.iter().map(|sample| sample.as_f64()).sum::<f64>();
                    *count += of_all;
                }
                News::Gone => {}
            }
            ControlFlow::Continue(())
        };
        let flow = match changes.family().kind {
            Kind::Gauge => {
                let snapshot = FamilySnapshot::of(&Arc::clone(changes.family()));
                changes.report_gauges(&snapshot, false, report)
            }
            _ => changes.report_totals(false, samples.as_mut(), report),
        };
        assert!(flow.is_continue());
        if let (Some(journal), Some(pass)) = (store.journal(), pass) {
            journal.end_pass(pass);
        }
        if let Some(samples) = samples {
            samples.sweep();
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8, i64),
    Reset(u8),
    Skip(u64),
    Sweep,
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..12, 1_i64..50).prop_map(|(label, step)| Step::Add(label, step)),
        1 => (0_u8..12).prop_map(Step::Reset),
        2 => (1_u64..150).prop_map(Step::Skip),
        3 => Just(Step::Sweep),
        2 => Just(Step::Pass),
    ]
}

/// Labels of various lengths, so that records of some don't fit where those of others were.
fn name(label: u8) -> String {
    format!("{label}").repeat(usize::from(label) * 3 + 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_reported_is_what_was_counted(
        steps in prop::collection::vec(step(), 1..150),
        kind in 0_usize..4,
        one_by_one in any::<bool>(),
    ) {
        let kind = Kind::ALL[kind];
        let one_by_one = one_by_one && kind == Kind::Histogram;
        let store = Store::with(idle_policy(Limits::default()), Some(one_by_one));
        let mut writer = family(&store, kind, "x", &["l"]);
        let mut sender = Sender::new(&writer, one_by_one);
        // By label: all that was counted, and what a series of this life must show.
        let mut all: BTreeMap<String, (f64, u64)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(label, step) => {
                    add(&mut writer, &name(label), step);
                    let (sum, count) = all.entry(name(label)).or_default();
                    *sum = if kind == Kind::Gauge { step as f64 } else { *sum + step as f64 };
                    *count += 1;
                }
                Step::Reset(which) => {
                    if let Some(at) = writer.find(labels(&[&name(which)]).as_bytes()).filter(|_| kind != Kind::Gauge) {
                        let (record, family) = (writer.record(at), writer.family());
                        match kind {
                            Kind::Counter => updates::counter::reset(record, family),
                            _ => updates::samples::reset(record, family),
                        }
                    }
                }
                Step::Skip(seconds) => store.clock().skip(Duration::from_secs(seconds)),
                Step::Sweep => sweep(&mut writer),
                Step::Pass => sender.pass(&store),
            }
            samples(&text(&store));
        }
        sender.pass(&store);
        for (name, (sum, count)) in all {
            let (reported_sum, reported_count) = sender.reported.get(&name).copied().unwrap_or_default();
            match kind {
                Kind::Histogram if !one_by_one => prop_assert_eq!(reported_count, count, "{}", name),
                Kind::Gauge | Kind::Counter => prop_assert_eq!(reported_sum, sum, "{}", name),
                _ => prop_assert_eq!((reported_sum, reported_count), (sum, count), "{}", name),
            }
        }
    }
}

#[test]
fn pages_and_pushes_are_right_while_series_come_and_go() {
    const ROUNDS: u64 = 3000;
    let store = Arc::new(Store::with(idle_policy(Limits::default()), Some(false)));
    let mut writer = family(&store, Kind::Counter, "x", &["l"]);
    let mut sender = Sender::new(&writer, false);
    let over = Arc::new(AtomicBool::new(false));
    let pages = Arc::new(AtomicUsize::new(0));
    let reader = {
        let (store, over, pages) = (Arc::clone(&store), Arc::clone(&over), Arc::clone(&pages));
        std::thread::spawn(move || {
            while !over.load(Acquire) {
                for (name, value) in samples(&text(&store)) {
                    // Each counter grows by its own number alone.
                    let number: f64 = name[11..name.len() - 2]
                        .trim_start_matches('0')
                        .parse()
                        .expect("a number");
                    assert_eq!(value % number, 0.0, "{name} {value}");
                }
                pages.fetch_add(1, Relaxed);
            }
        })
    };
    let pusher = {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        std::thread::spawn(move || {
            while !over.load(Acquire) {
                sender.pass(&store);
            }
            sender.pass(&store);
            sender.reported
        })
    };
    let mut random = fastrand::Rng::with_seed(7);
    let mut all: HashMap<String, f64> = HashMap::new();
    let mut rounds = 0;
    // The reader gets its share of them, however few processors there are.
    while rounds < ROUNDS || (pages.load(Relaxed) <= 5 && !reader.is_finished()) {
        rounds += 1;
        for _ in 0..random.usize(1..30) {
            let number = random.i64(1..400);
            let name = format!("{number:0>width$}", width = 3 + (number % 40) as usize);
            add(&mut writer, &name, number);
            *all.entry(name).or_default() += number as f64;
        }
        store.clock().skip(Duration::from_secs(random.u64(1..60)));
        sweep(&mut writer);
    }
    over.store(true, Release);
    reader.join().expect("no failure");
    let reported = pusher.join().expect("no failure");
    assert!(writer.family().expired() > ROUNDS);
    assert_eq!(reported.len(), all.len());
    for (name, sum) in all {
        assert_eq!(reported[&name].0, sum, "{name}");
    }
}

#[test]
fn limits_hold_whatever_comes_and_goes() {
    let limits = Limits {
        max_series: 500,
        max_series_per_family: 300,
        ..Limits::default()
    };
    let store = Store::with(idle_policy(limits), Some(false));
    let mut writers: Vec<FamilyWriter> = ["a", "b", "c"]
        .map(|name| family(&store, Kind::Counter, name, &["l"]))
        .into();
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..300 {
        for writer in &mut writers {
            for _ in 0..random.usize(1..200) {
                add(writer, &random.u32(..).to_string(), 1);
            }
            sweep(writer);
            // One more for those beyond the limit.
            assert!(writer.family().series_count() <= 301);
        }
        let all: usize = writers.iter().map(|writer| writer.family().series_count()).sum();
        assert!(all <= 503, "{all}");
        store.clock().skip(Duration::from_secs(50));
        if let (0, Some(journal)) = (round % 3, store.journal()) {
            journal.end_pass(journal.begin_pass());
        }
    }
    // A family that goes takes its share with it.
    drop(writers);
    let mut writer = family(&store, Kind::Gauge, "d", &["l"]);
    let placed: HashSet<bool> = (0..300)
        .map(|number| add(&mut writer, &number.to_string(), 1) == Assigned::Plainly)
        .collect();
    assert_eq!(placed, HashSet::from([true]));
}

#[test]
fn what_is_written_under_the_cork_is_not_pushed_where_another_series_was() {
    let store = Store::with(idle_policy(Limits::default()), Some(false));
    let mut writer = family(&store, Kind::Gauge, "x", &["l"]);
    let mut sender = Sender::new(&writer, false);
    // Those that stay keep the memory of the others.
    for name in ["stays", "old", "stays too", "older"] {
        add(&mut writer, name, 5);
    }
    sender.pass(&store);
    sweep(&mut writer);
    store.clock().skip(Duration::from_secs(150));
    add(&mut writer, "stays", 6);
    add(&mut writer, "stays too", 6);
    sweep(&mut writer);
    sender.reported.clear();
    sender.pass(&store);
    store.clock().skip(Duration::from_secs(20));
    sweep(&mut writer);
    // Its last value was reported before.
    assert_eq!(sender.reported.get("old"), None);
    // One that was made before, and one made now; both where another one was, once it was reported.
    writer.find_or_create(labels(&["new"]).as_bytes());
    store.cork();
    add(&mut writer, "new", 7);
    add(&mut writer, "newer", 8);
    sender.pass(&store);
    assert_eq!((sender.reported.get("new"), sender.reported.get("newer")), (None, None));
    store.uncork();
    sender.pass(&store);
    assert_eq!((sender.reported["new"].0, sender.reported["newer"].0), (7.0, 8.0));
}

#[test]
fn series_that_have_gone_take_no_places_while_the_server_is_away() {
    let limits = Limits {
        max_series_per_family: 3,
        ..Limits::default()
    };
    let store = Store::with(idle_policy(limits), Some(false));
    let mut writer = family(&store, Kind::Gauge, "x", &["l"]);
    for round in 0..4 {
        for number in 0..3 {
            assert_eq!(add(&mut writer, &format!("{round}-{number}"), 1), Assigned::Plainly);
        }
        sweep(&mut writer);
        for _ in 0..2 {
            store.clock().skip(Duration::from_secs(150));
            sweep(&mut writer);
        }
    }
    assert_eq!(writer.family().expired(), 12);
}

#[test]
fn a_restart_that_nobody_sees_is_not_anybody_elses() {
    let mut policy = idle_policy(Limits::default());
    policy.rules[0].drop = Some(true);
    policy.rules[0].host = Some(Pattern::new("dropped"));
    let store = Store::with(policy, Some(false));
    let writers: Vec<FamilyWriter> = (0..50)
        .map(|number| {
            let mut writer = family(&store, Kind::Counter, &format!("a{number}"), &["host"]);
            add(&mut writer, "dropped", 1000);
            let (at, _) = writer
                .find_or_create(labels(&["dropped"]).as_bytes())
                .expect("a series");
            updates::counter::reset(writer.record(at), writer.family());
            writer
        })
        .collect();
    assert_eq!(store.journal().map(Journal::restarts), Some(50));
    (0..50).for_each(|number| drop(family(&store, Kind::Gauge, &format!("a{number}"), &[])));
    drop((writers, store.take_replaced()));
    // Others may get the memory of those that have gone.
    assert_eq!(store.journal().map(Journal::restarts), Some(0));
}
