//! Whom to connect to: a path, or one of the addresses of a host.

use super::resolve::Resolver;
use super::tcp::Tcp;
use super::udp::Udp;
use super::unixgram::Unixgram;
use super::unixstream::Unixstream;
use super::{Endpoint, Socket};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a link goes.
pub(super) enum Target {
    /// A Unix datagram socket.
    Path(PathBuf),
    /// A Unix stream socket.
    StreamPath(PathBuf),
    /// A host.
    Host(Host),
}

/// A host, which may have several addresses.
pub(super) struct Host {
    /// Over TCP, or else UDP.
    tcp: bool,
    /// `None` if the host is an address.
    resolver: Option<Resolver>,
    /// What the last look-up that has found any has found, in the system's order of preference.
    addresses: Vec<SocketAddr>,
    /// How many addresses have been given up, of all there have been: that picks the one in use, or to try next.
    next: usize,
    /// How many have failed since one worked.
    failed: usize,
    /// When the name is to be looked up again.
    look_up_at: Instant,
    /// The time from one look-up to the next.
    interval: Duration,
}

/// What a look-up has come to.
#[derive(Debug)]
pub(super) enum Found {
    /// There was none, or the address in use is still right.
    Nothing,
    /// The address in use isn't one of the host's any more.
    OtherAddresses,
    /// It failed.
    Failure(io::Error),
}

impl Target {
    pub(super) fn new(endpoint: &Endpoint, resolve_interval: Duration, now: Instant) -> Target {
        let (name, port, tcp) = match endpoint {
            Endpoint::Unixgram(path) => return Target::Path(path.clone()),
            Endpoint::Unixstream(path) => return Target::StreamPath(path.clone()),
            Endpoint::Udp(name, port) => (name, *port, false),
            Endpoint::Tcp(name, port) => (name, *port, true),
        };
        Target::Host(match name.parse() {
            Ok(address) => Host::fixed(tcp, SocketAddr::new(address, port), now),
            Err(_) => Host::named(tcp, Resolver::new(name, port), resolve_interval, now),
        })
    }

    /// Whether nothing holds a sender back.
    pub(super) fn is_udp(&self) -> bool {
        matches!(self, Target::Host(Host { tcp: false, .. }))
    }

    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Target::Host(Host { tcp: true, .. }))
    }

    /// Whether it is a connection, which a machine may take for a server that never sees it.
    pub(super) fn is_stream(&self) -> bool {
        self.is_tcp() || self.tells_what_is_read()
    }

    /// Whether it is known what the server has read, and not only what its machine has taken.
    pub(super) fn tells_what_is_read(&self) -> bool {
        matches!(self, Target::StreamPath(_))
    }

    /// Whether there is an address to connect to.
    pub(super) fn is_resolved(&self) -> bool {
        match self {
            Target::Path(_) | Target::StreamPath(_) => true,
            Target::Host(host) => !host.addresses.is_empty(),
        }
    }

    /// Connects to the address whose turn it is.
    pub(super) fn connect(&self) -> io::Result<Box<dyn Socket>> {
        match self {
            Target::Path(path) => Ok(Box::new(Unixgram::connect(path)?)),
            Target::StreamPath(path) => Ok(Box::new(Unixstream::connect(path)?)),
            Target::Host(host) => {
                let address = host.current().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Ok(match host.tcp {
                    true => Box::new(Tcp::connect(address)?),
                    false => Box::new(Udp::connect(address)?),
                })
            }
        }
    }

    /// The current address works.
    pub(super) fn works(&mut self) {
        if let Target::Host(host) = self {
            host.failed = 0;
        }
    }

    /// The current address has failed. True if there is another one to try; else the name will be looked up again.
    pub(super) fn fails(&mut self, now: Instant) -> bool {
        let Target::Host(host) = self else {
            return false;
        };
        host.next += 1;
        host.failed += 1;
        let more = host.failed < host.addresses.len();
        if !more {
            host.failed = 0;
            host.look_up_at = now;
        }
        more
    }

    /// Begins a look-up when one is due, and takes over what it has found.
    pub(super) fn look_up(&mut self, now: Instant) -> Found {
        match self {
            Target::Host(host) => host.look_up(now),
            Target::Path(_) | Target::StreamPath(_) => Found::Nothing,
        }
    }
}

impl Host {
    /// One that is an address.
    fn fixed(tcp: bool, address: SocketAddr, now: Instant) -> Host {
        Host {
            tcp,
            resolver: None,
            addresses: vec![address],
            next: 0,
            failed: 0,
            look_up_at: now,
            interval: Duration::ZERO,
        }
    }

    /// One whose name is looked up, for the first time when the first look-up may begin.
    pub(super) fn named(tcp: bool, resolver: Resolver, interval: Duration, now: Instant) -> Host {
        Host {
            tcp,
            resolver: Some(resolver),
            addresses: Vec::new(),
            next: 0,
            failed: 0,
            look_up_at: now,
            interval,
        }
    }

    /// The address in use, or to try next.
    pub(super) fn current(&self) -> Option<SocketAddr> {
        self.next.checked_rem(self.addresses.len()).map(|at| self.addresses[at])
    }

    fn look_up(&mut self, now: Instant) -> Found {
        let Some(resolver) = &mut self.resolver else {
            return Found::Nothing;
        };
        if let Some(found) = resolver.poll() {
            return self.take(found, now);
        }
        if self.look_up_at <= now {
            resolver.start();
        }
        Found::Nothing
    }

    /// Takes over what a look-up has found. The address in use stays in use if it is among that.
    fn take(&mut self, found: io::Result<Vec<SocketAddr>>, now: Instant) -> Found {
        // While there is no address at all, it is the link's back-off that counts.
        self.look_up_at = match (&found, self.addresses.is_empty()) {
            (Err(_), true) => now,
            _ => now + self.interval,
        };
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(why) => return Found::Failure(why),
        };
        let current = self.current();
        let kept = addresses.iter().position(|address| Some(*address) == current);
        self.next = kept.unwrap_or(0);
        self.addresses = addresses;
        match kept {
            Some(_) => Found::Nothing,
            None => Found::OtherAddresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn address(number: u8) -> SocketAddr {
        ([192, 0, 2, number], 8125).into()
    }

    fn addresses(numbers: &[u8]) -> io::Result<Vec<SocketAddr>> {
        Ok(numbers.iter().copied().map(address).collect())
    }

    /// A host of which nothing is known yet.
    fn host(now: Instant) -> Host {
        Host::named(false, Resolver::with(|| addresses(&[1])), INTERVAL, now)
    }

    fn current(target: &Target) -> Option<SocketAddr> {
        match target {
            Target::Host(host) => host.current(),
            Target::Path(_) | Target::StreamPath(_) => None,
        }
    }

    #[test]
    fn each_address_is_tried_before_the_host_counts_as_away() {
        let now = Instant::now();
        let mut host = host(now);
        assert!(matches!(host.take(addresses(&[1, 2, 3]), now), Found::OtherAddresses));
        let mut target = Target::Host(host);
        // Round after round: what is tried, and whether there is another one then.
        for (tried, more) in [(1, true), (2, true), (3, false), (1, true), (2, true), (3, false)] {
            assert_eq!(current(&target), Some(address(tried)));
            assert_eq!(target.fails(now), more);
        }
        // One that has worked is left for the next one, and all others come before it again.
        assert!(target.fails(now));
        target.works();
        for (tried, more) in [(2, true), (3, true), (1, false)] {
            assert_eq!(current(&target), Some(address(tried)));
            assert_eq!(target.fails(now), more);
        }
    }

    #[test]
    fn the_address_in_use_stays_in_use_as_long_as_it_is_one_of_the_hosts() {
        let now = Instant::now();
        let mut host = host(now);
        assert_eq!(host.current(), None);
        for (found, then) in [
            (vec![1, 2], 1),
            (vec![2, 1], 1),
            (vec![3, 2, 1], 1),
            (vec![3, 2], 3),
            (vec![2], 2),
        ] {
            let before = host.current();
            let other = matches!(host.take(addresses(&found), now), Found::OtherAddresses);
            assert_eq!(host.current(), Some(address(then)), "{found:?}");
            assert_eq!(other, before != host.current(), "{found:?}");
        }
        // Those of a look-up that has failed stay, too.
        assert!(matches!(
            host.take(Err(io::Error::other("away")), now),
            Found::Failure(_)
        ));
        assert_eq!(host.current(), Some(address(2)));
    }

    #[test]
    fn a_name_is_looked_up_again_when_that_is_due() {
        let now = Instant::now();
        let mut host = host(now);
        assert!(host.look_up_at <= now);
        // While nothing is known, as soon as the link tries again; later each interval, whatever comes out.
        assert!(matches!(
            host.take(Err(io::Error::other("away")), now),
            Found::Failure(_)
        ));
        assert!(host.look_up_at <= now);
        for found in [addresses(&[1, 2]), Err(io::Error::other("away"))] {
            host.take(found, now);
            assert_eq!(host.look_up_at, now + INTERVAL);
        }
        // At once if none of the addresses works.
        let mut target = Target::Host(host);
        for (more, then) in [(true, now + INTERVAL), (false, now)] {
            assert_eq!(target.fails(now), more);
            assert!(matches!(&target, Target::Host(host) if host.look_up_at == then));
        }
    }

    #[test]
    fn a_look_up_begins_when_it_is_due_and_not_before() {
        let now = Instant::now();
        let mut target = Target::Host(host(now + INTERVAL));
        let is_asked = |target: &Target| matches!(target, Target::Host(Host { resolver: Some(resolver), .. }) if resolver.is_busy());
        target.look_up(now);
        assert!(!is_asked(&target));
        target.look_up(now + INTERVAL);
        assert!(is_asked(&target));
        let end = Instant::now() + Duration::from_secs(120);
        while !matches!(target.look_up(now + INTERVAL), Found::OtherAddresses) {
            assert!(Instant::now() < end, "no result");
            std::thread::yield_now();
        }
        assert_eq!(current(&target), Some(address(1)));
        target.look_up(now + INTERVAL);
        assert!(!is_asked(&target));
    }

    #[test]
    fn a_path_and_an_address_are_never_looked_up() {
        let now = Instant::now();
        for server in [
            "unix:///run/s",
            "unixstream:///run/s",
            "udp://192.0.2.1",
            "tcp://[2001:db8::1]:1",
        ] {
            let mut target = Target::new(&Endpoint::parse(server).unwrap(), INTERVAL, now);
            assert!(target.is_resolved());
            assert!(!target.fails(now), "there is but one");
            assert!(matches!(target.look_up(now + INTERVAL), Found::Nothing));
        }
        let named = Target::new(&Endpoint::parse("statsd.invalid").unwrap(), INTERVAL, now);
        assert!(!named.is_resolved());
    }
}
