//! How fast datagrams go over UDP, which has no flow control.

use std::time::{Duration, Instant};

/// A socket's default receive buffer holds some ninety datagrams of 1432 bytes. So there are at most 4,000 datagrams a second,
/// that is some 150,000 lines.
const BURST: u32 = 16;
const BETWEEN_BURSTS: Duration = Duration::from_millis(4);

/// Has bursts of datagrams begin some time after each other.
pub(super) struct Pace {
    /// When the latest burst began.
    since: Instant,
    /// How many datagrams it has had.
    sent: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace { since: now, sent: 0 }
    }

    /// How long the next datagram has to wait, if it has to.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        if self.sent < BURST {
            return None;
        }
        let pause = (self.since + BETWEEN_BURSTS).saturating_duration_since(now);
        if pause.is_zero() {
            *self = Pace::new(now);
            return None;
        }
        Some(pause)
    }

    /// A datagram was sent.
    pub(super) fn sent(&mut self) {
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_have_a_length_and_a_distance() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut pace = Pace::new(start);
        let mut burst = |at| {
            let mut sent = 0;
            loop {
                if let Some(pause) = pace.pause(at) {
                    return (sent, pause);
                }
                pace.sent();
                sent += 1;
            }
        };
        assert_eq!(burst(start), (16, Duration::from_millis(4)));
        assert_eq!(burst(after(1)), (0, Duration::from_millis(3)));
        assert_eq!(burst(after(4)), (16, Duration::from_millis(4)));
        // What a long pause would have let through isn't made up for.
        assert_eq!(burst(after(1000)), (16, Duration::from_millis(4)));
    }
}
