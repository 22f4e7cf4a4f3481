//! How many series there are in the memory of all families together, and how many may be.

use crate::policy::Limits;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts of one store. Prosody's thread changes them, anybody reads.
pub(super) struct Budget {
    pub(super) limits: Limits,
    series: AtomicUsize,
    /// Those that have gone, while a pusher has still to tell the last of them.
    leaving: AtomicUsize,
    with_quantiles: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Budget {
        Budget {
            limits,
            series: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            with_quantiles: AtomicUsize::new(0),
        }
    }

    /// Whether there may be no further series. While a statsd server is away for long, there may be as many again that have gone.
    pub(super) fn is_spent(&self) -> bool {
        let most = self.limits.max_series;
        self.series.load(Relaxed) >= most || self.leaving.load(Relaxed) >= most
    }

    /// Counts a series.
    pub(super) fn take(&self) {
        self.series.fetch_add(1, Relaxed);
    }

    /// These series have gone.
    pub(super) fn give_back(&self, series: usize) {
        self.series.fetch_sub(series, Relaxed);
    }

    /// Their memory is still needed.
    pub(super) fn take_leaving(&self, series: usize) {
        self.leaving.fetch_add(series, Relaxed);
    }

    /// It no longer is.
    pub(super) fn give_back_leaving(&self, series: usize) {
        self.leaving.fetch_sub(series, Relaxed);
    }

    /// Counts a series with quantiles; false if there may be no further one.
    pub(super) fn take_quantiles(&self) -> bool {
        let free = self.with_quantiles.load(Relaxed) < self.limits.max_quantile_series;
        if free {
            self.with_quantiles.fetch_add(1, Relaxed);
        }
        free
    }

    /// These series with quantiles have gone.
    pub(super) fn give_back_quantiles(&self, series: usize) {
        self.with_quantiles.fetch_sub(series, Relaxed);
    }
}
