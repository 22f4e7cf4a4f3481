//! Links to servers that do what a test wants, at a time that it sets.

use super::super::resolve::Resolver;
use super::super::target::Host;
use super::*;
use crate::transport::statsd::Framing;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

const SECOND: Duration = Duration::from_secs(1);

/// A server and the way there.
struct World {
    now: Instant,
    /// Whether connections are taken.
    listens: bool,
    /// How long that takes.
    connecting: Duration,
    /// To which address each connection was asked for, where it is a host.
    tried: Vec<Option<SocketAddr>>,
    /// What each socket has taken.
    taken: Vec<String>,
    /// What the next looks find.
    looks: VecDeque<io::Result<()>>,
    /// Whether all later ones find that the connection has ended.
    ends: bool,
    /// How much more the socket takes now, in bytes.
    room: usize,
    unacknowledged: usize,
    /// Whether a look right after a send tells what became of that.
    at_once: bool,
    /// Whether the socket is still what its name stands for.
    current: bool,
    /// How long a datagram may be, in bytes.
    longest: usize,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl System for Shared {
    fn now(&self) -> Instant {
        self.world().now
    }

    fn connect(&self, target: &Target) -> io::Result<Box<dyn Socket>> {
        let mut world = self.world();
        let connecting = world.connecting;
        world.now += connecting;
        world.tried.push(match target {
            Target::Host(host) => host.current(),
            Target::Path(_) | Target::StreamPath(_) => None,
        });
        if !world.listens {
            return Err(refusal());
        }
        world.taken.push(String::new());
        world.current = true;
        Ok(Box::new(self.clone()))
    }
}

impl Socket for Shared {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world();
        if bytes.len() > world.longest {
            return Err(Errno::EMSGSIZE.into());
        }
        let count = bytes.len().min(world.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        world.room -= count;
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        world.taken.last_mut().unwrap().push_str(text);
        Ok(count)
    }

    fn check(&mut self) -> io::Result<()> {
        let mut world = self.world();
        match world.looks.pop_front() {
            Some(found) => found,
            None if world.ends => Err(ErrorKind::UnexpectedEof.into()),
            None => Ok(()),
        }
    }

    fn is_current(&self) -> bool {
        self.world().current
    }

    fn unacknowledged(&self) -> usize {
        self.world().unacknowledged
    }

    fn longest(&self) -> usize {
        self.world().longest
    }

    fn tells_at_once(&self) -> bool {
        self.world().at_once
    }
}

fn refusal() -> io::Error {
    ErrorKind::ConnectionRefused.into()
}

fn end() -> io::Error {
    ErrorKind::UnexpectedEof.into()
}

struct Trial {
    link: Link,
    shared: Shared,
}

/// A server on this machine or on another one (`at_once`), which takes everything.
fn trial(server: &str, at_once: bool) -> Trial {
    let endpoint = Endpoint::parse(server).unwrap();
    let now = Instant::now();
    with(
        Target::new(&endpoint, 60 * SECOND, now),
        endpoint.framing(),
        at_once,
        now,
    )
}

fn with(target: Target, framing: Framing, at_once: bool, now: Instant) -> Trial {
    let shared = Shared(Arc::new(Mutex::new(World {
        now,
        listens: true,
        connecting: Duration::ZERO,
        tried: Vec::new(),
        taken: Vec::new(),
        looks: VecDeque::new(),
        ends: false,
        room: usize::MAX,
        unacknowledged: 0,
        at_once,
        current: true,
        longest: usize::MAX,
    })));
    let link = Link::with(target, Outbox::new(100, framing), Box::new(shared.clone()));
    Trial { link, shared }
}

impl Trial {
    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    fn wait(&self, time: Duration) {
        self.world().now += time;
    }

    /// A push of these datagrams, as far as that goes without waiting.
    fn push(&mut self, datagrams: &[&str]) -> Progress {
        let now = self.world().now;
        self.link.begin(now);
        for datagram in datagrams {
            self.link.push(datagram.as_bytes().to_vec());
        }
        self.link.drive()
    }

    /// Goes on, and waits as long as it takes, until nothing waits or the server is away.
    fn finish(&mut self) -> Progress {
        loop {
            match self.link.drive() {
                Progress::Busy(pause) => self.wait(pause),
                progress => return progress,
            }
        }
    }

    /// A look some time later, when nothing that was sent by now can be refused any more.
    fn settle(&mut self) {
        self.wait(SECOND);
        assert_eq!(self.push(&[]), Progress::Idle);
    }

    fn taken(&self) -> Vec<String> {
        self.world().taken.clone()
    }
}

fn down(milliseconds: u64) -> Progress {
    Progress::Down(Duration::from_millis(milliseconds))
}

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
    let now = Instant::now();
    let addresses: Vec<SocketAddr> = [1, 2].map(|number| ([192, 0, 2, number], 8125).into()).to_vec();
    let found = addresses.clone();
    let resolver = Resolver::with(move || Ok(found.clone()));
    let mut trial = with(
        Target::Host(Host::named(true, resolver, 60 * SECOND, now)),
        Framing::Stream,
        false,
        now,
    );
    trial.world().listens = false;
    assert_eq!(trial.push(&["a\n"]), Progress::Busy(RESOLVING));
    assert_eq!(trial.finish(), down(100));
    let round: Vec<_> = addresses.into_iter().map(Some).collect();
    assert_eq!(trial.world().tried, round.repeat(2));
}

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
    let now = Instant::now();
    let resolver = Resolver::with(|| Err(io::Error::other("no such name")));
    let mut trial = with(
        Target::Host(Host::named(false, resolver, 60 * SECOND, now)),
        Framing::Datagrams,
        false,
        now,
    );
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
    assert_eq!(trial.link.retry_at(), Some(now + SECOND / 10));
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
    let now = Instant::now();
    let address = |number| SocketAddr::from(([192, 0, 2, number], 8125));
    let found = Arc::new(Mutex::new(address(1)));
    let current = Arc::clone(&found);
    let resolver = Resolver::with(move || Ok(vec![*current.lock().unwrap()]));
    let mut trial = with(
        Target::Host(Host::named(true, resolver, 60 * SECOND, now)),
        Framing::Stream,
        false,
        now,
    );
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
