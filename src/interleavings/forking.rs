//! A fork in a model: the other threads stop where they are, having locked what they have locked, until the child is
//! done. Should it wait for them, all wait, which loom finds.

use crate::sync::AT_EACH_STEP;
use loom::sync::atomic::{AtomicBool, Ordering::AcqRel};
use loom::sync::{Condvar, Mutex};
use loom::thread::{current, ThreadId};
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static FORK: RefCell<Option<Arc<Fork>>> = const { RefCell::new(None) };
}

struct Fork {
    child: ThreadId,
    /// Asked at each point, so that loom knows that the order matters.
    begun: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// The other thread runs.
    Before,
    /// It stands still, or has ended.
    Stands,
    /// The child is done.
    After,
}

impl Fork {
    fn set(&self, state: State) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    fn wait_while(&self, state: State) {
        let mut now = self.state.lock().unwrap();
        while *now == state {
            now = self.changed.wait(now).unwrap();
        }
    }
}

fn get() -> Option<Arc<Fork>> {
    FORK.with_borrow(Option::clone)
}

/// There will be a fork, in which the thread that calls this goes on.
pub(super) fn prepare() {
    FORK.set(Some(Arc::new(Fork {
        child: current().id(),
        begun: AtomicBool::new(false),
        state: Mutex::new(State::Before),
        changed: Condvar::new(),
    })));
    AT_EACH_STEP.set(point);
}

/// Runs the other thread.
pub(super) fn other<T>(run: impl FnOnce() -> T) -> T {
    let result = run();
    if let Some(fork) = get() {
        fork.set(State::Stands);
    }
    result
}

/// From now on only the child goes on, until [`end`]. (The other thread must have come to where it stands: loom's
/// `try_lock` waits if somebody takes the lock at that moment.)
pub(super) fn begin() {
    if let Some(fork) = get() {
        fork.begun.fetch_or(true, AcqRel);
        fork.wait_while(State::Before);
    }
}

pub(super) fn end() {
    AT_EACH_STEP.set(|| ());
    if let Some(fork) = FORK.take() {
        fork.set(State::After);
    }
}

/// Where the other thread may stand: in the middle of something.
fn point() {
    if let Some(fork) = get().filter(|fork| fork.child != current().id()) {
        if fork.begun.fetch_or(false, AcqRel) {
            fork.set(State::Stands);
            fork.wait_while(State::Stands);
        }
    }
}
