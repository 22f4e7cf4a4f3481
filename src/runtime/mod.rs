//! When the provider's threads may run.
//!
//! A provider is made before Prosody forks into the background and also in prosodyctl, so making one starts nothing
//! (`docs/design.md`, "Life cycle"). There are no threads yet; what serves scrapes and pushes statsd starts and
//! stops here.

use parking_lot::Mutex;
use std::process;

/// The life cycle of one provider.
#[derive(Default)]
pub struct Runtime {
    /// The process it was started in, while it runs.
    owner: Mutex<Option<u32>>,
}

impl Runtime {
    /// One that hasn't been started. Has no effect outside its own memory.
    pub fn new() -> Runtime {
        Runtime::default()
    }

    /// Starts in this process; has no effect if it runs here already.
    pub fn start(&self) {
        *self.owner.lock() = Some(process::id());
    }

    /// Stops. In a process that forked off from the one it was started in there is nothing to stop, and a lock may
    /// be held by a thread that doesn't exist there, so nothing is touched.
    pub fn stop(&self) {
        if let Some(mut owner) = self.owner.try_lock() {
            if *owner == Some(process::id()) {
                *owner = None;
            }
        }
    }

    /// Whether it runs in this process.
    pub fn is_running(&self) -> bool {
        self.owner.try_lock().is_some_and(|owner| *owner == Some(process::id()))
    }

    /// Hands everything pending to where it goes, and tells whether that worked. Nothing is ever pending without a
    /// pusher.
    pub fn flush(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_stops_as_often_as_asked() {
        let runtime = Runtime::new();
        assert!(!runtime.is_running());
        runtime.stop();
        for _ in 0..2 {
            runtime.start();
            runtime.start();
            assert!(runtime.is_running());
            runtime.stop();
            runtime.stop();
            assert!(!runtime.is_running());
        }
    }
}
