//! Panics: faults in metre itself. Each ends in the function that Lua has called or in the thread that it is in, is counted for
//! the whole process, and is logged once for each of these.

use super::notices::{Level, Notices};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, MutexGuard, Once, TryLockError};
use std::thread;
use std::time::Duration;

/// How many were caught, by where.
static CAUGHT: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// A thread has the lock for less than a microsecond. In a process that forked off just then it has it for ever.
fn lock() -> Option<MutexGuard<'static, BTreeMap<&'static str, u64>>> {
    for _ in 0..100 {
        match CAUGHT.try_lock() {
            Ok(counts) => return Some(counts),
            Err(TryLockError::Poisoned(counts)) => return Some(counts.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}

/// Of a message, in characters: it may quote what it stumbled over.
const LONGEST: usize = 100;

thread_local! {
    /// What the last panic of this thread said, until somebody asks.
    static LAST: Cell<Option<String>> = const { Cell::new(None) };
}

/// From now on panics are not written to stderr, but kept for [`caught`].
pub fn keep_messages() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_hook(Box::new(|info| {
            // There is no such variable any more while a thread ends.
            let _ = LAST.try_with(|last| last.set(Some(describe(info))));
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or(payload.downcast_ref::<String>().map(String::as_str));
    let said: String = text.unwrap_or("without a message").chars().take(LONGEST).collect();
    match info.location() {
        Some(location) => format!("{said} ({}:{})", location.file(), location.line()),
        None => said,
    }
}

/// A panic that was caught.
pub struct Caught {
    site: &'static str,
    /// What it said and where, for the operator.
    pub message: String,
    /// Whether it is the first one there in this process.
    pub is_first: bool,
}

/// Counts a panic of this thread that was caught at `site`.
pub fn caught(site: &'static str) -> Caught {
    let said = LAST.try_with(Cell::take).ok().flatten();
    let is_first = lock().is_some_and(|mut counts| {
        let count = counts.entry(site).or_default();
        *count += 1;
        *count == 1
    });
    let said = said.as_deref().unwrap_or("without a message");
    Caught {
        site,
        message: format!("internal error in {site}: {said}; not logged again"),
        is_first,
    }
}

/// Sites that [`note`] knows at most, of any length up to [`LONGEST`].
const MOST_NOTED: usize = 100;

/// Counts a fault that Lua code of metre's has caught by itself.
pub fn note(site: &str) {
    let Some(mut counts) = lock() else {
        return;
    };
    if let Some(count) = counts.get_mut(site) {
        *count += 1;
    } else if counts.len() < MOST_NOTED {
        let site: String = site.chars().take(LONGEST).collect();
        *counts.entry(site.leak()).or_default() += 1;
    }
}

/// Runs `work`, and counts if it panics.
///
/// # Errors
/// What it panicked with.
pub fn contain<T>(site: &'static str, work: impl FnOnce() -> T) -> Result<T, Caught> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        inject(site);
        work()
    }));
    result.map_err(|payload| {
        // One whose destructor panics must not get further either.
        std::mem::forget(payload);
        caught(site)
    })
}

/// Has a panic of a provider's thread logged, if it is the first one there.
pub(super) fn log(caught: &Caught, notices: &Notices) {
    notices.add_once(caught.site, Level::Error, format!("Please report: {}", caught.message));
}

/// How many were caught in this process, by where.
pub(super) fn counts() -> Vec<(&'static str, u64)> {
    lock().map_or_else(Vec::new, |counts| {
        counts.iter().map(|(at, count)| (*at, *count)).collect()
    })
}

/// Where the next panics are to be, for tests.
#[cfg(feature = "panics")]
static ARMED: Mutex<Option<String>> = Mutex::new(None);

/// From now on [`inject`] panics at this site; in none with `None`. For tests.
#[cfg(feature = "panics")]
pub fn arm(site: Option<String>) {
    *ARMED.lock().unwrap() = site;
}

/// Panics if a test wants that here.
#[inline(always)]
pub fn inject(site: &str) {
    #[cfg(feature = "panics")]
    if ARMED.lock().unwrap().as_deref() == Some(site) {
        panic!("made for a test");
    }
    let _ = site;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_at_each_site_is_logged() {
        assert!(contain("nowhere", || 1).is_ok());
        let is_first = |site| contain(site, || panic!("too bad")).err().map(|caught| caught.is_first);
        assert_eq!(
            [is_first("here"), is_first("here"), is_first("there"), is_first("here")],
            [Some(true), Some(false), Some(true), Some(false)]
        );
        let counts = counts();
        assert!(
            counts.contains(&("here", 3)) && counts.contains(&("there", 1)),
            "{counts:?}"
        );
    }
}
