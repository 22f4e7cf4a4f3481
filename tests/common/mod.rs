//! What several of these tests need.
#![allow(dead_code)] // Not each of them needs all.

pub mod http;

use metre::model::{Kind, LabelSet, Number};
use metre::policy::{Limits, Origin, Pattern, Policy, Rule};
use metre::store::{cell, FamilySpec, FamilyWriter, Placed, Store};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything here takes, also where many other things run.
pub const SOON: Duration = Duration::from_secs(30);

/// A port that nothing listens on.
pub fn free_port() -> SocketAddr {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    probe.local_addr().expect("an address")
}

/// A family without unit and help; a histogram has buckets for 1 and 10.
pub fn family(store: &Store, kind: Kind, name: &str, keys: &[&str]) -> FamilyWriter {
    let spec = FamilySpec {
        kind,
        name: name.into(),
        unit: Vec::new(),
        help: Vec::new(),
        label_keys: keys.iter().map(|key| (*key).into()).collect(),
        thresholds: vec![Number::Int(1), Number::Int(10)],
    };
    store.register(spec).unwrap().0
}

/// How long a series of [`idle_policy`] may be idle, in seconds.
pub const TTL: u32 = 100;

/// Counters and all other series go after [`TTL`] seconds.
pub fn idle_policy(limits: Limits) -> Policy {
    let rule = Rule {
        name: Pattern::new("*"),
        host: None,
        kinds: Some(Kind::ALL.to_vec()),
        drop: None,
        buckets: None,
        max_series: None,
        idle_ttl: Some(TTL),
        quantiles: None,
        quantile_window: None,
        origin: Origin::default(),
    };
    Policy {
        limits,
        rules: vec![rule],
        ..Policy::default()
    }
}

/// The label set of a family with one label.
pub fn label(value: &str) -> LabelSet {
    let mut set = LabelSet::new();
    set.push(value.as_bytes());
    set
}

/// Adds to a counter, sets a gauge, or takes a sample.
pub fn add(writer: &mut FamilyWriter, value: &str, step: i64) -> Placed {
    let (at, placed) = writer.find_or_create(label(value).as_bytes()).expect("a series");
    writer.touch(at);
    let (record, family) = (writer.record(at), Arc::clone(writer.family()));
    match family.kind {
        Kind::Counter => drop(cell::counter::add(record, Number::Int(step)).expect("a step")),
        Kind::Gauge => cell::gauge::set(record, Number::Int(step), &family.cork),
        Kind::Histogram => drop(cell::samples::histogram(record, Number::Int(step), &family).expect("a sample")),
        Kind::Summary => drop(cell::samples::summary(record, Number::Int(step)).expect("a sample")),
    }
    placed
}

/// A sweep through the whole family, if one is due.
pub fn sweep(writer: &mut FamilyWriter) {
    while writer.expire(100).1 {}
}
