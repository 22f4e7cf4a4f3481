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

/// Seconds since the epoch in whole milliseconds: when a metric is created. Nobody needs more of it, and it is written sooner.
pub fn created_now() -> f64 {
    whole_milliseconds(now())
}

fn whole_milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).floor() / 1000.0
}

/// The creation time of a metric that starts again after `previous`. It moves forward even if the clock
/// stood still or was set back, because "if the value resets, Created MUST be set to the reset time" and a
/// scraper only sees a restart if the time changes (OpenMetrics 1.0, "Counter").
pub fn restart_after(previous: f64) -> f64 {
    let now = created_now();
    if now > previous {
        now
    } else {
        ((previous * 1000.0).round() + 1.0) / 1000.0
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
        let mut time = created_now();
        for _ in 0..10_000 {
            let next = restart_after(time);
            assert!(next > time && next < time + 0.01, "{time} {next}");
            time = next;
        }
    }
}
