//! Threads that leave Prosody's signals alone, and that nobody waits for for ever.

#![cfg_attr(feature = "model", allow(unused_imports, dead_code))]

use super::notices::Notices;
use super::panics;
use nix::sys::signal::{SigSet, SigmaskHow};
use std::convert::Infallible;
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Between a panic and the next try. A stop waits for it.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs `work` to its end; again after a panic, which is counted and logged as one at `site`.
pub(super) fn survive(notices: &Notices, site: &'static str, mut work: impl FnMut()) {
    while let Err(caught) = panics::contain(site, &mut work) {
        panics::log(&caught, notices);
        thread::sleep(PAUSE);
    }
}

#[cfg(feature = "model")]
pub(super) use modelled::Thread;

/// A thread of ours.
#[cfg(not(feature = "model"))]
pub(super) struct Thread {
    handle: JoinHandle<()>,
    ended: Receiver<Infallible>,
}

#[cfg(not(feature = "model"))]
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

/// The same in a model.
#[cfg(feature = "model")]
mod modelled {
    use super::*;

    pub(in crate::runtime) struct Thread(loom::thread::JoinHandle<()>);

    impl Thread {
        pub(in crate::runtime) fn start(_: &str, run: impl FnOnce() + Send + 'static) -> Result<Thread, String> {
            Ok(Thread(loom::thread::spawn(run)))
        }

        pub(in crate::runtime) fn join_by(self, _: Instant) -> bool {
            self.0.join().is_ok()
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_panic_is_reported_once_and_survived() {
        let notices = Arc::new(Notices::new(&Arc::default()));
        let of_thread = Arc::clone(&notices);
        let thread = Thread::start("panics", move || {
            let mut left = 2;
            survive(&of_thread, "testing", || {
                left -= 1;
                assert!(left < 0, "a panic on purpose");
            });
        });
        assert!(thread.unwrap().join_by(Instant::now() + Duration::from_secs(20)));
        let told: Vec<String> = notices.take().into_iter().map(|(_, text)| text).collect();
        let [line] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(line.starts_with("Please report: internal error in testing: "), "{line}");
    }
}
