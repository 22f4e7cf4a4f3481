//! Corking: while it is on, readers see gauges as they were before.

use crate::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::Arc;

/// Whether the store is corked, and whether this family has gauges to show when that ends.
#[derive(Default)]
pub struct Cork {
    corked: Arc<AtomicBool>,
    pending: AtomicBool,
}

impl Cork {
    pub(crate) fn new(corked: Arc<AtomicBool>) -> Cork {
        Cork {
            corked,
            pending: AtomicBool::new(false),
        }
    }

    #[inline(always)]
    pub(crate) fn is_corked(&self) -> bool {
        self.corked.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn note_pending(&self) {
        self.pending.store(true, Relaxed);
    }

    /// Whether gauges were written while corked. The next call answers for what is written from now on.
    pub(crate) fn take_pending(&self) -> bool {
        self.pending.load(Relaxed) && self.pending.swap(false, Relaxed)
    }
}
