//! A statsd server as a destination: what is new in the store becomes lines, and these become datagrams.

mod out;

use super::{Destination, Names, Wait};
use crate::encode::statsd::{self, Dropped, Encoder, FamilyOnWire, Histograms};
use crate::model::Kind;
use crate::runtime::metrics::OwnMetrics;
use crate::runtime::notices::Notices;
use crate::snapshot::changes::{Changes, News};
use crate::snapshot::reservoir::Reservoirs;
use crate::snapshot::{FamilySnapshot, Series};
use crate::store::{Families, Family, Journal, Store};
use crate::transport::statsd::Endpoint;
use out::Out;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is pushed, where to, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsdOptions {
    /// The server.
    pub server: Endpoint,
    /// The time between two pushes.
    pub flush_interval: Duration,
    /// How old the last collection may be before Prosody is asked for one, should it collect only when somebody asks.
    pub collect_interval: Duration,
    /// How long a datagram may be, in bytes.
    pub max_datagram: usize,
    /// How often the server's name is looked up.
    pub resolve_interval: Duration,
    /// How many samples of a histogram are sent one by one, in a second.
    pub max_samples_per_second: u32,
    /// Whether metre's own metrics are pushed as well.
    pub self_metrics: bool,
    /// Whether families whose labels name other servers are pushed as well.
    pub remotes: bool,
    /// What lines look like.
    pub lines: statsd::Options,
}

impl StatsdOptions {
    /// Whether samples are sent one by one.
    pub fn samples(&self) -> bool {
        self.lines.histograms != Histograms::Buckets
    }
}

/// What the log and the system call the worker.
static NAMES: Names = Names {
    thread: "metre-statsd",
    worker: "the statsd pusher",
    late: "The statsd pusher has not ended in time; what it had not sent by then may be lost",
    push: "a statsd push",
    between: "the statsd pusher's samples",
};

/// How often samples are taken out of their ring.
const TICK: Duration = Duration::from_millis(100);

/// Pushes to one server, and remembers what has been sent.
pub(in crate::runtime) struct StatsdPusher {
    store: Arc<Store>,
    options: StatsdOptions,
    out: Out,
    encoder: Encoder,
    /// By the family's address.
    families: HashMap<usize, Tracked>,
    /// Families that were replaced and that still have something to be sent, the oldest last.
    leaving: Vec<Arc<Family>>,
    reservoirs: Option<Reservoirs>,
    /// How many sockets had been opened when all gauges were sent.
    connections: u64,
    own_metrics: Arc<OwnMetrics>,
}

struct Tracked {
    changes: Changes,
    state: FamilyOnWire,
}

impl StatsdPusher {
    /// A pusher that has sent nothing yet. Opens nothing; registers its metrics in `own`.
    pub(in crate::runtime) fn new(
        store: &Arc<Store>,
        own: &Store,
        options: StatsdOptions,
        notices: &Arc<Notices>,
        own_metrics: &Arc<OwnMetrics>,
    ) -> StatsdPusher {
        let per_push = f64::from(options.max_samples_per_second) * options.flush_interval.as_secs_f64();
        StatsdPusher {
            store: Arc::clone(store),
            out: Out::new(&options, own, notices),
            encoder: Encoder::new(options.lines.clone()),
            families: HashMap::new(),
            leaving: Vec::new(),
            reservoirs: options.samples().then(|| Reservoirs::new(per_push.ceil() as usize)),
            connections: 0,
            own_metrics: Arc::clone(own_metrics),
            options,
        }
    }

    fn is_pushed(&self, family: &Family) -> bool {
        (!family.own || self.options.self_metrics) && (!family.names_others || self.options.remotes)
    }

    fn push_all(&mut self, wait: Wait<'_>) -> ControlFlow<()> {
        let pass = self.store.journal().map(Journal::begin_pass);
        self.push_each(wait)?;
        // What has gone by its beginning needn't be kept any longer.
        if let (Some(journal), Some(pass)) = (self.store.journal(), pass) {
            journal.end_pass(pass);
        }
        ControlFlow::Continue(())
    }

    fn push_each(&mut self, wait: Wait<'_>) -> ControlFlow<()> {
        // Before anything new is made: so not more than this waits while the server is away.
        self.out.drive(wait)?;
        let connections = self.out.link.traffic().connections;
        // A server that was away may have forgotten its gauges.
        let again = self.connections > 0 && self.connections != connections;

        let families = self.push_replaced(wait)?;
        let (gauges, others): (Vec<_>, Vec<_>) = families
            .values()
            .filter(|family| self.is_pushed(family))
            .partition(|family| family.kind == Kind::Gauge);
        // All of them at once, since modules set several in one collection.
        let snapshots: Vec<FamilySnapshot> = self.store.consistently(|| {
            let snapshot = |family: &&Arc<Family>| FamilySnapshot::of(family);
            gauges.iter().map(snapshot).collect()
        });
        for (family, snapshot) in gauges.into_iter().zip(snapshots) {
            self.push_family(family, Some(&snapshot), again, wait)?;
        }
        for family in others {
            self.push_family(family, None, again, wait)?;
        }
        // At least one, since by now there may be one that wasn't there at the beginning.
        self.connections = connections.max(1);
        if let Some(reservoirs) = &mut self.reservoirs {
            reservoirs.sweep();
        }
        self.out.finish(wait)
    }

    /// Gauges from a snapshot of them all, the rest as it is by now.
    fn push_family(
        &mut self,
        family: &Arc<Family>,
        gauges: Option<&FamilySnapshot>,
        again: bool,
        wait: Wait<'_>,
    ) -> ControlFlow<()> {
        let StatsdPusher {
            encoder,
            out,
            reservoirs,
            ..
        } = self;
        let Tracked { changes, state } = self.families.entry(address(family)).or_insert_with(|| Tracked {
            state: encoder.family(family),
            changes: Changes::new(Arc::clone(family)),
        });
        let report = |number: usize, series: &Series<'_>, news: News<'_>| {
            encoder.write(family, state, number, series, &news, out);
            match out.link.is_idle() {
                true => ControlFlow::Continue(()),
                false => out.drive(wait),
            }
        };
        match gauges {
            Some(snapshot) => changes.report_gauges(snapshot, again, report),
            None => changes.report_totals(again, reservoirs.as_mut(), report),
        }
    }

    /// Sends the last of the families that were replaced, and gives their names back: the families that are there now
    /// may want the same ones. Returns those.
    fn push_replaced(&mut self, wait: Wait<'_>) -> ControlFlow<(), Arc<Families>> {
        loop {
            while let Some(family) = self.leaving.last().map(Arc::clone) {
                if self.is_pushed(&family) {
                    let gauges = (family.kind == Kind::Gauge).then(|| FamilySnapshot::of(&family));
                    self.push_family(&family, gauges.as_ref(), false, wait)?;
                }
                self.leaving.pop();
                self.forget(address(&family));
            }
            let (replaced, families) = self.store.take_replaced();
            for _ in 0..replaced.left_out {
                statsd::Sink::dropped(&mut self.out, Dropped::Replaced, b"a family");
            }
            if replaced.left_out > 0 {
                let known: HashSet<usize> = families.values().chain(&replaced.families).map(address).collect();
                let gone: Vec<usize> = self.families.keys().copied().filter(|at| !known.contains(at)).collect();
                gone.into_iter().for_each(|at| self.forget(at));
            }
            if replaced.families.is_empty() {
                return ControlFlow::Continue(families);
            }
            self.leaving.extend(replaced.families.into_iter().rev());
        }
    }

    /// Forgets what was sent of the family at this address, and gives its names back.
    fn forget(&mut self, at: usize) {
        if let Some(Tracked { changes, state }) = self.families.remove(&at) {
            let snapshot = FamilySnapshot::of(changes.family());
            self.encoder.forget(changes.family(), state, &snapshot);
        }
    }
}

impl Destination for StatsdPusher {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn greeting(&self) -> String {
        let seconds = self.options.flush_interval.as_secs_f64();
        format!("Pushing to the statsd server {} every {seconds} s", self.options.server)
    }

    fn interval(&self) -> Duration {
        self.options.flush_interval
    }

    fn collect_interval(&self) -> Duration {
        self.options.collect_interval
    }

    fn between_pushes(&mut self) -> Option<Duration> {
        self.own_metrics.tick();
        let reservoirs = self.reservoirs.as_mut()?;
        reservoirs.fill(self.store.journal().and_then(Journal::ring));
        self.out.metrics.show_samples(reservoirs.kept());
        Some(TICK)
    }

    fn retry_at(&self) -> Option<Instant> {
        self.out.link.retry_at()
    }

    fn problem(&self) -> Option<&str> {
        self.out.link.problem()
    }

    fn hurry(&mut self) {
        self.out.link.hurry();
    }

    fn push(&mut self, wait: Wait<'_>) -> bool {
        let start = Instant::now();
        if self.options.self_metrics {
            self.own_metrics.update();
        }
        self.out.link.begin(start);
        let complete = self.push_all(wait).is_continue();
        self.out.report(start);
        complete
    }

    fn close(&mut self, complete: bool) {
        self.out.close(complete);
    }
}

fn address(family: &Arc<Family>) -> usize {
    Arc::as_ptr(family) as usize
}
