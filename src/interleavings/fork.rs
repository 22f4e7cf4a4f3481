//! A process that forks while threads are in the middle of something: in the child they stand still for ever, and
//! Prosody's thread goes on.

use super::{explore, family, forking, quantile_policy, series};
use crate::model::{Kind, Number};
use crate::snapshot::FamilySnapshot;
use crate::store::{updates, FamilySpec, FamilyWriter, Store, Taken};
use crate::sync::MOST_LOOKS;
use loom::thread;
use std::sync::Arc;

/// Runs `child` as the child of a fork while `thread`, which has a family of its own, is somewhere in the middle.
fn forked(
    name: &str,
    thread: impl Fn(&Store, FamilyWriter) + Copy + Send + Sync + 'static,
    child: impl Fn(&Store) + Send + Sync + 'static,
) {
    explore(name, 3, move || {
        MOST_LOOKS.set(3);
        forking::prepare();
        let store = Arc::new(Store::with(quantile_policy(), Some(false)));
        store.home().enter();
        let mut counter = family(&store, Kind::Counter, "c", &[]);
        let mut summary = family(&store, Kind::Summary, "s", &[]);
        let own = store.register_own(FamilySpec::new(Kind::Counter, "metre_x"));
        let at = (series(&mut counter, ""), series(&mut summary, ""));
        updates::samples::into_window(summary.record(at.1), Number::Int(3), Taken::Plainly, summary.family());
        updates::counter::reset(counter.record(at.0), counter.family());
        let of_thread = Arc::clone(&store);
        let running = thread::spawn(move || forking::other(|| thread(&of_thread, own)));
        forking::begin();
        store.home().fork();
        updates::counter::add(counter.record(at.0), Number::Int(1)).unwrap();
        updates::counter::reset(counter.record(at.0), counter.family());
        updates::samples::into_window(summary.record(at.1), Number::Int(3), Taken::Plainly, summary.family());
        summary.family().quantiles_of(summary.record(at.1));
        child(&store);
        drop((counter, summary));
        forking::end();
        running.join().unwrap();
    });
}

#[test]
fn a_reader_may_stand_still() {
    let read = |store: &Store| {
        let (_, families) = store.take_replaced();
        let journal = store.journal().unwrap();
        journal.take_restart(0);
        for family in families.values() {
            let snapshot = FamilySnapshot::of(family);
            snapshot
                .series(family)
                .for_each(|series| assert!(series.quantiles(family).count() <= 2));
        }
    };
    forked(
        "a reader may stand still",
        move |store, _| read(store),
        move |store| {
            let mut gauge = family(store, Kind::Gauge, "c", &["l"]);
            store.cork();
            for label in ["a", "b", "one that is longer"] {
                let at = series(&mut gauge, label);
                updates::gauge::set(gauge.record(at), Number::Int(1), &gauge.family().cork);
            }
            store.uncork();
            read(store);
        },
    );
}

#[test]
fn a_writer_of_our_own_may_stand_still() {
    let write = |_: &Store, mut own: FamilyWriter| {
        let at = series(&mut own, "");
        updates::counter::add(own.record(at), Number::Int(1)).unwrap();
        updates::counter::add(own.record(at), Number::Int(1)).unwrap();
    };
    forked("a writer of our own may stand still", write, |store| {
        for family in store.families().values() {
            let snapshot = FamilySnapshot::of(family);
            // It is either whole or left out.
            snapshot.series(family).for_each(|series| {
                if let crate::snapshot::Point::Counter(total, _) = series.point {
                    assert!([0.0, 1.0, 2.0].contains(&total.as_f64()));
                }
            });
        }
    });
}
