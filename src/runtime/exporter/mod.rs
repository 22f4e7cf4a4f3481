//! The exporter: its threads, and how they end.

mod desk;
mod log;
mod page;
mod patience;
mod renderer;
mod routes;
mod site;

pub use routes::Probes;

use super::collections::Collecting;
use super::event_loop::EventLoop;
use super::metrics::{ExporterMetrics, OwnMetrics};
use super::notices::Notices;
use super::thread::{survive, Thread};
use crate::encode::exposition;
use crate::store::Store;
use crate::sync::Mutex;
use crate::transport::http;
use log::Log;
use renderer::{Renderer, Source};
use site::Pages;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::LocalSet;

/// How long a page that is being made may wait for the clients that fetch it, in all. With this, one that reads 300 MB a second costs
/// little memory, however large the page.
const PATIENCE: Duration = Duration::from_millis(250);

/// What is served, where, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// The server.
    pub http: http::Options,
    /// When collections are asked for.
    pub collecting: Collecting,
    /// Who may ask the probes.
    pub probes: Probes,
}

/// What an exporter works with.
pub(super) struct Parts {
    pub(super) store: Arc<Store>,
    pub(super) page: exposition::Options,
    pub(super) own_metrics: Arc<OwnMetrics>,
    pub(super) event_loop: Arc<EventLoop>,
    pub(super) notices: Arc<Notices>,
}

/// An exporter and, once started, its threads.
pub(super) struct Exporter {
    options: ExportOptions,
    parts: Parts,
    metrics: Arc<ExporterMetrics>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: watch::Sender<bool>,
    threads: [Thread; 2],
}

impl Exporter {
    /// One that has not been started. Its metrics are in `own`.
    pub(super) fn new(options: ExportOptions, parts: Parts, own: &Store) -> Exporter {
        Exporter {
            options,
            parts,
            metrics: Arc::new(ExporterMetrics::register(own)),
            running: Mutex::new(None),
        }
    }

    /// Starts the threads, unless they run.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left.
    pub(super) fn start(&self) -> Result<(), String> {
        let mut running = self.running.lock();
        if running.is_some() {
            return Ok(());
        }
        let reactor = Builder::new_current_thread().enable_io().enable_time().build();
        let reactor = reactor.map_err(|why| format!("no event loop for the exporter: {why}"))?;
        let Parts {
            store,
            page,
            own_metrics,
            event_loop,
            notices,
        } = &self.parts;
        let (renderer, render_thread) = Renderer::start(Source {
            store: Arc::clone(store),
            page: *page,
            own_metrics: Arc::clone(own_metrics),
            metrics: Arc::clone(&self.metrics),
            notices: Arc::clone(notices),
            patience: PATIENCE,
        })?;
        let (stop, stopping) = watch::channel(false);
        let (options, collecting, probes) = (self.options.http.clone(), self.options.collecting, self.options.probes);
        let (event_loop, notices, metrics) = (Arc::clone(event_loop), Arc::clone(notices), Arc::clone(&self.metrics));
        let (store, own_metrics) = (Arc::clone(store), Arc::clone(own_metrics));
        let serve = move || {
            survive(&notices, "the listener", || {
                let site = Pages {
                    renderer: renderer.clone(),
                    store: Arc::clone(&store),
                    event_loop: Arc::clone(&event_loop),
                    own_metrics: Arc::clone(&own_metrics),
                    collecting,
                    probes,
                    metrics: Arc::clone(&metrics),
                    log: Log::new(Arc::clone(&notices)),
                };
                let serve = http::serve(options.clone(), Rc::new(site), stopping.clone());
                // What is left of it ends here, too: sockets and tasks.
                LocalSet::new().block_on(&reactor, serve);
            });
        };
        *running = Some(Running {
            threads: [Thread::start("metre-http", serve)?, render_thread],
            stop,
        });
        Ok(())
    }

    /// Asks the threads to end: answers under way get a second.
    pub(super) fn begin_stop(&self) {
        if let Some(running) = &*self.running.lock() {
            running.stop.send_replace(true);
        }
    }

    /// Waits for their end. False if they have not ended by then; they will as soon as the system lets them.
    pub(super) fn stop_by(&self, limit: Instant) -> bool {
        let running = self.running.lock().take();
        let ended = |thread: Thread| thread.join_by(limit);
        running.is_none_or(|running| running.threads.map(ended) == [true; 2])
    }
}
