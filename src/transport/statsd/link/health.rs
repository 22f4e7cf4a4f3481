//! Whether a server can be reached, and when it is tried again if it can't.

use std::time::{Duration, Instant};

/// The pauses after the first failure of an outage, and after many.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// What is known of a server.
pub(super) enum Health {
    /// Nothing has failed since it last took something, or yet.
    Up,
    /// A connection has failed, at each of its addresses. It may end for any reason, so that is no outage as long as a new one
    /// works.
    Failed,
    /// It can't be reached.
    Down(Outage),
}

/// A time in which a server can't be reached.
pub(super) struct Outage {
    since: Instant,
    /// What went wrong last.
    why: String,
    /// When there may be the next try. Past while that is under way.
    retry_at: Instant,
    /// How long the pause after the next failure is.
    backoff: Duration,
}

impl Health {
    /// Why the server can't be reached, if that is so.
    pub(super) fn problem(&self) -> Option<&str> {
        self.outage().map(|outage| outage.why.as_str())
    }

    /// When there may be the next try, if the server can't be reached.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.outage().map(|outage| outage.retry_at)
    }

    fn outage(&self) -> Option<&Outage> {
        match self {
            Health::Up | Health::Failed => None,
            Health::Down(outage) => Some(outage),
        }
    }

    /// The next try may come at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Health::Down(outage) = self {
            outage.retry_at = now;
        }
    }

    /// A connection has failed, at each address. True if that is more than may happen at any time.
    pub(super) fn fails(&mut self) -> bool {
        let serious = !matches!(self, Health::Up);
        if !serious {
            *self = Health::Failed;
        }
        serious
    }

    /// There may be the next try after a pause, which is returned, and whether this is the beginning of an outage.
    pub(super) fn back_off(&mut self, why: &str, now: Instant) -> (Duration, bool) {
        let (since, pause) = match self {
            Health::Up | Health::Failed => (now, SHORTEST_BACKOFF),
            Health::Down(outage) => (outage.since, outage.backoff),
        };
        let is_new = self.outage().is_none();
        *self = Health::Down(Outage {
            since,
            why: why.to_owned(),
            retry_at: now + pause,
            backoff: (2 * pause).min(LONGEST_BACKOFF),
        });
        (pause, is_new)
    }

    /// The server takes what it is sent. Returns how long it couldn't be reached, if it couldn't.
    pub(super) fn works(&mut self, now: Instant) -> Option<Duration> {
        match std::mem::replace(self, Health::Up) {
            Health::Up | Health::Failed => None,
            Health::Down(outage) => Some(now - outage.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_short_again_in_the_next_outage() {
        let mut health = Health::Up;
        let start = Instant::now();
        for outage in 0..2 {
            let mut now = start + Duration::from_secs(3600 * outage);
            let begin = now;
            for (number, milliseconds) in [100, 200, 400, 800, 1600, 3200, 5000, 5000].into_iter().enumerate() {
                let pause = Duration::from_millis(milliseconds);
                assert_eq!(health.back_off("it is away", now), (pause, number == 0));
                assert_eq!(health.problem(), Some("it is away"));
                assert_eq!(health.retry_at(), Some(now + pause));
                now += pause;
            }
            assert_eq!(health.works(now), Some(now - begin));
            assert_eq!((health.problem(), health.retry_at()), (None, None));
            assert_eq!(health.works(now), None);
        }
    }

    #[test]
    fn one_failure_is_forgiven_until_it_works_again() {
        let mut health = Health::Up;
        let now = Instant::now();
        for _ in 0..2 {
            assert!(!health.fails());
            assert_eq!(health.problem(), None);
            assert!(health.fails());
            assert_eq!(health.works(now), None);
        }
        health.back_off("it is away", now);
        assert!(health.fails());
    }

    #[test]
    fn who_hurries_needs_not_wait() {
        let mut health = Health::Up;
        let now = Instant::now();
        health.hurry(now);
        assert_eq!(health.retry_at(), None);
        health.back_off("it is away", now);
        health.hurry(now);
        assert_eq!(health.retry_at(), Some(now));
        // That makes no pause shorter than it would have been.
        assert_eq!(health.back_off("it is away", now).0, Duration::from_millis(200));
    }
}
