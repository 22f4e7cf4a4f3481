//! What a record holds beside values in families whose series may go or have quantiles.
//!
//! Three words after the values:
//!
//! | word | holds |
//! | --- | --- |
//! | 0 | serial number, which no other series of the family ever has |
//! | 1 | number (high half): small, given again once the series has gone; time of the last update in seconds (low half) |
//! | 2 | idle time after which it goes, in seconds, 0 for never (high half); whether it has quantiles (bit 31); the scope it counts in (lower bits) |

use super::quantiles::SeriesId;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many words a life takes.
pub(crate) const WORDS: usize = 3;

/// In place of a time: there was an update since the last sweep.
const TOUCHED: u32 = u32::MAX;

const QUANTILES: u32 = 1 << 31;

/// What a new series begins with.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) id: SeriesId,
    /// The idle time after which the series goes, in seconds; 0 for never.
    pub(crate) ttl: u32,
    pub(crate) has_quantiles: bool,
    /// The scope that the series counts in: see [`FamilyPolicy::scopes`](crate::policy::FamilyPolicy::scopes).
    pub(crate) scope: usize,
}

/// The three words in a record.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a>(pub(crate) &'a [AtomicU64]);

impl Words<'_> {
    pub(crate) fn begin(self, life: Life) {
        let quantiles = if life.has_quantiles { QUANTILES } else { 0 };
        self.0[0].store(life.id.serial, Relaxed);
        self.0[1].store(u64::from(life.id.number) << 32 | u64::from(TOUCHED), Relaxed);
        self.0[2].store(
            u64::from(life.ttl) << 32 | u64::from(quantiles | life.scope as u32),
            Relaxed,
        );
    }

    pub(crate) fn id(self) -> SeriesId {
        SeriesId {
            serial: self.0[0].load(Relaxed),
            number: (self.0[1].load(Relaxed) >> 32) as u32,
        }
    }

    /// Notes an update.
    pub(crate) fn touch(self) {
        self.0[1].store(self.0[1].load(Relaxed) | u64::from(TOUCHED), Relaxed);
    }

    /// Whether the last update is longer ago than the idle time, at `now`, in seconds. An update counts from the next
    /// call of this, so a series never goes too early.
    pub(crate) fn is_over(self, now: u32) -> bool {
        let ttl = (self.0[2].load(Relaxed) >> 32) as u32;
        let word = self.0[1].load(Relaxed);
        if word as u32 == TOUCHED {
            self.0[1].store(word & !u64::from(TOUCHED) | u64::from(now), Relaxed);
            return false;
        }
        // Both times are rounded down.
        ttl > 0 && now.saturating_sub(word as u32) > ttl
    }

    pub(crate) fn has_quantiles(self) -> bool {
        self.0[2].load(Relaxed) as u32 & QUANTILES != 0
    }

    pub(crate) fn scope(self) -> usize {
        (self.0[2].load(Relaxed) as u32 & !QUANTILES) as usize
    }
}
