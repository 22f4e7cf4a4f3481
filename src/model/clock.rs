//! Wall-clock time, for `_created`, and time that only goes forward, for what has a duration.

use nix::time::{clock_gettime, ClockId};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the epoch, as Prosody's `util.time.now()`.
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// The creation time of a metric that starts again after `previous`. It moves forward even if the clock
/// stood still or was set back, because "if the value resets, Created MUST be set to the reset time" and a
/// scraper only sees a restart if the time changes (OpenMetrics 1.0, "Counter").
pub fn restart_after(previous: f64) -> f64 {
    let now = now();
    if now > previous {
        now
    } else {
        previous + 0.001
    }
}

/// Time that only goes forward, and that can be made to go faster. Clones are the same clock.
#[derive(Clone, Default)]
pub struct Clock {
    /// In milliseconds.
    skipped: Arc<AtomicU64>,
}

impl Clock {
    /// The time since some moment, within some milliseconds. It costs a few nanoseconds.
    pub fn now(&self) -> Duration {
        // Every Linux has it.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
        now + Duration::from_millis(self.skipped.load(Relaxed))
    }

    /// Lets some time pass at once.
    pub fn skip(&self, time: Duration) {
        self.skipped.fetch_add(time.as_millis() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_always_moves_forward() {
        let future = now() + 1_000.0;
        assert!(restart_after(future) > future);
        assert!(restart_after(0.0) > 1.0);
    }
}
