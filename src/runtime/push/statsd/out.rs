//! Where the lines of a push go: into datagrams, these into the link, and what can't be sent into counts and the log.

use super::StatsdOptions;
use crate::encode::statsd::{self, Dropped};
use crate::runtime::metrics::{DroppedLines, StatsdMetrics};
use crate::runtime::notices::{Level, Notices};
use crate::runtime::push::Wait;
use crate::store::Store;
use crate::transport::statsd::{Added, Endpoint, Event, Link, Packer, Progress};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// How much of a name is logged, in characters.
const LONGEST_NAME: usize = 100;

/// The way to one server.
pub(super) struct Out {
    server: Endpoint,
    packer: Packer,
    pub(super) link: Link,
    pub(super) metrics: StatsdMetrics,
    dropped: DroppedLines,
    /// The first name that was dropped for each cause, to be logged.
    first_dropped: Vec<(Dropped, Vec<u8>)>,
    notices: Arc<Notices>,
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
    /// A way that nothing has gone yet; opens nothing. The pusher's metrics are registered in `own`.
    pub(super) fn new(options: &StatsdOptions, own: &Store, notices: &Arc<Notices>) -> Out {
        Out {
            server: options.server.clone(),
            packer: Packer::new(options.server.framing()),
            link: Link::new(&options.server, options.max_datagram, options.resolve_interval),
            metrics: StatsdMetrics::register(own),
            dropped: Default::default(),
            first_dropped: Vec::new(),
            notices: Arc::clone(notices),
        }
    }

    /// Sends the datagrams that are full. Breaks if that can't be done now.
    pub(super) fn drive(&mut self, wait: Wait<'_>) -> ControlFlow<()> {
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
    pub(super) fn finish(&mut self, wait: Wait<'_>) -> ControlFlow<()> {
        if let Some(datagram) = self.packer.take() {
            self.link.push(datagram);
        }
        self.drive(wait)
    }

    /// Logs and counts what happened in a push that began at `start`.
    pub(super) fn report(&mut self, start: Instant) {
        let server = &self.server;
        for event in self.link.events() {
            match event {
                Event::Broke(why) => self.notices.add(
                    Level::Warn,
                    format!("Cannot reach the statsd server {server}: {why}; counts are kept until it is back"),
                ),
                Event::TooLong(name) => self.first_dropped.push((Dropped::TooLong, name)),
                Event::Healed(after) => self.notices.add(
                    Level::Info,
                    format!("The statsd server {server} is back after {:.1} s", after.as_secs_f64()),
                ),
            }
        }
        self.report_dropped();
        self.metrics.update(&self.link, &self.dropped, start.elapsed());
    }

    /// Logs, once for each cause, what is not sent.
    fn report_dropped(&mut self) {
        for (cause, name) in self.first_dropped.drain(..) {
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

    /// Closes the link, and logs if there was more to send.
    pub(super) fn close(&mut self, complete: bool) {
        self.link.close();
        let server = &self.server;
        if !complete {
            self.notices.add(
                Level::Warn,
                format!("Stopped before everything was sent to the statsd server {server}; the rest is lost"),
            );
        }
    }
}
