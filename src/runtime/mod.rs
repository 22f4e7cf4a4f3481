//! When the provider's threads run, and what they do.
//!
//! A provider is made before Prosody forks into the background and also in prosodyctl, so making one starts nothing
//! (`docs/design.md`, "Life cycle").

mod bell;
mod collections;
mod event_loop;
mod exporter;
mod metrics;
mod notices;
pub mod panics;
mod push;
mod thread;

#[cfg(all(test, feature = "model"))]
mod interleavings;

pub use collections::Collecting;
pub use exporter::{ExportOptions, Probes};
pub use notices::Level;
pub use push::statsd::StatsdOptions;

use crate::encode::exposition;
use crate::store::{Home, Store};
use bell::Bell;
use event_loop::EventLoop;
use exporter::Exporter;
use metrics::OwnMetrics;
use notices::Notices;
use push::statsd::StatsdPusher;
use push::{Destination, Worker, FLUSH};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long [`Runtime::stop`] takes at most.
const STOP: Duration = Duration::from_secs(2);

/// What a provider's runtime is made with. By default it pushes nothing, serves nothing and keeps no metrics of metre's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// What is pushed to a statsd server, if there is one.
    pub statsd: Option<StatsdOptions>,
    /// What is served over HTTP, if anything is.
    pub export: Option<ExportOptions>,
    /// What pages look like.
    pub page: exposition::Options,
    /// Whether metre's own metrics are there.
    pub self_metrics: bool,
    /// Whether those of the process are.
    pub process_metrics: bool,
}

/// The life cycle of one provider.
pub struct Runtime {
    /// The process of its threads, as long as there may be any. In one that forked off from it they don't exist, and may have locks for
    /// ever: so there nothing is touched that they share.
    home: Arc<Home>,
    running: AtomicBool,
    /// One for each destination that values are pushed to.
    workers: Vec<Worker>,
    exporter: Option<Exporter>,
    event_loop: Arc<EventLoop>,
    own_metrics: Arc<OwnMetrics>,
    bell: Arc<Bell>,
    notices: Arc<Notices>,
    /// What is logged at the start.
    greetings: Vec<String>,
}

impl Runtime {
    /// One that hasn't been started. Has no effect but that metre's own metrics are in the store. `lua` is the version of Lua
    /// that is shown there.
    pub fn new(store: &Arc<Store>, options: Options, lua: &str) -> Runtime {
        let nowhere = Store::new();
        let own: &Store = if options.self_metrics { store } else { &nowhere };
        let has_threads = options.statsd.is_some() || options.export.is_some();
        let of_threads = if has_threads { own } else { &nowhere };
        let bell = Arc::new(Bell::default());
        let notices = Arc::new(Notices::new(&bell));
        let event_loop = Arc::new(EventLoop::new(&bell, &notices, of_threads));
        let process = options.process_metrics;
        let own_metrics = OwnMetrics::register(store, own, of_threads, process, &event_loop, lua);
        let own_metrics = Arc::new(own_metrics);
        let mut destinations: Vec<Box<dyn Destination>> = Vec::new();
        if let Some(statsd) = options.statsd {
            destinations.push(Box::new(StatsdPusher::new(store, own, statsd, &notices, &own_metrics)));
        }
        let greetings = destinations.iter().map(|destination| destination.greeting()).collect();
        let workers = destinations
            .into_iter()
            .map(|destination| Worker::new(destination, &notices, &event_loop))
            .collect();
        let exporter = options.export.map(|export| {
            let parts = exporter::Parts {
                store: Arc::clone(store),
                page: options.page,
                own_metrics: Arc::clone(&own_metrics),
                event_loop: Arc::clone(&event_loop),
                notices: Arc::clone(&notices),
            };
            Exporter::new(export, parts, own)
        });
        Runtime {
            home: Arc::clone(store.home()),
            running: AtomicBool::new(false),
            workers,
            exporter,
            event_loop,
            own_metrics,
            bell,
            notices,
            greetings,
        }
    }

    /// Starts in this process; has no effect if it runs already. Returns a descriptor that is readable when somebody should
    /// call [`Runtime::answer`], if there are any threads.
    ///
    /// # Errors
    /// When the system has no descriptors or threads left, or in a process that forked off from the one it runs in.
    pub fn start(&self) -> Result<Option<RawFd>, String> {
        if self.home.is_elsewhere() {
            return Err("it runs in the process that this one forked off from".to_owned());
        }
        if self.is_running() {
            return Ok(None);
        }
        if self.workers.is_empty() && self.exporter.is_none() {
            self.home.enter();
            self.running.store(true, Relaxed);
            return Ok(None);
        }
        let descriptor = self.bell.open().map_err(|why| format!("no socket pair: {why}"))?;
        // Before there is a thread that may have a lock.
        self.home.enter();
        if let Err(why) = self.start_threads() {
            self.end_threads();
            self.bell.close();
            return Err(why);
        }
        self.running.store(true, Relaxed);
        for greeting in &self.greetings {
            self.notices.add(Level::Info, greeting.clone());
        }
        Ok(Some(descriptor))
    }

    fn start_threads(&self) -> Result<(), String> {
        // The exporter needs more, and is quick to stop.
        self.exporter.as_ref().map_or(Ok(()), Exporter::start)?;
        self.workers.iter().try_for_each(Worker::start)
    }

    /// Stops the threads, all at the same time. Returns which have not ended in time.
    fn stop_threads(&self) -> Vec<String> {
        let limit = Instant::now() + STOP;
        self.workers.iter().for_each(Worker::begin_stop);
        if let Some(exporter) = &self.exporter {
            exporter.begin_stop();
        }
        let mut late = Vec::new();
        if self.exporter.as_ref().is_some_and(|exporter| !exporter.stop_by(limit)) {
            late.push("The exporter has not ended in time".to_owned());
        }
        late.extend(self.workers.iter().filter_map(|worker| worker.stop_by(limit).err()));
        late
    }

    /// The same. Those that are late keep their home.
    fn end_threads(&self) -> Vec<String> {
        let late = self.stop_threads();
        if late.is_empty() {
            self.home.leave();
        }
        late
    }

    /// Stops, after the last values have been sent; takes two seconds at most. May be called again and again.
    pub fn stop(&self) {
        if self.is_running() {
            self.event_loop.is_unwatched();
            for message in self.end_threads() {
                self.notices.add(Level::Warn, message);
            }
            self.bell.close();
            self.running.store(false, Relaxed);
        }
    }

    /// Whether it runs in this process.
    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed) && self.home.is_here()
    }

    /// From now on somebody watches the descriptor. With `manual` collections are run only when somebody asks.
    pub fn is_watched(&self, manual: bool) {
        if self.is_running() {
            self.event_loop.is_watched(manual);
        }
    }

    /// The descriptor was readable. Whether a collection has to be run, after which [`Runtime::collected`] is to be called.
    pub fn answer(&self) -> bool {
        self.is_running() && self.event_loop.answer()
    }

    /// A collection has ended, whoever asked for it.
    pub fn collected(&self, succeeded: bool) {
        if !self.home.is_elsewhere() {
            self.event_loop.collected(succeeded);
        }
    }

    /// Brings metre's own metrics up to date, for a page. For Prosody's thread.
    pub fn update_own_metrics(&self) {
        if self.home.is_elsewhere() {
            self.own_metrics.update_in_fork();
        } else {
            let has_threads = self.exporter.is_some() || !self.workers.is_empty();
            self.own_metrics.update_for_prosody(!(has_threads && self.is_running()));
        }
    }

    /// Hands everything pending to where it goes, in a second at most. Nothing is ever pending without a destination.
    ///
    /// # Errors
    /// When there was more than could be sent, or the threads don't run in this process.
    pub fn flush(&self) -> Result<(), String> {
        if !self.is_running() {
            return self.workers.first().map_or(Ok(()), |worker| Err(worker.does_not_run()));
        }
        let limit = Instant::now() + FLUSH;
        // All are asked before any is waited for, and each is waited for, whatever has become of another one.
        let asked: Vec<u64> = self.workers.iter().map(Worker::begin_flush).collect();
        let ends = self
            .workers
            .iter()
            .zip(asked)
            .map(|(worker, number)| worker.end_flush(number, limit));
        ends.fold(Ok(()), Result::and)
    }

    /// What there is to log.
    pub fn notices(&self) -> Vec<(Level, String)> {
        match self.home.is_elsewhere() {
            true => Vec::new(),
            false => self.notices.take(),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
        // In a process that forked off, what the threads share may be locked for ever.
        if self.home.is_elsewhere() {
            std::mem::forget(self.exporter.take());
            std::mem::forget(std::mem::take(&mut self.workers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_stops_as_often_as_asked() {
        let options = Options {
            self_metrics: true,
            process_metrics: true,
            ..Options::default()
        };
        let runtime = Runtime::new(&Arc::new(Store::new()), options, "none");
        assert!(!runtime.is_running());
        runtime.stop();
        for _ in 0..2 {
            runtime.start().unwrap();
            runtime.start().unwrap();
            assert!(runtime.is_running());
            runtime.stop();
            runtime.stop();
            assert!(!runtime.is_running());
        }
    }
}
