//! How long a scrape may wait for its collection.

use crate::transport::http::header::HeaderMap;
use std::time::Duration;

/// How long Prometheus waits for the whole answer, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// What is left of that for the page to be made and fetched: a part of it, and at least so long.
const MARGIN: f64 = 0.2;
const LEAST_MARGIN: f64 = 0.1;

/// No longer than `most`, and for those who say how long they wait so much shorter that the page still reaches them.
pub(super) fn patience(headers: &HeaderMap, most: Duration) -> Duration {
    let times = headers.get_all(SCRAPE_TIMEOUT).iter();
    let times = times.filter_map(|value| usable(value.to_str().ok()?));
    times.fold(most, Duration::min)
}

/// How long may be waited for somebody who sends this; nothing if it is no time.
fn usable(text: &str) -> Option<Duration> {
    let timeout: f64 = text.trim().parse().ok()?;
    let left = timeout - (timeout * MARGIN).max(LEAST_MARGIN);
    let is_time = timeout.is_finite() && timeout > 0.0;
    is_time
        .then(|| Duration::try_from_secs_f64(left.max(0.0)).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::http::header::HeaderValue;

    fn waits(values: &[&[u8]], most: f64) -> f64 {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SCRAPE_TIMEOUT, HeaderValue::from_bytes(value).unwrap());
        }
        patience(&headers, Duration::from_secs_f64(most)).as_secs_f64()
    }

    #[test]
    fn the_page_has_time_to_arrive() {
        for (timeout, left) in [
            ("10", 8.0),
            ("1", 0.8),
            ("0.5", 0.4),
            ("0.3", 0.2),
            ("0.1", 0.0),
            ("0.01", 0.0),
            (" 1.000000 ", 0.8),
            ("1e1", 8.0),
        ] {
            let waits = waits(&[timeout.as_bytes()], 60.0);
            assert!((waits - left).abs() < 1e-6, "{timeout}: {waits}");
        }
    }

    #[test]
    fn it_is_never_longer_than_the_operator_says() {
        for timeout in ["10", "3600", "1e300"] {
            assert_eq!(waits(&[timeout.as_bytes()], 1.0), 1.0);
        }
        assert_eq!(waits(&[], 1.0), 1.0);
        assert_eq!(waits(&[b"10"], 0.0), 0.0);
    }

    #[test]
    fn what_is_no_time_is_as_if_it_were_not_there() {
        for timeout in [
            &b""[..],
            b"x",
            b"0",
            b"-0",
            b"-1",
            b"nan",
            b"inf",
            b"-inf",
            b"1e400",
            b"1s",
            b"1,5",
            b"0x1",
            b"\xff",
        ] {
            assert_eq!(waits(&[timeout], 5.0), 5.0, "{timeout:?}");
        }
        // Of several the shortest counts.
        assert_eq!(waits(&[b"x", b"2.5", b"20"], 5.0), 2.0);
    }
}
