//! Wall-clock time, for `_created`.

use std::time::{SystemTime, UNIX_EPOCH};

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
