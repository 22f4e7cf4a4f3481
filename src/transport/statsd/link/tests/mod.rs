//! Links to servers that do what a test wants, at a time that it sets.

mod arrivals;
mod outages;
mod sending;

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

/// A host whose name has to be looked up, over TCP or UDP.
fn to_host(tcp: bool, resolver: Resolver) -> Trial {
    let now = Instant::now();
    let framing = if tcp { Framing::Stream } else { Framing::Datagrams };
    with(
        Target::Host(Host::named(tcp, resolver, 60 * SECOND, now)),
        framing,
        false,
        now,
    )
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
