//! What several of these tests need.
#![allow(dead_code)] // Not each of them needs all.

pub mod http;

use metre::encode::statsd;
use metre::model::{Kind, LabelSet, Number};
use metre::policy::{Limits, Origin, Pattern, Policy, Rule};
use metre::runtime::{Options, Runtime, StatsdOptions};
use metre::store::{updates, Assigned, FamilySpec, FamilyWriter, Location, Store};
use metre::transport::statsd::Endpoint;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixListener};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long something that has to come may take. It says nothing of metre, and is only for what never comes.
pub const SOON: Duration = Duration::from_secs(120);

/// A port of the loopback that nobody has and that no other test gets before this process ends. Not one of those that the kernel gives
/// out by itself, so that a server that is away for a while finds it free again.
pub fn free_port() -> SocketAddr {
    static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    loop {
        let port = fastrand::u16(10_000..32_000);
        // spec/prosody/harness.py takes the same locks.
        let name = net::SocketAddr::from_abstract_name(format!("metre-test-port-{port}")).expect("a name");
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let (Ok(lock), Ok(_), Ok(_)) = (
            UnixListener::bind_addr(&name),
            TcpListener::bind(at),
            UdpSocket::bind(at),
        ) {
            TAKEN.lock().expect("no panic").push(lock);
            return at;
        }
    }
}

/// How long `run` takes, without the time for which threads of this process were kept from running by others.
pub fn unhindered<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let done = AtomicBool::new(false);
    let (start, before) = (Instant::now(), waited());
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            // Of threads that end meanwhile, what was seen last counts.
            let mut all = waited();
            while !done.load(Relaxed) {
                thread::sleep(Duration::from_millis(2));
                all.extend(waited());
            }
            all
        });
        let result = run();
        let took = start.elapsed();
        done.store(true, Relaxed);
        let all = watch.join().expect("no panic");
        let waited = all
            .iter()
            .map(|(thread, waited)| *waited - before.get(thread).copied().unwrap_or_default());
        (result, took.saturating_sub(waited.sum()))
    })
}

/// For how long each thread of this process was ready to run and not running so far (the second field of `schedstat`).
fn waited() -> HashMap<String, Duration> {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let waited = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = text.split(' ').nth(1)?.parse().ok()?;
        Some((
            thread.file_name().into_string().ok()?,
            Duration::from_nanos(nanoseconds),
        ))
    });
    waited.collect()
}

/// The writer of a family that no limit is in the way of.
pub fn register(store: &Store, spec: FamilySpec) -> FamilyWriter {
    store.register(spec).expect("nothing is ignored").0
}

/// A family without unit and help; a histogram has buckets for 1 and 10.
pub fn family(store: &Store, kind: Kind, name: &str, keys: &[&str]) -> FamilyWriter {
    register(store, FamilySpec::new(kind, name).labels(keys).buckets(&[1.0, 10.0]))
}

/// Pushes to this server ten times a second.
pub fn statsd_options(server: &str) -> StatsdOptions {
    StatsdOptions {
        server: Endpoint::parse(server).expect("a server"),
        flush_interval: Duration::from_millis(100),
        collect_interval: Duration::from_secs(10),
        max_datagram: 1432,
        resolve_interval: Duration::from_secs(60),
        max_samples_per_second: 1000,
        self_metrics: false,
        remotes: false,
        lines: statsd::Options::default(),
    }
}

/// A provider that pushes, not started.
pub fn provider_with(policy: Policy, push: StatsdOptions) -> (Arc<Store>, Runtime) {
    let store = Arc::new(Store::with(policy, Some(push.samples())));
    let options = Options {
        statsd: Some(push),
        self_metrics: true,
        ..Options::default()
    };
    let runtime = Runtime::new(&store, options, "none");
    (store, runtime)
}

/// How long a series of [`idle_policy`] may be idle, in seconds.
pub const TTL: u32 = 100;

/// A rule that decides nothing.
pub fn rule(name: &str) -> Rule {
    Rule {
        name: Pattern::new(name),
        host: None,
        kinds: None,
        drop: None,
        buckets: None,
        max_series: None,
        idle_ttl: None,
        quantiles: None,
        quantile_window: None,
        allow_negative: None,
        origin: Origin::default(),
    }
}

/// Counters and all other series go after [`TTL`] seconds.
pub fn idle_policy(limits: Limits) -> Policy {
    let rule = Rule {
        kinds: Some(Kind::ALL.to_vec()),
        idle_ttl: Some(TTL),
        ..rule("*")
    };
    Policy {
        limits,
        rules: vec![rule],
        ..Policy::default()
    }
}

/// A label set with these values.
pub fn labels(values: &[&str]) -> LabelSet {
    let mut set = LabelSet::new();
    values.iter().for_each(|value| set.push(value.as_bytes()));
    set
}

/// The series with these label values.
pub fn create(writer: &mut FamilyWriter, values: &[&str]) -> Location {
    writer.find_or_create(labels(values).as_bytes()).expect("room").0
}

/// Adds to a counter, sets a gauge, or takes a sample.
pub fn add(writer: &mut FamilyWriter, value: &str, step: i64) -> Assigned {
    let (at, placed) = writer.find_or_create(labels(&[value]).as_bytes()).expect("a series");
    writer.touch(at);
    let (record, family) = (writer.record(at), Arc::clone(writer.family()));
    match family.kind {
        Kind::Counter => drop(updates::counter::add(record, Number::Int(step)).expect("a step")),
        Kind::Gauge => updates::gauge::set(record, Number::Int(step), &family.cork),
        Kind::Histogram => drop(updates::samples::histogram(record, Number::Int(step), &family).expect("a sample")),
        Kind::Summary => drop(updates::samples::summary(record, Number::Int(step), &family).expect("a sample")),
    }
    placed
}

/// A sweep through the whole family, if one is due.
pub fn sweep(writer: &mut FamilyWriter) {
    while writer.expire(100).1 {}
}
