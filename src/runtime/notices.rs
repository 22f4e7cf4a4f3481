//! What threads have to tell the operator: only Prosody's own thread may log.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// More than this nobody would read; the oldest go first.
const MOST: usize = 100;

/// The levels of Prosody's logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the record.
    Info,
    /// Something the operator should look at.
    Warn,
    /// A fault in metre.
    Error,
}

impl Level {
    /// As Prosody's logger calls it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Messages on their way to Prosody's thread.
#[derive(Default)]
pub struct Notices {
    queue: Mutex<VecDeque<(Level, String)>>,
    bell: Mutex<Option<Bell>>,
}

/// A byte comes through when there are messages.
struct Bell {
    rings: UnixStream,
    hears: UnixStream,
}

impl Notices {
    /// Adds a message, and wakes whoever watches the descriptor.
    pub(super) fn add(&self, level: Level, message: String) {
        let mut queue = self.queue.lock();
        if queue.len() == MOST {
            queue.pop_front();
        }
        queue.push_back((level, message));
        drop(queue);
        if let Some(bell) = &*self.bell.lock() {
            // If it is full, it rings already.
            let _ = (&bell.rings).write(&[0]);
        }
    }

    /// Takes out all messages.
    pub fn take(&self) -> Vec<(Level, String)> {
        if let Some(bell) = &*self.bell.lock() {
            let mut scratch = [0; 64];
            while matches!((&bell.hears).read(&mut scratch), Ok(64)) {}
        }
        self.queue.lock().drain(..).collect()
    }

    /// A descriptor that is readable when there are messages.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn open(&self) -> io::Result<RawFd> {
        let (rings, hears) = UnixStream::pair()?;
        rings.set_nonblocking(true)?;
        hears.set_nonblocking(true)?;
        let descriptor = hears.as_raw_fd();
        *self.bell.lock() = Some(Bell { rings, hears });
        Ok(descriptor)
    }

    /// Closes the descriptor.
    pub(super) fn close(&self) {
        *self.bell.lock() = None;
    }
}
