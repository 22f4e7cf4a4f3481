//! Whom to connect to: a path, or one of the addresses of a host.

use super::resolve::Resolver;
use super::tcp::Tcp;
use super::udp::Udp;
use super::unixgram::Unixgram;
use super::unixstream::Unixstream;
use super::{Endpoint, Socket};
use std::io;
use std::net::{IpAddr, SocketAddr};
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
    tcp: bool,
    /// None if the host is an address.
    resolver: Option<Resolver>,
    addresses: Vec<SocketAddr>,
    /// Which address to try next.
    next: usize,
    /// How many have failed since one worked.
    failed: usize,
    look_up_at: Instant,
    interval: Duration,
}

/// What a look-up has come to.
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
        let literal = name.parse().map(|address: IpAddr| SocketAddr::new(address, port)).ok();
        Target::Host(Host {
            tcp,
            addresses: literal.into_iter().collect(),
            resolver: literal.is_none().then(|| Resolver::new(name, port)),
            next: 0,
            failed: 0,
            look_up_at: now,
            interval: resolve_interval,
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
    fn current(&self) -> Option<SocketAddr> {
        self.next.checked_rem(self.addresses.len()).map(|at| self.addresses[at])
    }

    fn look_up(&mut self, now: Instant) -> Found {
        let Some(resolver) = &mut self.resolver else {
            return Found::Nothing;
        };
        let Some(found) = resolver.poll() else {
            if self.look_up_at <= now {
                resolver.start();
            }
            return Found::Nothing;
        };
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
