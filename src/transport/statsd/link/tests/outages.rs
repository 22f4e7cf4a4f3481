//! When a server counts as away, when it is tried again, and when it is back.

use super::*;

#[test]
fn pauses_between_tries_grow_and_end_with_the_outage() {
    let mut trial = trial("unix:///run/statsd", true);
    for _ in 0..2 {
        trial.settle();
        trial.world().listens = false;
        trial.link.close();
        let tries = trial.world().tried.len();
        let _ = trial.push(&["a"]);
        let mut passed = Duration::ZERO;
        for milliseconds in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert_eq!(trial.finish(), down(milliseconds));
            let pause = Duration::from_millis(milliseconds);
            trial.wait(pause - Duration::from_millis(1));
            assert_eq!(trial.link.drive(), down(1));
            trial.wait(Duration::from_millis(1));
            passed += pause;
        }
        // Two for the first pause: a connection may fail once.
        assert_eq!(trial.world().tried.len(), tries + 1 + 8);
        assert_eq!(trial.link.problem(), Some("connection refused"));
        trial.world().listens = true;
        assert_eq!(trial.finish(), Progress::Idle);
        let events = trial.link.events();
        assert_eq!(
            events,
            [Event::Broke("connection refused".to_owned()), Event::Healed(passed)]
        );
        assert_eq!((trial.link.problem(), trial.link.retry_at()), (None, None));
    }
    assert_eq!(trial.taken(), ["a", "a"]);
}

#[test]
fn a_pause_begins_after_an_attempt_that_took_its_time() {
    let mut trial = trial("tcp://192.0.2.1", false);
    trial.world().listens = false;
    trial.world().connecting = SECOND / 2;
    let _ = trial.push(&["a\n"]);
    // Each attempt lets the caller look whether it is to stop.
    assert_eq!(trial.link.drive(), Progress::Busy(Duration::ZERO));
    assert_eq!(trial.link.drive(), down(100));
    assert_eq!(trial.link.traffic().errors, 2);
}

#[test]
fn one_failure_is_no_outage() {
    for error in [refusal(), end()] {
        let mut trial = trial("tcp://192.0.2.1", false);
        assert_eq!(trial.push(&["a\n"]), Progress::Idle);
        trial.settle();
        trial.world().looks.push_back(Err(error));
        let _ = trial.push(&["b\n"]);
        assert_eq!(trial.finish(), Progress::Idle);
        assert_eq!(trial.taken(), ["a\n", "b\n"]);
        assert_eq!(trial.link.events(), []);
    }
}

#[test]
fn each_address_is_tried_before_the_server_counts_as_away() {
    let addresses: Vec<SocketAddr> = [1, 2].map(|number| ([192, 0, 2, number], 8125).into()).to_vec();
    let found = addresses.clone();
    let resolver = Resolver::with(move || Ok(found.clone()));
    let mut trial = to_host(true, resolver);
    trial.world().listens = false;
    assert_eq!(trial.push(&["a\n"]), Progress::Busy(RESOLVING));
    assert_eq!(trial.finish(), down(100));
    let round: Vec<_> = addresses.into_iter().map(Some).collect();
    assert_eq!(trial.world().tried, round.repeat(2));
}

#[test]
fn a_buffer_that_is_full_for_too_long_is_a_failure() {
    let mut trial = trial("unix:///run/statsd", true);
    assert_eq!(trial.push(&["a"]), Progress::Idle);
    trial.world().room = 0;
    assert_eq!(trial.push(&["b"]), Progress::Busy(SHORT));
    trial.wait(LONGEST_FULL - SHORT);
    assert_eq!(trial.link.drive(), Progress::Busy(SHORT));
    // Some room is enough to begin anew.
    trial.world().room = 1;
    assert_eq!(trial.link.drive(), Progress::Idle);
    assert_eq!(trial.push(&["c"]), Progress::Busy(SHORT));
    trial.wait(LONGEST_FULL - SHORT);
    assert_eq!(trial.link.drive(), Progress::Busy(SHORT));
    assert_eq!(trial.link.events(), []);
    trial.wait(SHORT);
    for milliseconds in [100, 200] {
        assert_eq!(trial.link.drive(), down(milliseconds));
        trial.wait(Duration::from_millis(milliseconds));
    }
    trial.world().room = usize::MAX;
    assert_eq!(trial.link.drive(), Progress::Idle);
    let why = "it has taken nothing for 10 s".to_owned();
    let healed = Event::Healed(Duration::from_millis(300));
    assert_eq!(trial.link.events(), [Event::Broke(why), healed]);
    // The socket was the same all the time, and no error is counted.
    assert_eq!(trial.taken(), ["abc"]);
    assert_eq!(trial.link.traffic().errors, 0);
}

#[test]
fn nobody_tries_again_for_nothing() {
    let resolver = Resolver::with(|| Err(io::Error::other("no such name")));
    let mut trial = to_host(false, resolver);
    assert_eq!(trial.push(&[]), Progress::Idle);
    let limit = Instant::now() + 120 * SECOND;
    while trial.link.problem().is_none() {
        assert!(Instant::now() < limit, "no result");
        assert_eq!(trial.link.drive(), Progress::Idle);
    }
    assert_eq!(trial.link.problem(), Some("its name can't be resolved: no such name"));
    // A try is due after a while, but there is nothing to try it with.
    assert_eq!(trial.link.retry_at(), None);
    assert_eq!(trial.push(&["a"]), down(100));
    let due = trial.world().now + SECOND / 10;
    assert_eq!(trial.link.retry_at(), Some(due));
    assert_eq!(trial.link.traffic().resolve_failures, 1);
}

#[test]
fn who_hurries_does_not_wait_for_the_next_try() {
    let mut trial = trial("unix:///run/statsd", true);
    trial.link.hurry();
    assert_eq!(trial.link.retry_at(), None);
    trial.world().listens = false;
    let _ = trial.push(&["a"]);
    assert_eq!(trial.finish(), down(100));
    trial.world().listens = true;
    assert_eq!(trial.link.drive(), down(100));
    trial.link.hurry();
    assert_eq!(trial.link.drive(), Progress::Idle);
    assert_eq!(trial.link.events()[1..], [Event::Healed(Duration::ZERO)]);
}
