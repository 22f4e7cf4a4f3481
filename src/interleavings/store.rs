//! A reader beside the writer.

use super::{explore, family, quantile_policy, series};
use crate::model::{Kind, Number};
use crate::snapshot::{FamilySnapshot, GaugeValues, Point};
use crate::store::{updates, Family, Ring, Store, Taken};
use loom::thread;
use std::convert::Infallible;
use std::sync::Arc;

/// The label and the value of each series in a copy; of summaries the sum, once it is what the count says.
fn values(family: &Family) -> Vec<(Vec<u8>, f64)> {
    of_copy(family, &FamilySnapshot::of(family))
}

/// The same of gauges as a page has them.
fn on_page(family: &Family, gauges: &GaugeValues) -> Vec<(Vec<u8>, f64)> {
    let (mut all, mut snapshot) = (Vec::new(), FamilySnapshot::new());
    let taken: Result<(), Infallible> = snapshot.take_gauges(gauges, |part| {
        all.extend(of_copy(family, part));
        Ok(())
    });
    taken.unwrap();
    all
}

fn of_copy(family: &Family, snapshot: &FamilySnapshot) -> Vec<(Vec<u8>, f64)> {
    let value = |point: &Point<'_>| match point {
        Point::Gauge(value) | Point::Counter(value, _) => value.as_f64(),
        Point::Summary(samples, count) => {
            assert_eq!(samples.sum.as_f64(), 3.0 * *count as f64, "torn");
            *count as f64
        }
        Point::Histogram(..) => panic!("none here"),
    };
    let series = snapshot.series(family);
    series
        .map(|series| {
            let label = series.label_values().next().unwrap_or_default().to_vec();
            (label, value(&series.point))
        })
        .collect()
}

#[test]
fn a_record_is_never_torn() {
    explore("a record is never torn", 2, || {
        let store = Store::new();
        let mut writer = family(&store, Kind::Summary, "s", &[]);
        let at = series(&mut writer, "");
        let of_reader = Arc::clone(writer.family());
        let reader = thread::spawn(move || values(&of_reader)[0].1);
        // The type of the sum changes, too.
        updates::samples::summary(writer.record(at), Number::Int(3), writer.family()).unwrap();
        updates::samples::summary(writer.record(at), Number::Float(3.0), writer.family()).unwrap();
        assert!(reader.join().unwrap() <= 2.0);
    });
}

#[test]
fn series_appear_whole() {
    explore("series appear whole", 2, || {
        let store = Store::new();
        let mut writer = family(&store, Kind::Summary, "s", &["l"]);
        let of_reader = Arc::clone(writer.family());
        let reader = thread::spawn(move || values(&of_reader));
        // The second one is in the first's chunk, the third one has to have one of its own.
        for label in ["first", "second", "a third that does not fit"] {
            let at = series(&mut writer, label);
            updates::samples::summary(writer.record(at), Number::Int(3), writer.family()).unwrap();
        }
        let seen = reader.join().unwrap();
        let labels: Vec<&[u8]> = seen.iter().map(|(label, _)| label.as_slice()).collect();
        let all: [&[u8]; 3] = [b"first", b"second", b"a third that does not fit"];
        assert_eq!(labels, all[..labels.len()]);
    });
}

/// A reader's sum of two gauges of one series each, which the writer changes together.
fn gauges_move_together(name: &str, read: fn(&Store, &[Arc<Family>; 2]) -> f64) {
    explore(name, 1, move || {
        let store = Arc::new(Store::new());
        let mut writers = [
            family(&store, Kind::Gauge, "a", &[]),
            family(&store, Kind::Gauge, "b", &[]),
        ];
        let locations = writers.each_mut().map(|writer| series(writer, ""));
        let set = |shares: [i64; 2]| {
            store.cork();
            for ((writer, at), share) in writers.iter().zip(locations).zip(shares) {
                updates::gauge::set(writer.record(at), Number::ZERO, &writer.family().cork);
                updates::gauge::set(writer.record(at), Number::Int(share), &writer.family().cork);
            }
            store.uncork();
        };
        set([10, 20]);
        let of_reader = Arc::clone(&store);
        let families = writers.each_ref().map(|writer| Arc::clone(writer.family()));
        let reader = thread::spawn(move || read(&of_reader, &families));
        set([25, 5]);
        assert_eq!(reader.join().unwrap(), 30.0);
    });
}

#[test]
fn gauges_of_a_push_move_together() {
    gauges_move_together("gauges of a push move together", |store, families| {
        let read = || families.each_ref().map(|family| values(family)[0].1);
        store.consistently(read).iter().sum()
    });
}

#[test]
fn gauges_of_a_page_move_together() {
    gauges_move_together("gauges of a page move together", |store, families| {
        let gauges = store.consistently(|| families.each_ref().map(|family| GaugeValues::of(family)));
        let shown = families
            .iter()
            .zip(&gauges)
            .map(|(family, gauges)| on_page(family, gauges)[0].1);
        shown.sum()
    });
}

#[test]
fn gauges_of_one_family_move_together() {
    explore("gauges of one family move together", 2, || {
        let store = Store::new();
        let mut writer = family(&store, Kind::Gauge, "g", &["l"]);
        let locations = ["a", "b"].map(|label| series(&mut writer, label));
        let set = |shares: [i64; 2]| {
            store.cork();
            for (at, share) in locations.into_iter().zip(shares) {
                updates::gauge::set(writer.record(at), Number::Int(share), &writer.family().cork);
            }
            store.uncork();
        };
        set([10, 20]);
        let of_reader = Arc::clone(writer.family());
        let reader = thread::spawn(move || values(&of_reader).iter().map(|(_, value)| value).sum::<f64>());
        set([25, 5]);
        assert_eq!(reader.join().unwrap(), 30.0);
    });
}

#[test]
fn samples_come_out_as_they_went_in() {
    explore("samples come out as they went in", 4, || {
        let ring = Arc::new(Ring::new());
        let of_reader = Arc::clone(&ring);
        let drain = |ring: &Ring, from: usize| {
            let mut next = from;
            ring.drain(|address, sample| {
                assert_eq!((address, sample), (2 * next, Number::Int(next as i64)));
                next += 1;
            });
            next
        };
        let reader = thread::spawn(move || {
            let next = drain(&of_reader, 0);
            drain(&of_reader, next)
        });
        // Two fit; the third one comes in if somebody has made room.
        (0..3).for_each(|number| ring.push(2 * number, Number::Int(number as i64)));
        let next = reader.join().unwrap();
        assert!(drain(&ring, next) >= 2);
    });
}

#[test]
fn what_is_counted_is_in_the_ring() {
    explore("what is counted is in the ring", 2, || {
        let store = Arc::new(Store::with(Default::default(), Some(true)));
        let mut writer = family(&store, Kind::Histogram, "h", &[]);
        let at = series(&mut writer, "");
        let (of_reader, histogram) = (Arc::clone(&store), Arc::clone(writer.family()));
        let reader = thread::spawn(move || {
            let snapshot = FamilySnapshot::of(&histogram);
            let Point::Histogram(_, counts) = snapshot.series(&histogram).next().unwrap().point else {
                panic!("a histogram");
            };
            let (counted, mut drained) = (counts.cumulative().last().unwrap(), 0);
            of_reader.journal().unwrap().ring().unwrap().drain(|_, _| drained += 1);
            assert!(drained >= counted, "{drained} of {counted}");
        });
        for _ in 0..2 {
            updates::samples::histogram(writer.record(at), Number::Int(1), writer.family()).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn samples_that_wait_for_a_reader_are_not_lost() {
    explore("samples that wait for a reader", 4, || {
        let store = Store::with(quantile_policy(), None);
        let mut writer = family(&store, Kind::Summary, "s", &[]);
        let at = series(&mut writer, "");
        let sample = |value: i64| {
            updates::samples::into_window(writer.record(at), Number::Int(value), Taken::Plainly, writer.family())
        };
        let of_reader = Arc::clone(writer.family());
        let reader = thread::spawn(move || {
            let snapshot = FamilySnapshot::of(&of_reader);
            let series = snapshot.series(&of_reader).next().unwrap();
            series.quantiles(&of_reader).count()
        });
        (1..3).for_each(sample);
        assert_eq!(reader.join().unwrap(), 2);
        sample(1);
        let values = writer.family().quantiles_of(writer.record(at));
        assert_eq!(values, [(0.0, 1.0), (1.0, 2.0)]);
    });
}
