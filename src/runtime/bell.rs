//! How other threads wake Prosody's: a byte on a socket pair that its event loop watches.

use crate::sync::Mutex;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// A bell, which can be rung from any thread once it is open.
#[derive(Default)]
pub(super) struct Bell {
    ends: Mutex<Option<Ends>>,
}

struct Ends {
    rings: UnixStream,
    hears: UnixStream,
}

impl Bell {
    /// Returns a descriptor that is readable once the bell has been rung.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn open(&self) -> io::Result<RawFd> {
        let (rings, hears) = UnixStream::pair()?;
        rings.set_nonblocking(true)?;
        hears.set_nonblocking(true)?;
        let descriptor = hears.as_raw_fd();
        *self.ends.lock() = Some(Ends { rings, hears });
        Ok(descriptor)
    }

    /// Makes the descriptor readable, if there is one.
    pub(super) fn ring(&self) {
        if let Some(ends) = &*self.ends.lock() {
            // If it is full, it rings already.
            let _ = (&ends.rings).write(&[0]);
        }
    }

    /// The descriptor is no longer readable, until the bell is rung again.
    pub(super) fn heard(&self) {
        if let Some(ends) = &*self.ends.lock() {
            let mut scratch = [0; 64];
            while matches!((&ends.hears).read(&mut scratch), Ok(64)) {}
        }
    }

    /// Whether the descriptor is readable.
    #[cfg(feature = "model")]
    pub(super) fn is_rung(&self) -> bool {
        let ends = self.ends.lock();
        ends.as_ref().is_some_and(|ends| (&ends.hears).read(&mut [0]).is_ok())
    }

    /// Closes the descriptor.
    pub(super) fn close(&self) {
        *self.ends.lock() = None;
    }
}
