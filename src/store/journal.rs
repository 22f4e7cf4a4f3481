//! What a pusher, which reports differences, must know beyond what the records say at the moment.
//!
//! A store has a journal only if a pusher asked for it ([`Store::with`](super::Store::with)).

use super::home::{Home, HomeMutex};
use super::ring::Ring;
use crate::model::Number;
use crate::sync::atomic::{fence, AtomicU64, Ordering::*};
use std::collections::HashMap;
use std::sync::Arc;

/// Totals that ended, samples one by one, and passes.
pub struct Journal {
    /// What records held when they started again, by the record's address.
    restarts: HomeMutex<HashMap<usize, Ended>>,
    ring: Option<Ring>,
    /// How many passes through the whole store have begun.
    begun: AtomicU64,
    /// The number of the last pass that has come to its end.
    completed: AtomicU64,
}

/// What a counter, histogram or summary held when it started again. After several restarts: the sum of what it held.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// When it started again for the last time, in seconds since the epoch.
    pub restarted: f64,
    /// The total, or the sum of the samples.
    pub value: Number,
    /// How many samples, by bucket.
    pub counts: Vec<u64>,
}

impl Journal {
    /// A journal of restarts, and of each sample of a histogram if `samples` says so. Its reader runs at `home`.
    pub(crate) fn new(samples: bool, home: &Arc<Home>) -> Journal {
        Journal {
            restarts: HomeMutex::new(home),
            ring: samples.then(Ring::new),
            begun: AtomicU64::new(0),
            completed: AtomicU64::new(0),
        }
    }

    /// Begins a pass through all families, and returns its number. For the reader.
    pub fn begin_pass(&self) -> u64 {
        let pass = self.begun.fetch_add(1, Relaxed) + 1;
        // With the fence in `last_pass`: either `last_pass` sees this pass, or this pass sees what had gone by then.
        fence(SeqCst);
        pass
    }

    /// Ends the pass of this number, which has reported everything that is new. For the reader.
    pub fn end_pass(&self, pass: u64) {
        self.completed.store(pass, Release);
    }

    /// The number of the last pass that has begun; later passes see all that is in the records by now. For the writer.
    pub(crate) fn last_pass(&self) -> u64 {
        fence(SeqCst);
        self.begun.load(Relaxed)
    }

    /// Whether a pass after that of this number has reported everything. For the writer.
    pub(crate) fn is_reported_since(&self, pass: u64) -> bool {
        self.completed.load(Acquire) > pass
    }

    /// The samples of histograms, if they are kept one by one.
    #[inline(always)]
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Notes what the record at `address` holds, before it starts again. For the writer.
    #[cold]
    pub(crate) fn note_restart(&self, address: usize, ended: Ended) {
        let Some(mut restarts) = self.restarts.lock() else {
            return;
        };
        match restarts.get_mut(&address) {
            None => {
                restarts.insert(address, ended);
            }
            Some(before) => {
                before.restarted = ended.restarted;
                before.value = before.value.plus(ended.value);
                for (sum, count) in before.counts.iter_mut().zip(ended.counts) {
                    *sum = sum.wrapping_add(count);
                }
            }
        }
    }

    /// Forgets the records at these addresses, which other records may have from now on. For the writer.
    pub(crate) fn forget(&self, addresses: impl Iterator<Item = usize>) {
        if let Some(mut restarts) = self.restarts.lock().filter(|restarts| !restarts.is_empty()) {
            addresses.for_each(|address| drop(restarts.remove(&address)));
        }
    }

    /// How many records have started again, as far as that is noted.
    pub fn restarts(&self) -> usize {
        self.restarts.lock().map_or(0, |restarts| restarts.len())
    }

    /// Takes out what was noted of the record at `address`. For the reader.
    pub fn take_restart(&self, address: usize) -> Option<Ended> {
        self.restarts.lock()?.remove(&address)
    }
}
