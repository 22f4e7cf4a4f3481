//! What metre tells of its pushes to statsd.

use super::family::{counter, gauge, times, OwnFamily};
use crate::encode::statsd::Dropped;
use crate::store::Store;
use crate::transport::statsd::Link;
use std::time::Duration;

/// How many lines were dropped, by cause.
pub(in crate::runtime) type DroppedLines = [u64; Dropped::ALL.len()];

/// The pusher's own metrics.
pub(in crate::runtime) struct StatsdMetrics {
    datagrams: OwnFamily,
    bytes: OwnFamily,
    dropped: OwnFamily,
    errors: OwnFamily,
    resolve_failures: OwnFamily,
    flush_duration: OwnFamily,
    queue_bytes: OwnFamily,
    queue_samples: OwnFamily,
    up: OwnFamily,
}

impl StatsdMetrics {
    /// Registers them.
    pub(in crate::runtime) fn register(store: &Store) -> StatsdMetrics {
        let register = |spec| OwnFamily::register(store, spec);
        let dropped = counter("metre_statsd_dropped_lines", "Lines that could not be sent");
        let mut dropped = register(dropped.labels(&["cause"]));
        Dropped::ALL.iter().for_each(|cause| dropped.add(&[cause.name()], 0));
        let mut metrics = StatsdMetrics {
            datagrams: register(counter("metre_statsd_datagrams", "Datagrams that the socket has taken")),
            bytes: register(counter("metre_statsd_sent_bytes", "Bytes of these datagrams").unit("bytes")),
            dropped,
            errors: register(counter("metre_statsd_errors", "Failures to connect or to send")),
            resolve_failures: register(counter(
                "metre_statsd_resolve_failures",
                "Failed look-ups of the server's name",
            )),
            flush_duration: register(times(
                "metre_statsd_flush_duration_seconds",
                "How long the pushes took",
                &[0.001, 0.01, 0.1, 1.0, 10.0],
            )),
            queue_bytes: register(gauge("metre_statsd_queue_bytes", "Bytes of datagrams that wait").unit("bytes")),
            queue_samples: register(gauge(
                "metre_statsd_queue_samples",
                "Samples that wait to be sent one by one",
            )),
            up: register(gauge(
                "metre_statsd_up",
                "Whether the server can be reached, as far as is known",
            )),
        };
        // Before the first push.
        for gauge in [&mut metrics.up, &mut metrics.queue_bytes, &mut metrics.queue_samples] {
            gauge.set(&[], 0_u64);
        }
        metrics
    }

    /// What waits, and whether the server can be reached.
    pub(in crate::runtime) fn show_link(&mut self, link: &Link) {
        self.queue_bytes.set(&[], link.queued_bytes());
        self.up.set(&[], usize::from(link.problem().is_none()));
    }

    /// How many samples wait.
    pub(in crate::runtime) fn show_samples(&mut self, samples: usize) {
        self.queue_samples.set(&[], samples);
    }

    /// After a push that took that long.
    pub(in crate::runtime) fn update(&mut self, link: &Link, dropped: &DroppedLines, took: Duration) {
        let traffic = link.traffic();
        self.flush_duration.sample(&[], took.as_secs_f64());
        self.show_link(link);
        self.datagrams.raise(&[], traffic.datagrams);
        self.bytes.raise(&[], traffic.bytes);
        self.errors.raise(&[], traffic.errors);
        self.resolve_failures.raise(&[], traffic.resolve_failures);
        for cause in Dropped::ALL {
            let of_link = if cause == Dropped::TooLong { traffic.too_long } else { 0 };
            self.dropped.raise(&[cause.name()], dropped[cause as usize] + of_link);
        }
    }
}
