//! Readers on other threads while one thread writes: nothing half done is ever seen.

mod common;

use common::{create, family, register};
use metre::model::{Kind, Number};
use metre::snapshot::{FamilySnapshot, GaugeValues, Point};
use metre::store::{updates, Family, FamilySpec, Store};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Miri is a thousand times slower, and tries each step in several ways.
const ROUNDS: u64 = if cfg!(miri) { 2_000 } else { 2_000_000 };

/// Runs `write` here and `read` on two other threads, again and again until `write` is done.
fn while_writing(write: impl FnOnce(), read: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Once more at the end, so that each reader has looked at something.
                while !done.load(Ordering::Acquire) {
                    read();
                }
                read();
            });
        }
        write();
        done.store(true, Ordering::Release);
    });
}

#[test]
fn a_histogram_is_never_torn() {
    let store = Store::new();
    let spec = FamilySpec::new(Kind::Histogram, "h").labels(&["x"]);
    let mut writer = register(&store, spec.buckets(&[1.0, 2.0, 5.0]));
    let location = create(&mut writer, &["a"]);
    let family = writer.family().clone();
    while_writing(
        || {
            for round in 0..ROUNDS {
                // Ints and floats in turn, so that the sum's type changes after each reset too.
                let sample = match round % 2 {
                    0 => Number::Int(3),
                    _ => Number::Float(3.0),
                };
                let record = writer.record(location);
                updates::samples::histogram(record, sample, &family).expect("a sample");
                if round % 1000 == 999 {
                    updates::samples::reset(record, &family);
                }
            }
        },
        || {
            let mut snapshot = FamilySnapshot::new();
            snapshot.take(&family);
            for series in snapshot.series(&family) {
                let Point::Histogram(samples, counts) = series.point else {
                    panic!("not a histogram");
                };
                let counts: Vec<u64> = counts.cumulative().collect();
                assert_eq!(counts[..2], [0, 0]);
                assert_eq!(counts[2], counts[3]);
                assert_eq!(samples.sum.as_f64(), 3.0 * counts[3] as f64);
            }
        },
    );
}

/// Of a snapshot of gauges.
fn sum(family: &Family, snapshot: &FamilySnapshot) -> f64 {
    let values = snapshot.series(family).map(|series| match series.point {
        Point::Gauge(value) => value.as_f64(),
        _ => panic!("not a gauge"),
    });
    values.sum()
}

#[test]
fn a_gauge_is_never_seen_between_cork_and_uncork() {
    let store = Store::new();
    let mut writer = family(&store, Kind::Gauge, "sessions", &["host"]);
    let hosts = ["a", "b", "c"].map(|host| create(&mut writer, &[host]));
    let family = writer.family().clone();
    let cork = &family.cork;
    // Every count sums up to 30, one way or the other.
    let count = |shares: [i64; 3]| {
        store.cork();
        for location in hosts {
            updates::gauge::set(writer.record(location), Number::ZERO, cork);
        }
        for (location, share) in hosts.into_iter().zip(shares) {
            for _ in 0..share {
                updates::gauge::add(writer.record(location), Number::Int(1), cork);
            }
        }
        store.uncork();
    };
    count([10, 10, 10]);
    while_writing(
        || {
            for round in 0..ROUNDS / 100 {
                count(if round % 2 == 0 { [30, 0, 0] } else { [5, 5, 20] });
            }
        },
        || {
            let mut snapshot = FamilySnapshot::new();
            snapshot.take(&family);
            assert_eq!(sum(&family, &snapshot), 30.0, "pushed");
            let (gauges, mut on_page) = (GaugeValues::of(&family), 0.0);
            let taken: Result<(), Infallible> = snapshot.take_gauges(&gauges, |part| {
                on_page += sum(&family, part);
                Ok(())
            });
            taken.unwrap();
            assert_eq!(on_page, 30.0, "on a page");
        },
    );
}

#[test]
fn gauges_of_several_families_are_seen_from_the_same_uncork() {
    let store = Store::new();
    let gauges: Vec<_> = (0..20)
        .map(|number| {
            let mut writer = family(&store, Kind::Gauge, &format!("g{number}"), &[]);
            let location = create(&mut writer, &[]);
            (writer, location)
        })
        .collect();
    let families: Vec<_> = gauges.iter().map(|(writer, _)| writer.family().clone()).collect();
    while_writing(
        || {
            for round in 0..ROUNDS / 500 {
                store.cork();
                for (writer, location) in &gauges {
                    let value = Number::Int(round as i64);
                    updates::gauge::set(writer.record(*location), value, &writer.family().cork);
                }
                store.uncork();
                // Closer together than collections ever are, but with time for a look at all of them in between.
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
        },
        || {
            let snapshots = store.consistently(|| {
                families
                    .iter()
                    .map(|family| FamilySnapshot::of(family))
                    .collect::<Vec<_>>()
            });
            let values: Vec<f64> = families
                .iter()
                .zip(&snapshots)
                .flat_map(|(family, snapshot)| snapshot.series(family).map(|series| series.point))
                .map(|point| match point {
                    Point::Gauge(value) => value.as_f64(),
                    _ => panic!("not a gauge"),
                })
                .collect();
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        },
    );
}

#[test]
fn series_and_families_appear_whole() {
    const SERIES: usize = if cfg!(miri) { 200 } else { 20_000 };
    let store = Store::new();
    let mut writer = family(&store, Kind::Counter, "c", &["user", "pad"]);
    let family = writer.family().clone();
    while_writing(
        || {
            for number in 0..SERIES {
                let pad = "x".repeat(number % 50);
                let location = create(&mut writer, &[&number.to_string(), &pad]);
                updates::counter::add(writer.record(location), Number::Int(number as i64)).expect("a step");
                if number % 100 == 0 {
                    common::family(&store, Kind::Gauge, &format!("g{number}"), &[]);
                }
            }
        },
        || {
            let mut snapshot = FamilySnapshot::new();
            snapshot.take(&family);
            for (number, series) in snapshot.series(&family).enumerate() {
                let values: Vec<&[u8]> = series.label_values().collect();
                assert_eq!(values[0], number.to_string().as_bytes());
                assert_eq!(values[1], "x".repeat(number % 50).as_bytes());
                let Point::Counter(total, created) = series.point else {
                    panic!("not a counter");
                };
                assert!(total == Number::ZERO || total == Number::Int(number as i64));
                assert!(created > 1e9);
            }
            let families = store.families();
            assert_eq!(families.values().count(), families.len());
            for family in families.values() {
                assert!(families.contains_key(&family.name));
            }
        },
    );
    let mut snapshot = FamilySnapshot::new();
    snapshot.take(&family);
    assert_eq!(snapshot.series(&family).count(), SERIES);
}
