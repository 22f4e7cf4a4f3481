//! How many series all families of a store have together, and how many they may have.

use crate::policy::Limits;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The counts of one store. Prosody's thread changes them; any thread may read.
pub(super) struct Budget {
    pub(super) limits: Limits,
    series: AtomicUsize,
    /// Series that have gone, and whose end a pusher has still to report.
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

    /// Whether no further series may be made. Series that have gone but are not reported yet, since a statsd server is
    /// away for long, are limited to the same number.
    pub(super) fn is_spent(&self) -> bool {
        let most = self.limits.max_series;
        self.series.load(Relaxed) >= most || self.leaving.load(Relaxed) >= most
    }

    /// Counts a series.
    pub(super) fn take(&self) {
        self.series.fetch_add(1, Relaxed);
    }

    /// So many series have gone.
    pub(super) fn give_back(&self, series: usize) {
        self.series.fetch_sub(series, Relaxed);
    }

    /// The records of so many series that have gone are still needed.
    pub(super) fn take_leaving(&self, series: usize) {
        self.leaving.fetch_add(series, Relaxed);
    }

    /// So many such records are no longer needed.
    pub(super) fn give_back_leaving(&self, series: usize) {
        self.leaving.fetch_sub(series, Relaxed);
    }

    /// Counts a series with quantiles; false, without counting, if no further one may be made.
    pub(super) fn take_quantiles(&self) -> bool {
        let free = self.with_quantiles.load(Relaxed) < self.limits.max_quantile_series;
        if free {
            self.with_quantiles.fetch_add(1, Relaxed);
        }
        free
    }

    /// So many series with quantiles have gone.
    pub(super) fn give_back_quantiles(&self, series: usize) {
        self.with_quantiles.fetch_sub(series, Relaxed);
    }
}
