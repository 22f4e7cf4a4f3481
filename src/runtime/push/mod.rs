//! Pushing: a thread that brings what is new to a server, again and again.
//!
//! A *destination* ([`Destination`]) is one server and the protocol that it speaks; each protocol has a folder or a file in
//! here. A [`Worker`] is the thread that drives a destination: when it pushes, tries again, flushes and ends is the same for
//! all of them.

pub(super) mod statsd;
mod worker;

pub(super) use worker::{Worker, FLUSH};

use std::time::{Duration, Instant};

/// Waits for a time, or less. False if there is none left.
pub(super) type Wait<'a> = &'a mut dyn FnMut(Duration) -> bool;

/// What the log and the system call a worker and its parts.
pub(super) struct Names {
    /// The thread, in 15 bytes at most (`pthread_setname_np(3)`).
    pub(super) thread: &'static str,
    /// The worker: "the statsd pusher".
    pub(super) worker: &'static str,
    /// What is logged if the thread doesn't end in time.
    pub(super) late: &'static str,
    /// One push: "a statsd push".
    pub(super) push: &'static str,
    /// What is done between two pushes: "the statsd pusher's samples".
    pub(super) between: &'static str,
}

/// A server that values are pushed to, and what has been sent there. Its methods run on the worker's thread.
pub(super) trait Destination: Send + 'static {
    /// What its worker is called.
    fn names(&self) -> &'static Names;
    /// Where values go and how often, for the log.
    fn greeting(&self) -> String;
    /// The time between two pushes.
    fn interval(&self) -> Duration;
    /// How old the last collection may be before Prosody is asked for one, should it wait for that.
    fn collect_interval(&self) -> Duration;
    /// When the next try is due, while the server can't be reached.
    fn retry_at(&self) -> Option<Instant>;
    /// Why the server can't be reached, if that is so.
    fn problem(&self) -> Option<&str>;
    /// Doesn't wait for the next try to be due.
    fn hurry(&mut self);
    /// Does what can't wait for the next push. Returns when that has to be done again, if ever.
    fn between_pushes(&mut self) -> Option<Duration>;
    /// Sends all that is new; true if the socket has taken everything.
    fn push(&mut self, wait: Wait<'_>) -> bool;
    /// Closes the socket, and tells the operator if there was more to send.
    fn close(&mut self, complete: bool);
}
