//! What threads can do in turn: each model runs the real code in every order of its steps with so many interruptions,
//! and with every value that the memory may show (`crate::sync`). loom gives up, and names the order, when an assertion
//! fails, when all wait for each other, or when one never ends.

mod changes;
mod fork;
mod forking;
mod store;

use crate::model::{Kind, LabelSet};
use crate::policy::{Limits, Origin, Pattern, Policy, Rule};
use crate::store::{FamilySpec, FamilyWriter, Location, Store};
use crate::sync::MOST_LOOKS;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

/// Runs `model` in every order in which a thread that could go on is interrupted `interruptions` times at most, or as
/// often as the environment's `INTERRUPTIONS` says.
pub(crate) fn explore(name: &str, interruptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    MOST_LOOKS.set(usize::MAX);
    let asked = std::env::var("INTERRUPTIONS").ok();
    let interruptions = asked.map_or(interruptions, |asked| asked.parse().expect("a number"));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let orders = orders.load(Relaxed);
    println!("{name}: {orders} orders");
    assert!(orders > 5, "nothing happened at the same time");
}

pub(crate) fn family(store: &Store, kind: Kind, name: &str, keys: &[&str]) -> FamilyWriter {
    let spec = FamilySpec::new(kind, name).labels(keys).buckets(&[1.0]);
    store.register(spec).unwrap().0
}

pub(crate) fn series(writer: &mut FamilyWriter, label: &str) -> Location {
    let mut set = LabelSet::new();
    if !label.is_empty() {
        set.push(label.as_bytes());
    }
    writer.find_or_create(set.as_bytes()).unwrap().0
}

fn policy(kind: Kind) -> Policy {
    Policy {
        limits: Limits::default(),
        rules: vec![Rule {
            name: Pattern::new("*"),
            host: None,
            kinds: Some(vec![kind]),
            drop: None,
            buckets: None,
            max_series: None,
            idle_ttl: None,
            quantiles: None,
            quantile_window: None,
            allow_negative: None,
            origin: Origin::default(),
        }],
        ..Policy::default()
    }
}

/// Series of this type may be idle for 100 seconds.
pub(crate) fn idle_policy(kind: Kind) -> Policy {
    let mut policy = policy(kind);
    policy.rules[0].idle_ttl = Some(100);
    policy
}

/// Summaries show their least and their greatest sample of the last minute.
pub(crate) fn quantile_policy() -> Policy {
    let mut policy = policy(Kind::Summary);
    policy.rules[0].quantiles = Some(vec![0.0, 1.0]);
    policy.rules[0].quantile_window = Some(Duration::from_secs(60));
    policy
}

/// All series of the family that nobody has touched go, and their records are free unless their end has still to be
/// reported.
pub(crate) fn sweep(store: &Store, writer: &mut FamilyWriter) {
    store.clock().skip(Duration::from_secs(150));
    while writer.expire(100).1 {}
}
