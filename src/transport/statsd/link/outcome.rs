//! What becomes of what a link has sent: it has arrived, or is to be sent again.

use super::phase::{Connection, Phase, Trust};
use super::{is, Event, Link, Progress, PROBE, SHORT};
use nix::errno::Errno;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

impl Link {
    /// The first datagram was taken.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.sent();
        }
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        // A machine takes what its server may never read. So after the end of a connection the next one has to last.
        let lasts = open.trust == Trust::Full || !self.target.is_stream();
        if open.socket.tells_at_once() && lasts {
            match open.socket.check() {
                // It stays unconfirmed until the next look: a busy machine may be late with an error.
                Ok(()) => self.works(now),
                Err(why) => self.breaks(&why, now),
            }
        } else if open.trust == Trust::Untried {
            open.trust = Trust::Probing(now + PROBE);
        }
    }

    /// What became of the first datagram after a failure. `None` if that is known.
    pub(super) fn probe(&mut self, until: Instant, now: Instant) -> Option<Progress> {
        let Phase::Open(open) = &mut self.phase else {
            return None;
        };
        let checked = open.socket.check();
        // Where it is known what the server itself has read, that needs no more time.
        let tells = self.target.tells_what_is_read();
        let unread = tells.then(|| open.socket.unacknowledged());
        match checked {
            Err(why) => self.breaks(&why, now),
            Ok(()) if until > now && unread != Some(0) => {
                return Some(Progress::Busy(SHORT.max((until - now) / 10)));
            }
            Ok(()) => {
                self.outbox.confirm_but(unread.unwrap_or(0), now);
                self.works(now);
            }
        }
        None
    }

    /// Looks for errors that have come since the last look.
    pub(super) fn look(&mut self, now: Instant) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        match open.socket.check() {
            // A new socket without an error proves nothing, and an idle one has nothing to prove.
            Ok(()) if self.outbox.is_confirmed() || open.trust != Trust::Full => {}
            Ok(()) => {
                if self.confirm(now) {
                    self.works(now);
                }
            }
            Err(why) if is(&why, Errno::EMSGSIZE) => {
                self.outbox.send_longer_again(open.socket.longest());
            }
            Err(why) => self.breaks(&why, now),
        }
    }

    /// There is no error: so what may count as arrived? False if that is nothing.
    fn confirm(&mut self, now: Instant) -> bool {
        let Phase::Open(Connection { socket, .. }) = &self.phase else {
            return false;
        };
        let is_old = now.checked_sub(PROBE);
        if self.target.is_udp() && !socket.tells_at_once() {
            // A refusal of what was sent a moment ago may still come.
            self.outbox.confirm_until(is_old)
        } else if self.target.is_tcp() {
            // A server that is busy may not have seen this connection yet, and may still end it unread.
            is_old.is_some_and(|then| self.outbox.confirm_but(socket.unacknowledged(), then))
        } else {
            self.outbox.confirm_but(socket.unacknowledged(), now)
        }
    }

    /// The server takes what it is sent.
    pub(super) fn works(&mut self, now: Instant) {
        self.phase.works();
        self.target.works();
        if let Some(after) = self.health.works(now) {
            self.events.push(Event::Healed(after));
        }
    }

    /// The socket is of no use any more.
    pub(super) fn breaks(&mut self, why: &io::Error, now: Instant) {
        match why.kind() {
            ErrorKind::UnexpectedEof => self.end(now),
            _ => self.fail(why, now),
        }
    }

    /// The other side has closed the connection, and has read what its machine had got by then. That is no failure as long
    /// as it takes a new connection.
    fn end(&mut self, now: Instant) {
        if let Phase::Open(open) = &self.phase {
            self.outbox.confirm_but(open.socket.unacknowledged(), now);
        }
        self.lose();
    }

    /// The connection or the attempt has failed: everything that may not have arrived waits again, for the next address
    /// or the next try.
    pub(super) fn fail(&mut self, why: &io::Error, now: Instant) {
        self.traffic.errors += 1;
        self.lose();
        let has_another_address = self.target.fails(now);
        if !has_another_address && self.health.fails() {
            self.back_off(&why.to_string(), now);
        }
    }

    /// The connection is gone, and so is what isn't confirmed.
    fn lose(&mut self) {
        self.outbox.send_again();
        self.outbox.cut();
        self.phase.end();
    }

    /// Waits for the next try, and says how long.
    pub(super) fn back_off(&mut self, why: &str, now: Instant) -> Duration {
        let (pause, is_new) = self.health.back_off(why, now);
        if is_new {
            self.events.push(Event::Broke(why.to_owned()));
        }
        pause
    }
}
