//! What threads share: atomics, locks, published values, waiting. With the feature `model` they are loom's, which tries
//! out what threads can do in turn and what each may see of the others' writes (`src/interleavings/`); without it they
//! are the standard library's.
//!
//! Nothing here but [`ThreadsMutex`] has memory that locks share: a lock that nobody holds can be taken in a process
//! that forked off, whatever the others were doing.

#[cfg(feature = "model")]
use loom::sync as base;
#[cfg(not(feature = "model"))]
use std::sync as base;

#[cfg(not(feature = "model"))]
pub(crate) use base::atomic;

#[cfg(feature = "model")]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    pub(crate) fn fence(order: Ordering) {
        super::step();
        loom::sync::atomic::fence(order);
    }
}

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// A lock that a panic doesn't spoil.
#[derive(Default)]
pub(crate) struct Mutex<T>(base::Mutex<T>);

/// What is locked, as long as this is there.
pub(crate) struct MutexGuard<'a, T>(base::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(base::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `None` if somebody has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(guard)),
            Err(TryLockError::Poisoned(guard)) => Some(MutexGuard(guard.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A lock that metre's own threads alone take: a byte and no more, and a panic doesn't spoil it. Those that wait stand
/// in a table for the whole process, which a fork can leave locked. So it is for nothing that Prosody's thread takes;
/// `docs/design.md`, "Locks", names them.
#[cfg(not(feature = "model"))]
pub(crate) type ThreadsMutex<T> = parking_lot::Mutex<T>;
#[cfg(feature = "model")]
pub(crate) type ThreadsMutex<T> = Mutex<T>;

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        #[cfg(feature = "model")]
        step();
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        #[cfg(feature = "model")]
        step();
        &mut self.0
    }
}

/// Where threads wait for something to change.
#[derive(Default)]
pub(crate) struct Condvar(base::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(base::Condvar::new())
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Gives the lock back until somebody notifies, or until then. In a model that time never comes: who relies on it
    /// instead of being notified is found.
    pub(crate) fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, until: Instant) -> MutexGuard<'a, T> {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.0.wait_timeout(guard.0, left);
        MutexGuard(waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// A value that is replaced as a whole. Nobody waits for anybody, even for a thread that is gone for ever in the middle
/// of it.
pub(crate) struct Published<T> {
    #[cfg(not(feature = "model"))]
    value: arc_swap::ArcSwap<T>,
    /// The crate has models of its own.
    #[cfg(feature = "model")]
    value: base::Mutex<Arc<T>>,
}

impl<T: Default> Default for Published<T> {
    fn default() -> Self {
        let value = Arc::new(T::default());
        Published {
            #[cfg(not(feature = "model"))]
            value: arc_swap::ArcSwap::new(value),
            #[cfg(feature = "model")]
            value: base::Mutex::new(value),
        }
    }
}

#[cfg(not(feature = "model"))]
impl<T> Published<T> {
    pub(crate) fn load(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Replaces the value by what `change` makes of it, which is called again if somebody else was faster. Returns the
    /// one before.
    pub(crate) fn change(&self, mut change: impl FnMut(&T) -> T) -> Arc<T> {
        self.value.rcu(|value| change(value))
    }
}

#[cfg(feature = "model")]
impl<T> Published<T> {
    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change(&self, mut change: impl FnMut(&T) -> T) -> Arc<T> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = Arc::new(change(&value));
        std::mem::replace(&mut value, changed)
    }
}

#[cfg(feature = "model")]
thread_local! {
    /// How often a [`Patience`] of the model that runs lets somebody look.
    pub(crate) static MOST_LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
    /// What the model that runs has each thread do in the middle of what others may see half done.
    pub(crate) static AT_EACH_STEP: std::cell::Cell<fn()> = const { std::cell::Cell::new(|| ()) };
}

#[cfg(feature = "model")]
fn step() {
    AT_EACH_STEP.get()();
}

/// How long somebody looks again and again.
pub(crate) struct Patience {
    end: Option<Instant>,
    #[cfg_attr(not(feature = "model"), allow(dead_code))]
    looks: usize,
}

impl Patience {
    /// Begins with the first [`Patience::pause`].
    pub(crate) fn new() -> Patience {
        Patience { end: None, looks: 0 }
    }

    /// Lets others run for `pause`, or just gives way if that is zero. False once it has lasted for `limit`.
    pub(crate) fn pause(&mut self, pause: Duration, limit: Duration) -> bool {
        #[cfg(feature = "model")]
        {
            let _ = (pause, limit, &mut self.end);
            self.looks += 1;
            loom::thread::yield_now();
            self.looks < MOST_LOOKS.get()
        }
        #[cfg(not(feature = "model"))]
        {
            match pause.is_zero() {
                true => std::thread::yield_now(),
                false => std::thread::sleep(pause),
            }
            let now = Instant::now();
            now < *self.end.get_or_insert(now + limit)
        }
    }
}
