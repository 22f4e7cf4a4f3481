//! The way to one server: datagrams that wait, errors that come late, and when to try again.

use super::outbox::Outbox;
use super::target::{Found, Target};
use super::{Endpoint, Socket};
use nix::errno::Errno;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// After the first failure, and after many in a row.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// When to look again whether a full buffer has room.
const SHORT: Duration = Duration::from_millis(2);

/// When to look again whether a name is resolved.
const RESOLVING: Duration = Duration::from_millis(10);

/// A buffer that stays full for so long is a failure.
const LONGEST_FULL: Duration = Duration::from_secs(10);

/// How long to wait for a refusal from another host, after the first datagram that follows a failure.
const PROBE: Duration = Duration::from_millis(250);

/// UDP has no flow control, and a socket's default receive buffer holds some ninety datagrams of 1432 bytes. So there are
/// at most 4,000 datagrams a second, that is some 150,000 lines.
const BURST: u32 = 16;
const BETWEEN_BURSTS: Duration = Duration::from_millis(4);

/// Where [`Link::drive`] has got to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing waits any more.
    Idle,
    /// Something waits; go on after this time.
    Busy(Duration),
    /// The server can't be reached; the next try is due after this time.
    Down(Duration),
}

/// Something to tell the operator.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The server can't be reached; why.
    Broke(String),
    /// It can be reached again, after this time.
    Healed(Duration),
    /// The line of this name was the first one that was too long even alone.
    TooLong(Vec<u8>),
}

/// What a link has done, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams the socket has taken; those that were sent again, again.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sockets opened.
    pub connections: u64,
    /// Failures to connect or send.
    pub errors: u64,
    /// Look-ups of the host name that failed.
    pub resolve_failures: u64,
    /// Lines that were too long even alone.
    pub too_long: u64,
}

/// A server, and what is on its way there.
pub struct Link {
    target: Target,
    socket: Option<Box<dyn Socket>>,
    outbox: Outbox,
    /// When there may be the next try; set while the server is away.
    retry_at: Option<Instant>,
    backoff: Duration,
    /// Until when a refusal of the first datagram after a failure may come.
    probing: Option<Instant>,
    broken_since: Option<Instant>,
    /// Whether something went wrong since it last worked, which the next try is to put right.
    failed_before: bool,
    /// Whether a connection has ended, in whatever way, and no later one has worked yet.
    unproven: bool,
    /// What went wrong last.
    problem: String,
    full_since: Option<Instant>,
    burst: (Instant, u32),
    traffic: Traffic,
    events: Vec<Event>,
}

impl Link {
    /// A link to `endpoint`. Nothing is opened or looked up yet. Datagrams have at most `limit` bytes; a host name is
    /// looked up every `resolve_interval`.
    pub fn new(endpoint: &Endpoint, limit: usize, resolve_interval: Duration) -> Link {
        let now = Instant::now();
        Link {
            target: Target::new(endpoint, resolve_interval, now),
            socket: None,
            outbox: Outbox::new(limit, endpoint.framing()),
            retry_at: None,
            backoff: SHORTEST_BACKOFF,
            probing: None,
            broken_since: None,
            failed_before: false,
            unproven: false,
            problem: String::new(),
            full_since: None,
            burst: (now, 0),
            traffic: Traffic::default(),
            events: Vec::new(),
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
        self.broken_since.and(Some(self.problem.as_str()))
    }

    /// When the next try is due, while the server can't be reached and something waits for it.
    pub fn retry_at(&self) -> Option<Instant> {
        self.broken_since.filter(|_| !self.is_idle()).and(self.retry_at)
    }

    /// Puts a datagram behind those that wait.
    pub fn push(&mut self, datagram: Vec<u8>) {
        self.outbox.push(datagram);
    }

    /// To be called before each push: finds out what has become of the last one, and of the socket since then.
    pub fn begin(&mut self, now: Instant) {
        if self.socket.as_ref().is_some_and(|socket| !socket.is_current()) {
            self.outbox.confirm();
            self.close();
        }
        self.look(now, true);
    }

    /// Looks for errors that have come since the last look; for the first time in a push, more closely.
    fn look(&mut self, now: Instant, first: bool) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        match socket.check() {
            // A new socket without an error proves nothing, and an idle one has nothing to prove.
            Ok(()) if self.outbox.is_confirmed() => {}
            Ok(()) if self.probing.is_none() && !self.unproven => {
                let (is_old, outbox) = (now.checked_sub(PROBE), &mut self.outbox);
                let confirmed = if self.target.is_udp() && !socket.tells_at_once() {
                    // A refusal of what was sent a moment ago may still come.
                    outbox.confirm_until(is_old)
                } else if self.target.is_tcp() {
                    // A server that is busy may not have seen this connection yet, and may still end it unread.
                    let unacknowledged = if first { socket.unacknowledged() } else { 0 };
                    is_old.is_some_and(|then| outbox.confirm_but(unacknowledged, then))
                } else {
                    outbox.confirm_but(socket.unacknowledged(), now)
                };
                if confirmed {
                    self.works(now);
                }
            }
            Ok(()) => {}
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => self.end(),
            Err(why) if is(&why, Errno::EMSGSIZE) => {
                let longest = socket.longest();
                self.outbox.send_longer_again(longest);
            }
            Err(why) => self.fail(&why, now),
        }
    }

    /// The other side has closed the connection, and has read what its machine had got by then. That is no failure as long
    /// as it takes a new connection.
    fn end(&mut self) {
        let unacknowledged = self.socket.as_ref().map_or(0, |socket| socket.unacknowledged());
        self.outbox.confirm_but(unacknowledged, Instant::now());
        self.unproven = true;
        self.outbox.send_again();
        self.close();
    }

    /// Closes the socket, until there is something to send again. What a stream has taken of the first datagram, in whole
    /// lines, is sent.
    pub fn close(&mut self) {
        self.outbox.cut();
        self.probing = None;
        self.socket = None;
    }

    /// Tries at once, even if the next try isn't due yet.
    pub fn hurry(&mut self) {
        self.retry_at = self.retry_at.and(Some(Instant::now()));
    }

    /// Sends what waits, as far as that goes without waiting.
    pub fn drive(&mut self) -> Progress {
        loop {
            let now = Instant::now();
            if let Some(until) = self.probing {
                match self.probe(until, now) {
                    Some(progress) => return progress,
                    None => continue,
                }
            }
            if let Some(at) = self.retry_at {
                if at > now {
                    return Progress::Down(at - now);
                }
            }
            self.look_up(now);
            if self.outbox.is_idle() {
                return Progress::Idle;
            }
            if self.socket.is_none() {
                if let Err(progress) = self.connect(now) {
                    return progress;
                }
                continue;
            }
            if self.target.is_udp() && self.burst.1 >= BURST {
                let pause = (self.burst.0 + BETWEEN_BURSTS).saturating_duration_since(now);
                if !pause.is_zero() {
                    return Progress::Busy(pause);
                }
                self.burst = (now, 0);
            }
            if self.tells_at_once() {
                self.look(now, false);
            }
            if let Some(progress) = self.send(now) {
                return progress;
            }
            if self.socket.is_none() && self.retry_at.is_none_or(|at| at <= now) {
                // A server that takes each connection and ends it must not keep the caller here.
                return Progress::Busy(SHORT);
            }
        }
    }

    fn tells_at_once(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.tells_at_once())
    }

    /// What became of the first datagram after a failure, once that is known.
    fn probe(&mut self, until: Instant, now: Instant) -> Option<Progress> {
        let checked = self.socket.as_mut().map(|socket| socket.check());
        // What has been read needs no more time.
        let unread = self.unread();
        match checked {
            Some(Err(why)) if why.kind() == ErrorKind::UnexpectedEof => self.end(),
            Some(Err(why)) => self.fail(&why, now),
            Some(Ok(())) if until > now && unread != Some(0) => {
                return Some(Progress::Busy(SHORT.max((until - now) / 10)));
            }
            _ => {
                self.probing = None;
                self.outbox.confirm_but(unread.unwrap_or(0), now);
                self.works(now);
            }
        }
        None
    }

    /// How many bytes the server itself hasn't read yet, where that is known.
    fn unread(&self) -> Option<usize> {
        let socket = self.socket.as_ref().filter(|_| self.target.tells_what_is_read());
        socket.map(|socket| socket.unacknowledged())
    }

    /// Sends the first datagram. `None` if the next one can follow.
    fn send(&mut self, now: Instant) -> Option<Progress> {
        let (Some(socket), Some(bytes)) = (&mut self.socket, self.outbox.next()) else {
            return None;
        };
        match socket.send(bytes) {
            Ok(count) => {
                self.full_since = None;
                if let Some(bytes) = self.outbox.taken(count, now) {
                    self.traffic.datagrams += 1;
                    self.traffic.bytes += bytes as u64;
                    self.sent(now);
                }
            }
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => self.end(),
            Err(why) if why.kind() == ErrorKind::WouldBlock || is(&why, Errno::ENOBUFS) => {
                // The connection stays: a new one would only fill another buffer of the same server.
                let since = *self.full_since.get_or_insert(now);
                if now - since >= LONGEST_FULL {
                    let pause = self.back_off("it has taken nothing for 10 s", now);
                    return Some(Progress::Down(pause));
                }
                return Some(Progress::Busy(SHORT));
            }
            Err(why) if is(&why, Errno::EMSGSIZE) && self.outbox.send_longer_again(socket.longest()) => {}
            Err(why) if is(&why, Errno::EMSGSIZE) => {
                if let Some(name) = self.outbox.split() {
                    self.traffic.too_long += 1;
                    if self.traffic.too_long == 1 {
                        self.events.push(Event::TooLong(name));
                    }
                }
            }
            Err(why) => self.fail(&why, now),
        }
        None
    }

    /// The first datagram was taken.
    fn sent(&mut self, now: Instant) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        self.burst.1 += 1;
        // A machine takes what its server may never read. So after the end of a connection the next one has to last.
        let lasts = !self.unproven || !self.target.is_stream();
        if socket.tells_at_once() && lasts {
            match socket.check() {
                // It stays unconfirmed until the next look: a busy machine may be late with an error.
                Ok(()) => self.works(now),
                Err(why) if why.kind() == ErrorKind::UnexpectedEof => self.end(),
                Err(why) => self.fail(&why, now),
            }
        } else if self.unproven {
            self.probing = Some(now + PROBE);
        }
    }

    /// The server takes what it is sent.
    fn works(&mut self, now: Instant) {
        self.backoff = SHORTEST_BACKOFF;
        self.retry_at = None;
        self.failed_before = false;
        self.unproven = false;
        self.target.works();
        if let Some(since) = self.broken_since.take() {
            self.events.push(Event::Healed(now - since));
        }
    }

    /// The connection or the attempt has failed: everything that may not have arrived waits again, for the next address
    /// or the next try.
    fn fail(&mut self, why: &io::Error, now: Instant) {
        self.traffic.errors += 1;
        self.full_since = None;
        self.unproven = true;
        self.outbox.send_again();
        self.close();
        if self.target.fails(now) {
            return;
        }
        if self.broken_since.is_none() && !std::mem::replace(&mut self.failed_before, true) {
            // A connection may end for any reason: that is no failure as long as there is a new one.
            return;
        }
        self.back_off(&why.to_string(), now);
    }

    fn breaks(&mut self, why: &str, now: Instant) {
        why.clone_into(&mut self.problem);
        if self.broken_since.is_none() {
            self.broken_since = Some(now);
            self.events.push(Event::Broke(why.to_owned()));
        }
    }

    /// Waits for the next try, and says how long.
    fn back_off(&mut self, why: &str, now: Instant) -> Duration {
        self.breaks(why, now);
        let pause = self.backoff;
        self.retry_at = Some(now + pause);
        self.backoff = (2 * pause).min(LONGEST_BACKOFF);
        pause
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

    /// Connects, or says how far that has got.
    fn connect(&mut self, now: Instant) -> Result<(), Progress> {
        if !self.target.is_resolved() {
            let wait = self.retry_at.filter(|at| *at > now);
            return Err(wait.map_or(Progress::Busy(RESOLVING), |at| Progress::Down(at - now)));
        }
        match self.target.connect() {
            Ok(socket) => {
                self.socket = Some(socket);
                self.traffic.connections += 1;
            }
            Err(why) => {
                self.fail(&why, Instant::now());
                // Each attempt may have taken a while, so let the caller look whether it is to stop.
                return Err(Progress::Busy(Duration::ZERO));
            }
        }
        Ok(())
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
