//! The socket of a link, and how far it is trusted.

use super::super::Socket;
use std::time::Instant;

/// What becomes of the socket.
pub(super) enum Phase {
    /// There is none.
    Closed {
        /// Whether a connection has ended, in whatever way, and no later one has worked: the next one isn't trusted.
        ended: bool,
    },
    /// There is one.
    Open(Connection),
}

/// An open socket.
pub(super) struct Connection {
    pub(super) socket: Box<dyn Socket>,
    pub(super) trust: Trust,
    /// Since when its buffer has been full, if it is.
    pub(super) full_since: Option<Instant>,
}

/// How far a socket is trusted.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Trust {
    /// What it takes and no error follows on has arrived.
    Full,
    /// It follows on a connection that has ended, and has taken no datagram yet.
    Untried,
    /// It has taken one, whose refusal may come until then.
    Probing(Instant),
}

impl Phase {
    /// There is a new socket.
    pub(super) fn open(&mut self, socket: Box<dyn Socket>) {
        let trust = match self.is_trusted() {
            true => Trust::Full,
            false => Trust::Untried,
        };
        *self = Phase::Open(Connection {
            socket,
            trust,
            full_since: None,
        });
    }

    /// There is none any more, for want of something to send, or since the server is elsewhere.
    pub(super) fn close(&mut self) {
        let ended = !self.is_trusted();
        *self = Phase::Closed { ended };
    }

    /// There is none any more, since the other side has ended it or it has failed.
    pub(super) fn end(&mut self) {
        *self = Phase::Closed { ended: true };
    }

    /// What was sent has arrived.
    pub(super) fn works(&mut self) {
        if let Phase::Open(connection) = self {
            connection.trust = Trust::Full;
        }
    }

    fn is_trusted(&self) -> bool {
        match self {
            Phase::Closed { ended } => !ended,
            Phase::Open(connection) => connection.trust == Trust::Full,
        }
    }
}
