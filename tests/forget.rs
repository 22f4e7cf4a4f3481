//! Series that go when they are told to, as those of a host that is no more.

mod common;

use common::{create, labels, provider_with, register, statsd_options, SOON};
use metre::encode::exposition::{self, page, Format};
use metre::model::{Kind, Number};
use metre::policy::{Limits, Policy};
use metre::snapshot::changes::{Changes, News};
use metre::snapshot::FamilySnapshot;
use metre::store::{updates, Assigned, FamilySpec, FamilyWriter, Journal, Store};
use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lines of the page that are no comments, without the times of creation.
fn samples(store: &Store) -> Vec<String> {
    let mut out = Vec::new();
    let options = exposition::Options {
        created: false,
        ..exposition::Options::default()
    };
    page(&mut out, store, options, Format::OPENMETRICS, None).expect("a page");
    let text = String::from_utf8(out).expect("UTF-8");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// A family whose series leave, with labels for host and result.
fn leaving(store: &Store, kind: Kind) -> FamilyWriter {
    let spec = FamilySpec::new(kind, "x").labels(&["host", "result"]).buckets(&[1.0]);
    register(store, spec.leaves())
}

/// Counts, sets or takes 3.
fn use_it(writer: &mut FamilyWriter, values: &[&str]) {
    let at = create(writer, values);
    writer.touch(at);
    let (record, family, three) = (writer.record(at), writer.family(), Number::Int(3));
    match family.kind {
        Kind::Counter => drop(updates::counter::add(record, three).expect("a step")),
        Kind::Gauge => updates::gauge::set(record, three, &family.cork),
        Kind::Histogram => drop(updates::samples::histogram(record, three, family).expect("a sample")),
        Kind::Summary => drop(updates::samples::summary(record, three, family).expect("a sample")),
    }
}

const ALL: [[&str; 2]; 4] = [["a", "ok"], ["a", "failed"], ["b", "ok"], ["b", "a"]];

#[test]
fn only_series_with_that_value_there_go() {
    for kind in Kind::ALL {
        let store = Store::new();
        let mut writer = leaving(&store, kind);
        ALL.iter().for_each(|values| use_it(&mut writer, values));
        let hosts = |store: &Store| {
            let of = |line: String| Some(line.split_once("host=\"")?.1.chars().next()?.to_string());
            let mut hosts: Vec<String> = samples(store).into_iter().filter_map(of).collect();
            hosts.sort();
            hosts.dedup();
            hosts
        };
        assert_eq!(hosts(&store), ["a", "b"]);
        for (position, value) in [(0, "c"), (0, "ok"), (2, "a"), (usize::MAX, "a"), (0, ""), (0, "A")] {
            assert_eq!(writer.forget(position, value.as_bytes()), 0, "{position}, {value}");
        }
        assert_eq!(writer.forget(0, b"a"), 2);
        assert_eq!(hosts(&store), ["b"]);
        assert_eq!(writer.forget(0, b"a"), 0);
        assert_eq!((writer.family().series_count(), writer.family().gone()), (2, 2));
        assert_eq!(writer.family().expired(), 0, "no idle time was over");
        // They begin anew.
        use_it(&mut writer, &ALL[0]);
        assert_eq!(hosts(&store), ["a", "b"]);
        assert_eq!((writer.forget(1, b"ok"), writer.forget(1, b"a")), (2, 1));
        assert_eq!(samples(&store), [""; 0]);
        // Nothing else has them go.
        use_it(&mut writer, &ALL[0]);
        for _ in 0..3 {
            store.clock().skip(Duration::from_secs(1 << 20));
            common::sweep(&mut writer);
        }
        assert_eq!(hosts(&store), ["a"]);
    }
}

#[test]
fn what_is_not_to_go_stays() {
    let store = Store::new();
    let mut other = common::family(&store, Kind::Counter, "other", &["host"]);
    create(&mut other, &["a"]);
    assert_eq!(other.forget(0, b"a"), 0);
    assert_eq!(samples(&store), ["other_total{host=\"a\"} 0"]);
    let mut plain = register(&store, FamilySpec::new(Kind::Gauge, "plain").leaves());
    create(&mut plain, &[]);
    assert_eq!((plain.forget(0, b""), samples(&store).len()), (0, 2));
}

#[test]
fn a_value_that_was_repaired_is_found() {
    let store = Store::new();
    let mut writer = leaving(&store, Kind::Gauge);
    let mut set = metre::model::LabelSet::new();
    set.push(b"a\xff");
    set.push(b"\xfe");
    assert_eq!(
        writer.find_or_create(set.as_bytes()).expect("room").1,
        Assigned::Repaired
    );
    assert_eq!((writer.forget(0, b"a\xff"), writer.family().series_count()), (1, 0));
}

#[test]
fn they_make_room_for_others_and_leave_their_memory() {
    let limits = Limits {
        max_series_per_family: 2,
        ..Limits::default()
    };
    for samples in [None, Some(false)] {
        let policy = Policy {
            limits,
            ..Policy::default()
        };
        let store = Store::with(policy, samples);
        let mut writer = leaving(&store, Kind::Gauge);
        let first = create(&mut writer, &["a", "ok"]);
        create(&mut writer, &["b", "ok"]);
        for round in 0..100 {
            assert_eq!(writer.forget(0, b"a"), 1);
            if let Some(journal) = store.journal() {
                let pass = journal.begin_pass();
                journal.end_pass(pass);
            }
            // As at the end of a collection.
            common::sweep(&mut writer);
            let again = writer.find_or_create(labels(&["a", "ok"]).as_bytes()).expect("room");
            assert_eq!(again, (first, Assigned::Plainly), "round {round}");
        }
    }
}

#[test]
fn gauges_that_are_corked_go_at_once() {
    type End = fn(&Store);
    // With a pusher their records stay until it has looked.
    let with = |samples| Store::with(Policy::default(), samples);
    for (store, end, shown) in [
        (with(None), Store::uncork as End, true),
        (with(None), Store::discard, false),
        (with(Some(false)), Store::uncork, true),
        (with(Some(false)), Store::discard, false),
    ] {
        let mut writer = leaving(&store, Kind::Gauge);
        use_it(&mut writer, &["a", "shown"]);
        use_it(&mut writer, &["b", "shown"]);
        store.cork();
        use_it(&mut writer, &["a", "new"]);
        use_it(&mut writer, &["a", "shown"]);
        assert_eq!(writer.forget(0, b"a"), 2);
        let b = "x{host=\"b\",result=\"shown\"} 3";
        assert_eq!(samples(&store), [b]);
        use_it(&mut writer, &["a", "newer"]);
        end(&store);
        let mut expected = vec!["x{host=\"a\",result=\"newer\"} 3", b];
        expected.drain(..usize::from(!shown));
        let mut found = samples(&store);
        found.sort();
        assert_eq!(found, expected);
        store.cork();
        assert_eq!(writer.forget(0, b"a"), 1);
        store.uncork();
        assert_eq!(samples(&store), [b]);
    }
}

#[test]
fn their_last_values_are_reported_and_then_their_end() {
    for kind in Kind::ALL {
        let store = Store::with(Policy::default(), Some(false));
        let mut writer = leaving(&store, kind);
        let mut changes = Changes::new(Arc::clone(writer.family()));
        let mut pass = |store: &Store| {
            let pass = store.journal().map(Journal::begin_pass);
            let mut told = Vec::new();
            let report = |_: usize, series: &metre::snapshot::Series<'_>, news: News<'_>| {
                let host = series.label_values().next().expect("a host");
                told.push((host.to_vec(), news == News::Gone));
                ControlFlow::Continue(())
            };
            let flow = match kind {
                Kind::Gauge => {
                    let snapshot = FamilySnapshot::of(&Arc::clone(changes.family()));
                    changes.report_gauges(&snapshot, false, report)
                }
                _ => changes.report_totals(false, None, report),
            };
            assert!(flow.is_continue());
            if let (Some(journal), Some(pass)) = (store.journal(), pass) {
                journal.end_pass(pass);
            }
            told
        };
        let (a, b) = (b"a".to_vec(), b"b".to_vec());
        use_it(&mut writer, &["a", "ok"]);
        use_it(&mut writer, &["b", "ok"]);
        writer.forget(0, b"a");
        use_it(&mut writer, &["a", "ok"]);
        // The one that has gone first, since another one has its labels by now.
        assert_eq!(
            pass(&store),
            [(a.clone(), false), (a.clone(), true), (b, false), (a.clone(), false)]
        );
        assert_eq!(pass(&store), []);
        writer.forget(0, b"a");
        assert_eq!(pass(&store), [(a, true)]);
        assert_eq!(pass(&store), []);
    }
}

#[test]
fn nothing_that_was_counted_is_lost_on_the_wire() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a timeout");
    let address = format!("udp://{}", server.local_addr().expect("an address"));
    let (store, runtime) = provider_with(Policy::unlimited(), statsd_options(&address));
    let mut writer = leaving(&store, Kind::Counter);
    runtime.start().expect("a thread");
    let (mut sent, mut got) = (0, 0);
    let mut buffer = [0; 2000];
    let mut take = |got: &mut i64| {
        while let Ok(length) = server.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let steps = text
                .lines()
                .filter_map(|line| line.strip_prefix("x.a.ok:")?.strip_suffix("|c"));
            *got += steps.map(|step| step.parse::<i64>().expect("a step")).sum::<i64>();
        }
    };
    for _ in 0..20 {
        use_it(&mut writer, &["a", "ok"]);
        sent += 3;
        assert_eq!(writer.forget(0, b"a"), 1);
        take(&mut got);
    }
    runtime.stop();
    let end = Instant::now() + SOON;
    while got != sent && Instant::now() < end {
        take(&mut got);
    }
    assert_eq!(got, sent);
    assert_eq!(samples(&store).iter().filter(|line| line.starts_with('x')).count(), 0);
}
