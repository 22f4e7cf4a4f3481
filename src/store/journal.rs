//! What somebody who sends differences must know beyond what the records say now.
//!
//! There is one only if a pusher asked for it ([`Store::with`](super::Store::with)).

use super::home::{Home, Shared};
use super::ring::Ring;
use crate::model::Number;
use crate::sync::atomic::{fence, AtomicU64, Ordering::*};
use std::collections::HashMap;
use std::sync::Arc;

/// What the records don't tell.
pub struct Journal {
    /// By the address of the record.
    restarts: Shared<HashMap<usize, Ended>>,
    ring: Option<Ring>,
    /// How many passes through the whole store have begun, and the last one that has come to its end.
    begun: AtomicU64,
    told: AtomicU64,
}

/// What a counter, histogram or summary held when it started again. After several restarts: all of it together.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// When it started again, last, in seconds since the epoch.
    pub restarted: f64,
    /// The total, or the sum of the samples.
    pub value: Number,
    /// How many samples, by bucket.
    pub counts: Vec<u64>,
}

impl Journal {
    /// One that notes restarts, and each sample of a histogram too if `samples` says so. Who reads it is at `home`.
    pub(crate) fn new(samples: bool, home: &Arc<Home>) -> Journal {
        Journal {
            restarts: Shared::new(home),
            ring: samples.then(Ring::new),
            begun: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// A pass through all families begins, of this number. For the reader.
    pub fn begin_pass(&self) -> u64 {
        let pass = self.begun.fetch_add(1, Relaxed) + 1;
        // With the one in `last_pass`: either that sees this pass, or this pass sees what had gone by then.
        fence(SeqCst);
        pass
    }

    /// That pass has told everything. For the reader.
    pub fn end_pass(&self, pass: u64) {
        self.told.store(pass, Release);
    }

    /// The last pass that has begun; later ones see all that is in the records by now. For the writer.
    pub(crate) fn last_pass(&self) -> u64 {
        fence(SeqCst);
        self.begun.load(Relaxed)
    }

    /// Whether a later pass than that has told everything.
    pub(crate) fn is_told(&self, pass: u64) -> bool {
        self.told.load(Acquire) > pass
    }

    /// The samples of histograms, if they are kept one by one.
    #[inline(always)]
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Notes that the record at `address` starts again, before it does. For the writer.
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

    /// Forgets the records at these addresses, which others may have from now on.
    pub(crate) fn forget(&self, addresses: impl Iterator<Item = usize>) {
        if let Some(mut restarts) = self.restarts.lock().filter(|restarts| !restarts.is_empty()) {
            addresses.for_each(|address| drop(restarts.remove(&address)));
        }
    }

    /// Of how many records restarts are noted.
    pub fn restarts(&self) -> usize {
        self.restarts.lock().map_or(0, |restarts| restarts.len())
    }

    /// Takes out what was noted of the record at `address`.
    pub fn take_restart(&self, address: usize) -> Option<Ended> {
        self.restarts.lock()?.remove(&address)
    }
}
