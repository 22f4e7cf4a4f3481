//! What a link tells of what it does.

use std::time::Duration;

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
