//! One push: from the store to the statsd server.

use super::notices::{Level, Notices};
use super::push_metrics::{DroppedLines, PushMetrics};
use super::self_metrics::SelfMetrics;
use super::worker::Push;
use crate::encode::statsd::{self, Dropped, Encoder, FamilyState, Histograms};
use crate::model::Kind;
use crate::snapshot::changes::{Changes, News};
use crate::snapshot::reservoir::Reservoirs;
use crate::snapshot::{FamilySnapshot, Series};
use crate::store::{Families, Family, Journal, Store};
use crate::transport::{Added, Endpoint, Event, Link, Packer, Progress};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is pushed, where to, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct PushOptions {
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
    /// What lines look like.
    pub lines: statsd::Options,
}

impl PushOptions {
    /// Where to and how often, for the log.
    pub(super) fn greeting(&self) -> String {
        format!(
            "Pushing to the statsd server {} every {} s",
            self.server,
            self.flush_interval.as_secs_f64()
        )
    }

    /// Whether samples are sent one by one.
    pub fn samples(&self) -> bool {
        self.lines.histograms != Histograms::Buckets
    }
}

/// How much of a name is logged, in characters.
const LONGEST_NAME: usize = 100;

/// Waits for a time, or less. False if there is none left.
pub(super) type Wait<'a> = &'a mut dyn FnMut(Duration) -> bool;

/// Pushes to one server, and remembers what has been sent.
pub(super) struct Pusher {
    store: Arc<Store>,
    options: PushOptions,
    out: Out,
    encoder: Encoder,
    /// By the family's address.
    families: HashMap<usize, Tracked>,
    /// Families that were replaced and that still have something to be sent, the oldest last.
    leaving: Vec<Arc<Family>>,
    reservoirs: Option<Reservoirs>,
    /// How many sockets had been opened when all gauges were sent.
    connections: u64,
    notices: Arc<Notices>,
    self_metrics: Arc<SelfMetrics>,
}

struct Tracked {
    changes: Changes,
    state: FamilyState,
}

/// Where lines go.
struct Out {
    packer: Packer,
    link: Link,
    metrics: PushMetrics,
    dropped: DroppedLines,
    /// The first name that was dropped for each cause, to be logged.
    first_dropped: Vec<(Dropped, Vec<u8>)>,
}

impl statsd::Sink for Out {
    fn lines(&mut self, lines: &[u8]) {
        match self.packer.add(lines, self.link.limit()) {
            Added::Fits => {}
            Added::Full(datagram) => self.link.push(datagram),
            Added::TooLong => {
                let name = lines.split(|byte| *byte == b':').next().unwrap_or_default();
                self.dropped(Dropped::TooLong, name);
            }
        }
    }

    fn dropped(&mut self, cause: Dropped, name: &[u8]) {
        if self.dropped[cause as usize] == 0 {
            self.first_dropped.push((cause, name.to_owned()));
        }
        self.dropped[cause as usize] += 1;
    }
}

impl Out {
    /// Sends the datagrams that are full. Breaks if that can't be done now.
    fn drive(&mut self, wait: Wait<'_>) -> ControlFlow<()> {
        loop {
            match self.link.drive() {
                Progress::Idle => return ControlFlow::Continue(()),
                Progress::Busy(pause) => {
                    self.metrics.show_link(&self.link);
                    if !wait(pause) {
                        return ControlFlow::Break(());
                    }
                }
                Progress::Down(_) => return ControlFlow::Break(()),
            }
        }
    }

    /// Sends the last datagram, too.
    fn finish(&mut self, wait: Wait<'_>) -> ControlFlow<()> {
        if let Some(datagram) = self.packer.take() {
            self.link.push(datagram);
        }
        self.drive(wait)
    }
}

impl Pusher {
    /// One that has sent nothing yet. Opens nothing; registers metre's own families.
    /// Those are in `own`.
    pub(super) fn new(
        store: &Arc<Store>,
        own: &Store,
        options: PushOptions,
        notices: &Arc<Notices>,
        self_metrics: &Arc<SelfMetrics>,
    ) -> Pusher {
        let per_push = f64::from(options.max_samples_per_second) * options.flush_interval.as_secs_f64();
        Pusher {
            store: Arc::clone(store),
            out: Out {
                packer: Packer::new(options.server.framing()),
                link: Link::new(&options.server, options.max_datagram, options.resolve_interval),
                metrics: PushMetrics::register(own),
                dropped: Default::default(),
                first_dropped: Vec::new(),
            },
            encoder: Encoder::new(options.lines.clone()),
            families: HashMap::new(),
            leaving: Vec::new(),
            reservoirs: options.samples().then(|| Reservoirs::new(per_push.ceil() as usize)),
            connections: 0,
            notices: Arc::clone(notices),
            self_metrics: Arc::clone(self_metrics),
            options,
        }
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
        let pushed = |family: &&Arc<Family>| !family.own || self.options.self_metrics;
        let (gauges, others): (Vec<_>, Vec<_>) = families
            .values()
            .filter(pushed)
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
        let Pusher {
            encoder,
            out,
            reservoirs,
            ..
        } = self;
        let Tracked { changes, state } = self.families.entry(address(family)).or_insert_with(|| Tracked {
            state: encoder.family(family),
            changes: Changes::new(Arc::clone(family)),
        });
        let tell = |number: usize, series: &Series<'_>, news: News<'_>| {
            encoder.write(family, state, number, series, &news, out);
            match out.link.is_idle() {
                true => ControlFlow::Continue(()),
                false => out.drive(wait),
            }
        };
        match gauges {
            Some(snapshot) => changes.tell_gauges(snapshot, again, tell),
            None => changes.tell_totals(again, reservoirs.as_mut(), tell),
        }
    }

    /// Sends the last of the families that were replaced, and gives their names back: the families that are there now
    /// may want the same ones. Returns those.
    fn push_replaced(&mut self, wait: Wait<'_>) -> ControlFlow<(), Arc<Families>> {
        loop {
            while let Some(family) = self.leaving.last().map(Arc::clone) {
                if !family.own || self.options.self_metrics {
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

    /// Tells the operator what happened on the way.
    fn report(&mut self) {
        let server = &self.options.server;
        for event in self.out.link.events() {
            match event {
                Event::Broke(why) => self.notices.add(
                    Level::Warn,
                    format!("Cannot reach the statsd server {server}: {why}; counts are kept until it is back"),
                ),
                Event::TooLong(name) => self.out.first_dropped.push((Dropped::TooLong, name)),
                Event::Healed(after) => self.notices.add(
                    Level::Info,
                    format!("The statsd server {server} is back after {:.1} s", after.as_secs_f64()),
                ),
            }
        }
        self.report_dropped();
    }

    /// Tells the operator, once for each cause, what is not sent.
    fn report_dropped(&mut self) {
        for (cause, name) in self.out.first_dropped.drain(..) {
            let mut name = String::from_utf8_lossy(&name).into_owned();
            if let Some((at, _)) = name.char_indices().nth(LONGEST_NAME) {
                name.replace_range(at.., "…");
            }
            let message = format!(
                "Not sent to statsd: {name}, since {}; more of this kind are only counted, in metre_statsd_dropped_lines",
                cause.reason()
            );
            self.notices.add(Level::Warn, message);
        }
    }
}

impl Push for Pusher {
    fn interval(&self) -> Duration {
        self.options.flush_interval
    }

    fn collect_interval(&self) -> Duration {
        self.options.collect_interval
    }

    fn has_samples(&self) -> bool {
        self.reservoirs.is_some()
    }

    fn take_samples(&mut self) {
        if let Some(reservoirs) = &mut self.reservoirs {
            reservoirs.fill(self.store.journal().and_then(Journal::ring));
            self.out.metrics.show_samples(reservoirs.kept());
        }
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
            self.self_metrics.update();
        }
        self.out.link.begin(start);
        let complete = self.push_all(wait).is_continue();
        self.report();
        let Out {
            metrics, link, dropped, ..
        } = &mut self.out;
        metrics.update(link, dropped, start.elapsed());
        complete
    }

    fn close(&mut self, complete: bool) {
        self.out.link.close();
        let server = &self.options.server;
        if !complete {
            self.notices.add(
                Level::Warn,
                format!("Stopped before everything was sent to the statsd server {server}; the rest is lost"),
            );
        }
    }
}

fn address(family: &Arc<Family>) -> usize {
    Arc::as_ptr(family) as usize
}
