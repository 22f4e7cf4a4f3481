//! Which process the threads run in that use the store beside Prosody's.

use crate::sync::{Mutex, MutexGuard};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

/// The process of these threads. In one that forked off from it they don't exist, and what they had locked at that moment stays locked.
#[derive(Default)]
pub struct Home(AtomicU32);

impl Home {
    /// From now on there may be threads, in this process.
    pub(crate) fn enter(&self) {
        self.0.store(process::id(), Relaxed);
    }

    /// There are none any more.
    pub(crate) fn leave(&self) {
        self.0.store(0, Relaxed);
    }

    /// As if this process had forked off from it.
    #[cfg(all(test, feature = "model"))]
    pub(crate) fn fork(&self) {
        self.0.store(process::id() + 1, Relaxed);
    }

    /// Whether there may be threads, in this process.
    pub(crate) fn is_here(&self) -> bool {
        self.0.load(Relaxed) == process::id()
    }

    /// Whether this process forked off from the one where there may be threads.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let home = self.0.load(Relaxed);
        home != 0 && home != process::id()
    }
}

/// What Prosody's thread shares with the others under a lock.
pub(super) struct Shared<T> {
    value: Mutex<T>,
    home: Arc<Home>,
}

impl<T: Default> Shared<T> {
    pub(super) fn new(home: &Arc<Home>) -> Shared<T> {
        Shared {
            value: Mutex::default(),
            home: Arc::clone(home),
        }
    }

    /// Waits for the lock, unless a thread has it that doesn't exist in this process: then nobody will ever get it, and nobody needs to.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, T>> {
        if let Some(guard) = self.value.try_lock() {
            return Some(guard);
        }
        (!self.home.is_elsewhere()).then(|| self.value.lock())
    }

    /// `None` if somebody has it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.value.try_lock()
    }

    /// Whether it is locked for ever.
    pub(super) fn is_lost(&self) -> bool {
        self.home.is_elsewhere() && self.value.try_lock().is_none()
    }
}
