//! Where datagrams go, how fast, and in which pieces.

use super::*;

#[test]
fn who_has_taken_over_the_name_gets_the_rest() {
    let mut trial = trial("unix:///run/statsd", true);
    assert_eq!(trial.push(&["a"]), Progress::Idle);
    trial.world().current = false;
    assert_eq!(trial.push(&["b"]), Progress::Idle);
    assert_eq!(trial.taken(), ["a", "b"]);
    // Nobody has, yet.
    trial.world().current = false;
    trial.world().listens = false;
    let _ = trial.push(&["c"]);
    assert_eq!(trial.finish(), down(100));
    trial.world().listens = true;
    trial.wait(SECOND);
    assert_eq!(trial.push(&[]), Progress::Idle);
    assert_eq!(trial.taken(), ["a", "b", "c"]);
}

#[test]
fn a_name_that_moves_takes_its_connection_along() {
    let address = |number| SocketAddr::from(([192, 0, 2, number], 8125));
    let found = Arc::new(Mutex::new(address(1)));
    let current = Arc::clone(&found);
    let resolver = Resolver::with(move || Ok(vec![*current.lock().unwrap()]));
    let mut trial = to_host(true, resolver);
    let _ = trial.push(&["a\n"]);
    assert_eq!(trial.finish(), Progress::Idle);
    *found.lock().unwrap() = address(2);
    let limit = Instant::now() + 120 * SECOND;
    while trial.world().tried.len() < 2 {
        assert!(Instant::now() < limit, "no result");
        trial.wait(30 * SECOND);
        assert_eq!(trial.push(&["b\n"]), Progress::Idle);
    }
    assert_eq!(trial.world().tried, [Some(address(1)), Some(address(2))]);
    assert_eq!(trial.taken()[1], "b\n");
    assert_eq!(trial.link.events(), []);
}

#[test]
fn datagrams_over_udp_come_in_bursts() {
    let mut trial = trial("udp://192.0.2.1", false);
    let Progress::Busy(pause) = trial.push(&["x"; 40]) else {
        panic!("all at once");
    };
    assert_eq!(trial.taken()[0].len(), 16);
    trial.wait(pause);
    assert_eq!(trial.link.drive(), Progress::Busy(pause));
    assert_eq!(trial.taken()[0].len(), 32);
    assert_eq!(trial.finish(), Progress::Idle);
    assert_eq!(trial.taken()[0].len(), 40);
}

#[test]
fn what_the_way_finds_too_long_is_sent_in_parts_and_a_longer_line_is_told_once() {
    let mut trial = trial("udp://192.0.2.1", false);
    trial.world().longest = 8;
    assert_eq!(
        trial.push(&["a:1|c\nb:1|c", "long:1|c\nlonger:1|c", "longest:1|c"]),
        Progress::Idle
    );
    assert_eq!(trial.taken(), ["a:1|cb:1|clong:1|c"]);
    assert_eq!(trial.link.traffic().too_long, 2);
    assert_eq!(trial.link.events(), [Event::TooLong(b"longer".to_vec())]);
    // Routers tell it of what is gone by then.
    trial.world().looks.push_back(Err(Errno::EMSGSIZE.into()));
    trial.world().longest = 6;
    let _ = trial.push(&["c:1|c"]);
    assert_eq!(trial.taken(), ["a:1|cb:1|clong:1|cc:1|c"]);
}
