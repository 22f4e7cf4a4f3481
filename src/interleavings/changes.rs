//! A reader that reports differences, beside the writer: everything is reported, and nothing twice.

use super::{explore, family, idle_policy, series, sweep};
use crate::model::{Kind, Number};
use crate::snapshot::changes::{Changes, News};
use crate::store::{records, updates, Family, FamilyWriter, Store};
use loom::thread;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What has been reported of each label.
#[derive(Default)]
struct Reported(HashMap<Vec<u8>, f64>);

impl Reported {
    /// A pass as the pusher makes it.
    fn pass(&mut self, store: &Store, changes: &mut Changes) {
        let journal = store.journal().unwrap();
        let pass = journal.begin_pass();
        let done = changes.report_totals(false, None, |_, series, news| {
            if let News::Counter(step) = news {
                let label = series.label_values().next().unwrap_or_default().to_vec();
                *self.0.entry(label).or_default() += step.as_f64();
            }
            ControlFlow::Continue(())
        });
        assert!(done.is_continue());
        journal.end_pass(pass);
    }

    fn of(&self, label: &str) -> f64 {
        self.0.get(label.as_bytes()).copied().unwrap_or_default()
    }
}

#[test]
fn a_restart_loses_nothing() {
    explore("a restart loses nothing", 1, || {
        let store = Arc::new(Store::with(Default::default(), Some(false)));
        let mut writer = family(&store, Kind::Counter, "c", &[]);
        let at = series(&mut writer, "");
        let add = |step: i64| _ = updates::counter::add(writer.record(at), Number::Int(step)).unwrap();
        add(1);
        let (of_reader, mut changes) = (Arc::clone(&store), Changes::new(Arc::clone(writer.family())));
        let reader = thread::spawn(move || {
            let mut reported = Reported::default();
            reported.pass(&of_reader, &mut changes);
            (reported, changes)
        });
        add(10);
        updates::counter::reset(writer.record(at), writer.family());
        add(100);
        let (mut reported, mut changes) = reader.join().unwrap();
        reported.pass(&store, &mut changes);
        assert_eq!(reported.of(""), 111.0);
    });
}

#[test]
fn the_last_of_a_series_is_reported() {
    explore("the last of a series is reported", 1, || {
        let store = Arc::new(Store::with(idle_policy(Kind::Counter), Some(false)));
        let mut writer = family(&store, Kind::Counter, "c", &["l"]);
        let locations = ["old", "kept"].map(|label| series(&mut writer, label));
        updates::counter::add(writer.record(locations[0]), Number::Int(5)).unwrap();
        sweep(&store, &mut writer);
        let (of_reader, mut changes) = (Arc::clone(&store), Changes::new(Arc::clone(writer.family())));
        let reader = thread::spawn(move || {
            let mut reported = Reported::default();
            reported.pass(&of_reader, &mut changes);
            reported.pass(&of_reader, &mut changes);
            (reported, changes)
        });
        // It goes, and as soon as that has been reported another one has its record.
        for _ in 0..2 {
            writer.touch(locations[1]);
            sweep(&store, &mut writer);
        }
        let at = series(&mut writer, "new");
        updates::counter::add(writer.record(at), Number::Int(7)).unwrap();
        let (mut reported, mut changes) = reader.join().unwrap();
        reported.pass(&store, &mut changes);
        assert_eq!((reported.of("old"), reported.of("new")), (5.0, 7.0));
    });
}

/// A family with the series "leaves" and "kept", and before them the free record of one whose end has been reported.
fn with_a_free_record(store: &Store) -> FamilyWriter {
    let mut writer = family(store, Kind::Counter, "c", &["l"]);
    let locations = ["free", "leaves", "kept"].map(|label| series(&mut writer, label));
    for _ in 0..2 {
        locations[1..].iter().for_each(|at| writer.touch(*at));
        sweep(store, &mut writer);
    }
    let mut reported = Reported::default();
    for _ in 0..2 {
        reported.pass(store, &mut Changes::new(Arc::clone(writer.family())));
    }
    writer.expire(0);
    writer
}

#[test]
fn a_number_is_given_out_after_its_record() {
    explore("a number is given out after its record", 1, || {
        let store = Arc::new(Store::with(idle_policy(Kind::Counter), Some(false)));
        let mut writer = with_a_free_record(&store);
        let of_reader = Arc::clone(writer.family());
        let before = of_reader.next_serial();
        let reader = thread::spawn(move || {
            let end = of_reader.next_serial();
            let chunks = of_reader.chunks();
            let new = records(&chunks).filter(|record| (before..end).contains(&of_reader.serial(record)));
            assert_eq!(new.count() as u64, end - before);
        });
        // The first one is in the free record, the second one is behind all others.
        series(&mut writer, "new");
        series(&mut writer, "last");
        reader.join().unwrap();
    });
}

#[test]
fn a_record_that_leaves_is_not_another_ones_yet() {
    explore("a record that leaves is not another one's yet", 1, || {
        let store = Arc::new(Store::with(idle_policy(Kind::Counter), Some(false)));
        let mut writer = with_a_free_record(&store);
        let (of_reader, changes) = (Arc::clone(&store), Changes::new(Arc::clone(writer.family())));
        let reader = thread::spawn(move || {
            let journal = of_reader.journal().unwrap();
            let pass = journal.begin_pass();
            let chunks = changes.family().chunks();
            let leaving = changes.leaving(&chunks);
            let serials = || leaving.iter().map(|record| changes.family().serial(record));
            let before: Vec<u64> = serials().collect();
            thread::yield_now();
            assert!(serials().eq(before), "another one's");
            journal.end_pass(pass);
        });
        sweep(&store, &mut writer);
        series(&mut writer, "new");
        reader.join().unwrap();
    });
}

#[test]
fn a_family_is_listed_or_replaced() {
    explore("a family is listed or replaced", 4, || {
        let store = Arc::new(Store::with(Default::default(), Some(false)));
        let first = Arc::clone(family(&store, Kind::Counter, "x", &[]).family());
        let of_reader = Arc::clone(&store);
        let name = |family: &Arc<Family>| Arc::as_ptr(family) as usize;
        // Families that have gone stay in memory, so that no other one has their address.
        let take = move |store: &Store, gone: &mut HashMap<usize, Arc<Family>>| {
            let (replaced, families) = store.take_replaced();
            for family in replaced.families {
                assert!(gone.insert(name(&family), family).is_none(), "twice");
            }
            assert!(
                families.values().all(|family| !gone.contains_key(&name(family))),
                "both"
            );
            let there: HashSet<usize> = families.values().map(name).collect();
            there
        };
        let reader = thread::spawn(move || {
            let mut gone = HashMap::new();
            let there = take(&of_reader, &mut gone);
            assert!(
                there.contains(&name(&first)) || gone.contains_key(&name(&first)),
                "neither"
            );
            gone
        });
        let second = family(&store, Kind::Gauge, "x", &[]);
        let third = family(&store, Kind::Counter, "x", &[]);
        let mut gone = reader.join().unwrap();
        let there = take(&store, &mut gone);
        assert_eq!(there, HashSet::from([name(third.family())]));
        assert!(gone.len() == 2 && gone.contains_key(&name(second.family())));
    });
}
