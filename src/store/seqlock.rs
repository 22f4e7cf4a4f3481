//! A sequence lock over several records: for reads that must not mix what was before and after a change.

use crate::sync::atomic::{fence, AtomicU64, Ordering::*};
use crate::sync::Patience;
use std::time::Duration;

/// How long a reader tries. Collections are seconds apart, and showing their gauges takes milliseconds; the bound is
/// for a module that corks without a pause, so that it can't hold a reader for ever. Miri is a thousand times slower.
const PATIENCE: Duration = Duration::from_millis(if cfg!(miri) { 100_000 } else { 100 });

/// How long a reader waits before it looks again.
const PAUSE: Duration = Duration::from_micros(50);

/// Runs `read`, and again if the writer was writing meanwhile: then `step` is odd, or has moved on. After a tenth of a
/// second the last result is good enough.
pub(super) fn read<T>(step: &AtomicU64, mut read: impl FnMut() -> T) -> T {
    let (mut patience, mut has_time) = (Patience::new(), true);
    loop {
        let before = step.load(Acquire);
        if before % 2 == 0 || !has_time {
            let result = read();
            fence(Acquire);
            if step.load(Relaxed) == before || !has_time {
                return result;
            }
        }
        has_time = patience.pause(PAUSE, PATIENCE);
    }
}

/// Runs `write` while `step` is odd. For the one writer.
pub(super) fn write(step: &AtomicU64, write: impl FnOnce()) {
    let odd = step.load(Relaxed).wrapping_add(1);
    step.store(odd, Relaxed);
    fence(Release);
    write();
    step.store(odd.wrapping_add(1), Release);
}
