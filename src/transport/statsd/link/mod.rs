//! The way to one server: datagrams that wait, errors that come late, and when to try again.

mod health;
mod outcome;
mod pace;
mod phase;
mod report;
#[cfg(test)]
mod tests;

pub use report::{Event, Progress, Traffic};

use super::outbox::Outbox;
use super::target::{Found, Target};
use super::{Endpoint, Socket};
use health::Health;
use nix::errno::Errno;
use pace::Pace;
use phase::{Connection, Phase, Trust};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// When to look again whether a full buffer has room.
const SHORT: Duration = Duration::from_millis(2);

/// When to look again whether a name is resolved.
const RESOLVING: Duration = Duration::from_millis(10);

/// A buffer that stays full for so long is a failure.
const LONGEST_FULL: Duration = Duration::from_secs(10);

/// How long to wait for a refusal from another host, after the first datagram that follows a failure.
const PROBE: Duration = Duration::from_millis(250);

/// A server, and what is on its way there.
///
/// **What waits.** Datagrams wait in the outbox. [`Link::drive`] sends one after the other, as far as that goes without waiting,
/// and opens a socket for it if there is none. What the socket has taken stays in the outbox, unconfirmed, until a look for errors
/// ([`Link::look`]) finds none that could be about it: an error comes after the datagram that it is about. If the connection ends
/// ([`Link::end`]) or fails ([`Link::fail`]), all that is unconfirmed waits again, in its order, before the rest.
///
/// **What is known** is in two parts that change on their own. The [`Phase`] is that of the socket: whether there is one, and
/// whether it is trusted. A machine takes connections and bytes for a server that is gone, so after the end of a connection the
/// next one sends one datagram and waits whether it is refused ([`Link::probe`]). The [`Health`] is that of the server: whether it
/// is up, or since when it is down and when the next try is due. (A socket may stay open while the server is down, since it takes
/// nothing; and none is open while the server is up, if its name has changed.) Only [`Link::works`] makes the server up and the
/// socket trusted again, after one of these: a look that confirms something, a send to a machine that refuses at once, a probe.
pub struct Link {
    /// Where the server is, and which of its addresses is in use.
    target: Target,
    /// The socket, if there is one.
    phase: Phase,
    /// Whether the server can be reached.
    health: Health,
    /// What waits, and what may have to be sent again.
    outbox: Outbox,
    /// Holds datagrams back where the server can't.
    pace: Option<Pace>,
    /// What has been done so far.
    traffic: Traffic,
    /// What there is to tell the operator.
    events: Vec<Event>,
    /// Where time and sockets come from.
    system: Box<dyn System>,
}

/// What a link needs of the system, but for threads to look up names. Tests have another one.
trait System: Send {
    fn now(&self) -> Instant;

    /// Opens a socket to where the target is now; that may take a while.
    fn connect(&self, target: &Target) -> io::Result<Box<dyn Socket>>;
}

/// The system itself.
struct Real;

impl System for Real {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn connect(&self, target: &Target) -> io::Result<Box<dyn Socket>> {
        target.connect()
    }
}

impl Link {
    /// A link to `endpoint`. Nothing is opened or looked up yet. Datagrams have at most `limit` bytes; a host name is
    /// looked up every `resolve_interval`.
    pub fn new(endpoint: &Endpoint, limit: usize, resolve_interval: Duration) -> Link {
        let target = Target::new(endpoint, resolve_interval, Real.now());
        Link::with(target, Outbox::new(limit, endpoint.framing()), Box::new(Real))
    }

    /// A link that has time and sockets from there.
    fn with(target: Target, outbox: Outbox, system: Box<dyn System>) -> Link {
        Link {
            pace: target.is_udp().then(|| Pace::new(system.now())),
            target,
            phase: Phase::Closed { ended: false },
            health: Health::Up,
            outbox,
            traffic: Traffic::default(),
            events: Vec::new(),
            system,
        }
    }

    /// How long a datagram may be, in bytes.
    pub fn limit(&self) -> usize {
        self.outbox.limit()
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    /// How many bytes wait, in datagrams.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    /// What has been done so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// What there is to tell since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Why the server can't be reached, if that is so.
    pub fn problem(&self) -> Option<&str> {
        self.health.problem()
    }

    /// When the next try is due, while the server can't be reached and something waits for it.
    pub fn retry_at(&self) -> Option<Instant> {
        self.health.retry_at().filter(|_| !self.is_idle())
    }

    /// Puts a datagram behind those that wait.
    pub fn push(&mut self, datagram: Vec<u8>) {
        self.outbox.push(datagram);
    }

    /// To be called before each push: finds out what has become of the last one, and of the socket since then.
    pub fn begin(&mut self, now: Instant) {
        if matches!(&self.phase, Phase::Open(open) if !open.socket.is_current()) {
            self.outbox.confirm();
            self.close();
        }
        self.look(now);
    }

    /// Closes the socket, until there is something to send again. What a stream has taken of the first datagram, in whole
    /// lines, is sent.
    pub fn close(&mut self) {
        self.outbox.cut();
        self.phase.close();
    }

    /// Tries at once, even if the next try isn't due yet.
    pub fn hurry(&mut self) {
        self.health.hurry(self.system.now());
    }

    /// Sends what waits, as far as that goes without waiting.
    pub fn drive(&mut self) -> Progress {
        loop {
            if let Some(progress) = self.step(self.system.now()) {
                return progress;
            }
        }
    }

    /// One step of that. `None` if the next one can follow.
    fn step(&mut self, now: Instant) -> Option<Progress> {
        if let Phase::Open(Connection {
            trust: Trust::Probing(until),
            ..
        }) = self.phase
        {
            return self.probe(until, now).or_else(|| self.pause_after_end(now));
        }
        if let Some(pause) = self.back_off_left(now) {
            return Some(Progress::Down(pause));
        }
        self.look_up(now);
        if self.outbox.is_idle() {
            return Some(Progress::Idle);
        }
        let Phase::Open(open) = &self.phase else {
            return self.connect(now);
        };
        if let Some(pause) = self.pace.as_mut().and_then(|pace| pace.pause(now)) {
            return Some(Progress::Busy(pause));
        }
        if open.socket.tells_at_once() {
            self.look(now);
        }
        self.send(now).or_else(|| self.pause_after_end(now))
    }

    /// A server that takes each connection and ends it must not keep the caller here.
    fn pause_after_end(&self, now: Instant) -> Option<Progress> {
        let goes_on_at_once = matches!(self.phase, Phase::Closed { .. }) && self.back_off_left(now).is_none();
        goes_on_at_once.then_some(Progress::Busy(SHORT))
    }

    /// How long it takes until the next try, if it isn't due yet.
    fn back_off_left(&self, now: Instant) -> Option<Duration> {
        let at = self.health.retry_at().filter(|at| *at > now)?;
        Some(at - now)
    }

    /// Looks the host name up when that is due.
    fn look_up(&mut self, now: Instant) {
        match self.target.look_up(now) {
            Found::Nothing => {}
            Found::OtherAddresses => self.close(),
            Found::Failure(why) => {
                self.traffic.resolve_failures += 1;
                if !self.target.is_resolved() {
                    self.back_off(&format!("its name can't be resolved: {why}"), now);
                }
            }
        }
    }

    /// Connects. `None` if something can be sent then.
    fn connect(&mut self, now: Instant) -> Option<Progress> {
        if !self.target.is_resolved() {
            let wait = self.back_off_left(now);
            return Some(wait.map_or(Progress::Busy(RESOLVING), Progress::Down));
        }
        match self.system.connect(&self.target) {
            Ok(socket) => {
                self.phase.open(socket);
                self.traffic.connections += 1;
                None
            }
            Err(why) => {
                self.fail(&why, self.system.now());
                // Each attempt may have taken a while, so let the caller look whether it is to stop.
                Some(Progress::Busy(Duration::ZERO))
            }
        }
    }

    /// Sends the first datagram. `None` if the next one can follow.
    fn send(&mut self, now: Instant) -> Option<Progress> {
        let (Phase::Open(open), Some(bytes)) = (&mut self.phase, self.outbox.next()) else {
            return None;
        };
        match open.socket.send(bytes) {
            Ok(count) => {
                open.full_since = None;
                if let Some(bytes) = self.outbox.taken(count, now) {
                    self.traffic.datagrams += 1;
                    self.traffic.bytes += bytes as u64;
                    self.sent(now);
                }
            }
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) if why.kind() == ErrorKind::WouldBlock || is(&why, Errno::ENOBUFS) => {
                // The connection stays: a new one would only fill another buffer of the same server.
                let since = *open.full_since.get_or_insert(now);
                if now - since >= LONGEST_FULL {
                    let pause = self.back_off("it has taken nothing for 10 s", now);
                    return Some(Progress::Down(pause));
                }
                return Some(Progress::Busy(SHORT));
            }
            Err(why) if is(&why, Errno::EMSGSIZE) => {
                if self.outbox.send_longer_again(open.socket.longest()) {
                    return None;
                }
                if let Some(name) = self.outbox.split() {
                    self.traffic.too_long += 1;
                    if self.traffic.too_long == 1 {
                        self.events.push(Event::TooLong(name));
                    }
                }
            }
            Err(why) => self.breaks(&why, now),
        }
        None
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
