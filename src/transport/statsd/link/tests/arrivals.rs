//! What has arrived, and what is sent again.

use super::*;

#[test]
fn a_refusal_from_another_host_is_found_before_more_is_lost() {
    let mut trial = trial("udp://192.0.2.1", false);
    assert_eq!(trial.push(&["a"]), Progress::Idle);
    trial.world().looks.push_back(Err(refusal()));
    // `a` goes to a new socket, and all else waits until its refusal can't come any more.
    let Progress::Busy(pause) = trial.push(&["b"]) else {
        panic!("it didn't wait");
    };
    assert_eq!(pause, PROBE / 10);
    assert_eq!(trial.taken(), ["a", "a"]);
    trial.wait(pause);
    trial.world().looks.push_back(Err(refusal()));
    assert_eq!(trial.finish(), down(100));
    assert_eq!(trial.taken(), ["a", "a"]);
    trial.wait(SECOND / 10);
    let retried = trial.world().now;
    assert_eq!(trial.finish(), Progress::Idle);
    assert_eq!(trial.taken(), ["a", "a", "ab"]);
    let probed = trial.world().now - retried;
    assert!(probed >= PROBE && probed < 2 * PROBE, "{probed:?}");
    let events = trial.link.events();
    assert_eq!(events[1..], [Event::Healed(SECOND / 10 + probed)]);
}

#[test]
fn what_a_server_has_read_ends_the_probe() {
    let mut trial = trial("unixstream:///run/statsd", true);
    assert_eq!(trial.push(&["a"]), Progress::Idle);
    trial.settle();
    trial.world().looks.push_back(Err(end()));
    trial.world().unacknowledged = 1;
    assert!(matches!(trial.push(&["b", "c"]), Progress::Busy(_)));
    trial.wait(PROBE / 2);
    assert!(matches!(trial.link.drive(), Progress::Busy(_)));
    assert_eq!(trial.taken(), ["a", "b"]);
    trial.world().unacknowledged = 0;
    assert_eq!(trial.link.drive(), Progress::Idle);
    assert_eq!(trial.taken(), ["a", "bc"]);
}

#[test]
fn a_server_that_takes_each_connection_and_ends_it_takes_nothing_and_keeps_nobody() {
    for at_once in [true, false] {
        let mut trial = trial("tcp://192.0.2.1", at_once);
        trial.world().ends = true;
        trial.world().unacknowledged = 4;
        let _ = trial.push(&["a\n", "b\n"]);
        for _ in 0..50 {
            assert!(matches!(trial.push(&[]), Progress::Busy(pause) if !pause.is_zero()));
            trial.wait(SHORT);
        }
        assert!(trial.taken().len() > 10);
        assert_eq!(trial.link.events(), [], "an end is no failure");
        trial.world().ends = false;
        trial.world().unacknowledged = 0;
        assert_eq!(trial.finish(), Progress::Idle);
        assert_eq!(trial.taken().last().unwrap(), "a\nb\n");
    }
}

#[test]
fn what_is_not_acknowledged_is_sent_again_in_its_order() {
    let mut trial = trial("tcp://192.0.2.1", false);
    assert_eq!(trial.push(&["a\n", "b\n", "c\n"]), Progress::Idle);
    trial.world().unacknowledged = 3;
    trial.world().looks.push_back(Err(end()));
    let _ = trial.push(&["d\n"]);
    assert_eq!(trial.finish(), Progress::Idle);
    assert_eq!(trial.taken(), ["a\nb\nc\n", "b\nc\nd\n"]);
    assert_eq!(trial.link.traffic().datagrams, 6);

    // After an error nothing counts, but for what had been acknowledged long before.
    trial.world().unacknowledged = 0;
    trial.settle();
    assert_eq!(trial.push(&["e\n", "f\n"]), Progress::Idle);
    trial.world().looks.push_back(Err(ErrorKind::ConnectionReset.into()));
    let _ = trial.push(&["g\n"]);
    assert_eq!(trial.finish(), Progress::Idle);
    assert_eq!(trial.taken()[2..], ["e\nf\ng\n"]);
}

#[test]
fn over_udp_what_no_refusal_can_come_for_is_not_sent_again() {
    let mut trial = trial("udp://192.0.2.1", false);
    assert_eq!(trial.push(&["a"]), Progress::Idle);
    trial.wait(PROBE);
    assert_eq!(trial.push(&["b"]), Progress::Idle);
    trial.world().looks.push_back(Err(refusal()));
    let _ = trial.push(&["c"]);
    assert_eq!(trial.finish(), Progress::Idle);
    assert_eq!(trial.taken(), ["ab", "bc"]);
}

#[test]
fn on_this_machine_a_refusal_is_that_of_the_last_datagram() {
    let mut trial = trial("udp://127.0.0.1", true);
    assert_eq!(trial.push(&["a"]), Progress::Idle);
    // At the beginning of a push, before a send, and after it.
    trial.world().looks.extend([Ok(()), Ok(()), Err(refusal())]);
    assert_eq!(trial.push(&["b", "c"]), Progress::Busy(SHORT));
    assert_eq!(trial.finish(), Progress::Idle);
    assert_eq!(trial.taken(), ["ab", "bc"]);
}

#[test]
fn what_lies_in_a_full_buffer_has_not_arrived() {
    let mut trial = trial("tcp://127.0.0.1", true);
    assert_eq!(trial.push(&["a\n"]), Progress::Idle);
    trial.settle();
    trial.world().room = 4;
    trial.world().unacknowledged = 4;
    assert_eq!(trial.push(&["b\n", "c\n", "d\n"]), Progress::Busy(SHORT));
    trial.wait(2 * PROBE);
    assert_eq!(trial.link.drive(), Progress::Busy(SHORT));
    trial.world().looks.push_back(Err(ErrorKind::ConnectionReset.into()));
    trial.world().room = usize::MAX;
    let _ = trial.link.drive();
    trial.world().unacknowledged = 0;
    assert_eq!(trial.finish(), Progress::Idle);
    assert_eq!(trial.taken()[1], "b\nc\nd\n");
}
