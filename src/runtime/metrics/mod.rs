//! metre's own metrics: what they are called, and how they come into the store.
//!
//! A family that is here has one writer, which is metre. Some are written where things happen (a push, a scrape, an answer
//! of the event loop); the others are brought up to date when somebody looks ([`OwnMetrics::update`]).

mod exporter;
mod family;
mod policy;
mod process;
mod statsd;

pub(super) use exporter::ExporterMetrics;
pub(super) use family::OwnFamily;
pub(super) use statsd::{DroppedLines, StatsdMetrics};

use super::event_loop::EventLoop;
use super::panics;
use crate::model::Kind;
use crate::store::{Refused, Store};
use crate::sync::Mutex;
use family::{counter, gauge, times};
use policy::PolicyMetrics;
use process::ProcessMetrics;
use std::sync::Arc;
use std::time::Duration;

/// How old a count of descriptors may be, where counting takes long, before one of metre's threads makes a new one.
const RECOUNT: Duration = Duration::from_secs(5);

/// The same for Prosody's thread, if there are none of metre's.
const RECOUNT_ALONE: Duration = Duration::from_secs(30);

/// Metrics that are brought up to date before each page and each push.
pub(super) struct OwnMetrics {
    store: Arc<Store>,
    event_loop: Arc<EventLoop>,
    families: Mutex<Refreshed>,
    /// Those of the process, if they are wanted. Alone, since a process that forked off brings them up to date, too, and
    /// since a count of descriptors may take milliseconds.
    process: Mutex<Option<ProcessMetrics>>,
}

struct Refreshed {
    families: OwnFamily,
    series: OwnFamily,
    refused: OwnFamily,
    internal_errors: OwnFamily,
    last_collection: OwnFamily,
    blocked: OwnFamily,
    policy: PolicyMetrics,
}

/// How late the event loop's answers are.
pub(super) fn event_loop_lag(store: &Store) -> OwnFamily {
    let thresholds = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];
    let help = "How late Prosody's event loop answers when it is woken, each second";
    OwnFamily::register(store, times("metre_event_loop_lag_seconds", help, thresholds))
}

impl OwnMetrics {
    /// Registers them in `own`; those that only make sense with threads in `of_threads`. `process` says whether there are any of the
    /// process. What they show is of `store`.
    pub(super) fn register(
        store: &Arc<Store>,
        own: &Store,
        of_threads: &Store,
        process: bool,
        event_loop: &Arc<EventLoop>,
        lua: &str,
    ) -> OwnMetrics {
        let in_own = |spec| OwnFamily::register(own, spec);
        let build_info = gauge("metre_build_info", "The version of metre, and the Lua it was built for");
        in_own(build_info.labels(&["version", "lua"])).set(&[env!("CARGO_PKG_VERSION"), lua], 1_u64);
        let refused = counter("metre_refused_values", "Values from modules that were not taken");
        let internal_errors = counter(
            "metre_internal_errors",
            "Faults in metre that it has contained, in the whole process",
        );
        let last_collection = gauge(
            "metre_last_collection_timestamp_seconds",
            "When Prosody last collected, in seconds since the epoch",
        );
        let blocked = gauge(
            "metre_event_loop_blocked_seconds",
            "How long Prosody's event loop has not answered by now",
        );
        let mut families = Refreshed {
            families: in_own(gauge("metre_families", "Metric families in the store").labels(&["type"])),
            series: in_own(gauge("metre_series", "Series in the store").labels(&["type"])),
            refused: in_own(refused.labels(&["reason"])),
            internal_errors: in_own(internal_errors.labels(&["at"])),
            last_collection: in_own(last_collection.unit("seconds")),
            blocked: OwnFamily::register(of_threads, blocked.unit("seconds")),
            policy: PolicyMetrics::register(own, store.policy().limits),
        };
        let process = process.then(|| ProcessMetrics::register(store));
        Refused::ALL
            .iter()
            .for_each(|why| families.refused.add(&[why.name()], 0));
        OwnMetrics {
            store: Arc::clone(store),
            event_loop: Arc::clone(event_loop),
            families: Mutex::new(families),
            process: Mutex::new(process),
        }
    }

    /// Brings them up to date, on one of metre's threads. If another thread is at it right now, that will do.
    pub(super) fn update(&self) {
        self.update_all(Some(RECOUNT));
    }

    /// The same on Prosody's thread, which counts no descriptors where that takes long, unless it is `alone`: then rarely.
    pub(super) fn update_for_prosody(&self, alone: bool) {
        self.update_all(alone.then_some(RECOUNT_ALONE));
    }

    /// The same in a process that forked off from the one with metre's threads: those of the process alone, since all others
    /// need what these threads may have locked.
    pub(super) fn update_in_fork(&self) {
        self.with_process(|process| process.update(Some(RECOUNT_ALONE)));
    }

    /// Counts descriptors for the pages that Prosody's thread makes, where that takes long. For metre's threads, each second.
    pub(super) fn tick(&self) {
        self.with_process(|process| process.count_for_others(RECOUNT));
    }

    fn with_process(&self, update: impl FnOnce(&mut ProcessMetrics)) {
        if let Some(Some(process)) = self.process.try_lock().as_deref_mut() {
            update(process);
        }
    }

    fn update_all(&self, recount: Option<Duration>) {
        self.with_process(|process| process.update(recount));
        let Some(mut families) = self.families.try_lock() else {
            return;
        };
        let (mut family_count, mut series_count) = ([0_u64; Kind::ALL.len()], [0_usize; Kind::ALL.len()]);
        for family in self.store.families().values() {
            family_count[family.kind as usize] += 1;
            series_count[family.kind as usize] += family.series_count();
            families.policy.update_family(family);
        }
        families.policy.update(&self.store);
        for kind in Kind::ALL {
            families.families.set(&[kind.name()], family_count[kind as usize]);
            families.series.set(&[kind.name()], series_count[kind as usize]);
        }
        for why in Refused::ALL {
            families.refused.raise(&[why.name()], self.store.refused(why));
        }
        for (site, count) in panics::counts() {
            families.internal_errors.raise(&[site], count);
        }
        if let Some(time) = self.event_loop.last_collection() {
            families.last_collection.set(&[], time);
        }
        families.blocked.set(&[], self.event_loop.blocked().as_secs_f64());
    }
}
