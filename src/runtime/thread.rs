//! Threads that leave Prosody's signals alone, and that nobody waits for for ever.

use nix::sys::signal::{SigSet, SigmaskHow};
use std::convert::Infallible;
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// A thread of ours.
pub(super) struct Thread {
    handle: JoinHandle<()>,
    ended: Receiver<Infallible>,
}

impl Thread {
    /// Starts a thread that gets no signals.
    ///
    /// # Errors
    /// When none can be had.
    pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Thread, String> {
        let (ends, ended) = sync_channel::<Infallible>(0);
        // A new thread inherits this mask.
        let before = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .map_err(|why| format!("signals cannot be blocked: {why}"))?;
        let spawned = Builder::new().name(name.to_owned()).spawn(move || {
            let _ends = ends;
            run();
        });
        let restored = before.thread_set_mask();
        let handle = spawned.map_err(|why| format!("no thread for {name}: {why}"))?;
        restored.map_err(|why| format!("signals cannot be unblocked: {why}"))?;
        Ok(Thread { handle, ended })
    }

    /// Waits for its end. False if it hasn't ended by then.
    pub(super) fn join_by(self, limit: Instant) -> bool {
        let left = limit.saturating_duration_since(Instant::now());
        match self.ended.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => false,
            _ => {
                // It has nothing left to do, and has reported what went wrong.
                let _ = self.handle.join();
                true
            }
        }
    }
}
