//! When the provider's threads run, and what they do.
//!
//! A provider is made before Prosody forks into the background and also in prosodyctl, so making one starts nothing
//! (`docs/design.md`, "Life cycle").

mod notices;
mod own_metrics;
mod push_metrics;
mod pusher;
mod worker;

pub use notices::{Level, Notices};
pub use pusher::PushOptions;

use crate::store::Store;
use pusher::Pusher;
use std::os::fd::RawFd;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::sync::Arc;
use worker::Worker;

/// The life cycle of one provider.
pub struct Runtime {
    /// The process it was started in, while it runs; else 0. In a process that forked off from that one the threads
    /// don't exist, and locks may be held by them for ever: so there nothing is touched.
    owner: AtomicU32,
    worker: Option<Worker>,
    notices: Arc<Notices>,
    /// What is logged at the start.
    greeting: String,
}

impl Runtime {
    /// One that hasn't been started. Has no effect but that metre's own metrics are in the store if there is something
    /// to push.
    pub fn new(store: &Arc<Store>, push: Option<PushOptions>) -> Runtime {
        let notices = Arc::new(Notices::default());
        Runtime {
            owner: AtomicU32::new(0),
            greeting: push.as_ref().map(PushOptions::greeting).unwrap_or_default(),
            worker: push.map(|options| Worker::new(Pusher::new(store, options, &notices), &notices)),
            notices,
        }
    }

    /// Starts in this process; has no effect if it runs already. Returns a descriptor that is readable when there are
    /// [`Runtime::notices`], if there will ever be any.
    ///
    /// # Errors
    /// When the system has no descriptors or threads left, or in a process that forked off from the one it runs in.
    pub fn start(&self) -> Result<Option<RawFd>, String> {
        let owner = self.owner.load(Relaxed);
        if owner != 0 && owner != process::id() {
            return Err("it runs in the process that this one forked off from".to_owned());
        }
        let Some(worker) = &self.worker else {
            self.owner.store(process::id(), Relaxed);
            return Ok(None);
        };
        if owner != 0 {
            return Ok(None);
        }
        let descriptor = self.notices.open().map_err(|why| format!("no socket pair: {why}"))?;
        if let Err(why) = worker.start() {
            self.notices.close();
            return Err(why);
        }
        self.owner.store(process::id(), Relaxed);
        self.notices.add(Level::Info, self.greeting.clone());
        Ok(Some(descriptor))
    }

    /// Stops, after the last values have been sent; takes two seconds at most. May be called again and again.
    pub fn stop(&self) {
        if self.is_running() {
            if self.worker.as_ref().is_some_and(|worker| !worker.stop()) {
                let message = "The statsd pusher has not ended in time; what it had not sent by then may be lost";
                self.notices.add(Level::Warn, message.to_owned());
            }
            self.notices.close();
            self.owner.store(0, Relaxed);
        }
    }

    /// Whether it runs in this process.
    pub fn is_running(&self) -> bool {
        self.owner.load(Relaxed) == process::id()
    }

    /// Hands everything pending to where it goes, in a second at most. Nothing is ever pending without a pusher.
    ///
    /// # Errors
    /// When there was more than could be sent.
    pub fn flush(&self) -> Result<(), String> {
        match &self.worker {
            Some(worker) if self.is_running() => worker.flush(),
            Some(_) => Err("the statsd pusher does not run in this process".to_owned()),
            None => Ok(()),
        }
    }

    /// What there is to log.
    pub fn notices(&self) -> Vec<(Level, String)> {
        match self.owner.load(Relaxed) {
            0 => self.notices.take(),
            owner if owner == process::id() => self.notices.take(),
            _ => Vec::new(),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_stops_as_often_as_asked() {
        let runtime = Runtime::new(&Arc::new(Store::new()), None);
        assert!(!runtime.is_running());
        runtime.stop();
        for _ in 0..2 {
            runtime.start().unwrap();
            runtime.start().unwrap();
            assert!(runtime.is_running());
            runtime.stop();
            runtime.stop();
            assert!(!runtime.is_running());
        }
    }
}
