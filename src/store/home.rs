//! The process of the threads that use the store beside Prosody's, and a lock that knows it.

use crate::sync::{Mutex, MutexGuard};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

/// The process in which metre's threads run. In a process that forked off from it these threads don't exist, and a lock
/// that one of them had at that moment stays locked.
#[derive(Default)]
pub struct Home(AtomicU32);

impl Home {
    /// From now on threads may run, in this process.
    pub(crate) fn enter(&self) {
        self.0.store(process::id(), Relaxed);
    }

    /// No threads run any more.
    pub(crate) fn leave(&self) {
        self.0.store(0, Relaxed);
    }

    /// As if this process had forked off from it.
    #[cfg(all(test, feature = "model"))]
    pub(crate) fn fork(&self) {
        self.0.store(process::id() + 1, Relaxed);
    }

    /// Whether threads may run in this process.
    pub(crate) fn is_here(&self) -> bool {
        self.0.load(Relaxed) == process::id()
    }

    /// Whether this process forked off from another one, where threads may run.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let home = self.0.load(Relaxed);
        home != 0 && home != process::id()
    }
}

/// A lock that Prosody's thread shares with metre's threads, and that a fork can leave locked.
pub(super) struct HomeMutex<T> {
    value: Mutex<T>,
    home: Arc<Home>,
}

impl<T: Default> HomeMutex<T> {
    pub(super) fn new(home: &Arc<Home>) -> HomeMutex<T> {
        HomeMutex {
            value: Mutex::default(),
            home: Arc::clone(home),
        }
    }

    /// Waits for the lock; `None` if a thread has it that doesn't exist in this process, since nobody will ever get it.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, T>> {
        if let Some(guard) = self.value.try_lock() {
            return Some(guard);
        }
        (!self.home.is_elsewhere()).then(|| self.value.lock())
    }

    /// Takes the lock if it is free.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.value.try_lock()
    }

    /// Whether it is locked for ever.
    pub(super) fn is_lost(&self) -> bool {
        self.home.is_elsewhere() && self.value.try_lock().is_none()
    }
}
