//! The writer's side of a family: it alone adds series, and lets them go.

use super::budget::Budget;
use super::expiry::Sweep;
use super::family::Family;
use super::index::{Index, Location};
use super::life::Life;
use super::memory::Memory;
use super::quantiles::SeriesId;
use super::{record, values};
use crate::model::{labels, Kind, LabelSet};
use crate::policy::{Limit, SeriesPolicy};
use crate::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::Arc;

/// What every label value of the series beyond a limit is.
pub const OVERFLOW: &str = "overflow";

/// The writer's side of a family.
pub struct FamilyWriter {
    pub(super) family: Arc<Family>,
    pub(super) memory: Memory,
    pub(super) index: Index,
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) sweep: Sweep,
    /// How many series there are for each limit on series, the one for all families not among them; last, how many there are
    /// that none of these is for.
    pub(super) counts: Vec<usize>,
    /// How many records are those of series with quantiles.
    pub(super) with_quantiles: usize,
    /// Numbers of series that have gone, and the first one that was never given.
    pub(super) numbers: (Vec<u32>, u32),
    /// The record for what nobody is to see.
    unseen: Option<Location>,
}

/// What became of a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It has a series of its own.
    Plainly,
    /// So it has, but values of it were malformed and have been repaired.
    Repaired,
    /// It ran into a limit.
    Limited(Limit),
}

impl FamilyWriter {
    /// The writer of a family whose series count towards `budget`, if there is one.
    pub(super) fn new(family: Family, budget: Option<Arc<Budget>>) -> FamilyWriter {
        FamilyWriter {
            memory: Memory::default(),
            index: Index::new(),
            budget,
            sweep: Sweep::default(),
            counts: vec![0; family.policy().scopes() + 2],
            with_quantiles: 0,
            numbers: (Vec::new(), 0),
            unseen: None,
            family: Arc::new(family),
        }
    }

    /// The family as readers see it.
    pub fn family(&self) -> &Arc<Family> {
        &self.family
    }

    /// The series with this encoded label set. A page can't show malformed values, so those that look alike once
    /// repaired are one series.
    #[inline]
    pub fn find(&self, labels: &[u8]) -> Option<Location> {
        self.find_exact(labels).or_else(|| {
            let repaired = labels::repaired(labels)?;
            self.find_exact(repaired.as_bytes())
        })
    }

    /// The series for this encoded label set, new if there is none yet. `None` if there is no place for it: the family holds
    /// billions of words already.
    #[inline]
    pub fn find_or_create(&mut self, labels: &[u8]) -> Option<(Location, Placed)> {
        match self.find_exact(labels) {
            Some(found) => Some((found, Placed::Plainly)),
            None => self.create_repaired(labels),
        }
    }

    fn create_repaired(&mut self, labels: &[u8]) -> Option<(Location, Placed)> {
        let Some(repaired) = labels::repaired(labels) else {
            return self.create_limited(labels);
        };
        let (location, placed) = match self.find_exact(repaired.as_bytes()) {
            Some(found) => (found, Placed::Plainly),
            None => self.create_limited(repaired.as_bytes())?,
        };
        match placed {
            Placed::Plainly => Some((location, Placed::Repaired)),
            placed => Some((location, placed)),
        }
    }

    /// A new series for this label set, or the one for those beyond a limit.
    fn create_limited(&mut self, labels: &[u8]) -> Option<(Location, Placed)> {
        let policy = self.family.policy().series(labels);
        if policy.drop {
            return Some((self.unseen()?, Placed::Plainly));
        }
        match self.limit(labels, policy) {
            Some(limit) => self.limited(limit),
            None => self.create(labels, policy),
        }
    }

    fn limited(&mut self, limit: Limit) -> Option<(Location, Placed)> {
        self.family.note_limited(limit);
        Some((self.overflow()?, Placed::Limited(limit)))
    }

    /// What keeps this label set from having a series, if anything does. Without labels there is one in any case.
    fn limit(&self, labels: &[u8], policy: SeriesPolicy) -> Option<Limit> {
        let budget = self.budget.as_ref().filter(|_| !labels.is_empty())?;
        if labels::values(labels).any(|value| value.len() > self.family.policy().max_label_bytes) {
            return Some(Limit::LabelBytes);
        }
        if self.counts[policy.limited_by] >= policy.max_series {
            return Some(match policy.limited_by {
                0 => Limit::SeriesPerFamily,
                _ => Limit::Rule,
            });
        }
        budget.is_spent().then_some(Limit::Series)
    }

    /// The series that label sets beyond a limit share. A gauge of them all would tell nothing, so nobody sees it.
    fn overflow(&mut self) -> Option<Location> {
        if self.family.kind == Kind::Gauge {
            return self.unseen();
        }
        let mut labels = LabelSet::new();
        self.family
            .label_names
            .iter()
            .for_each(|_| labels.push(OVERFLOW.as_bytes()));
        if let Some(found) = self.find_exact(labels.as_bytes()) {
            return Some(found);
        }
        let policy = SeriesPolicy {
            idle_ttl: 0,
            limited_by: self.counts.len() - 1,
            ..self.family.policy().series(labels.as_bytes())
        };
        Some(self.create(labels.as_bytes(), policy)?.0)
    }

    /// The series that nobody sees.
    fn unseen(&mut self) -> Option<Location> {
        if self.unseen.is_none() {
            let family = Arc::clone(&self.family);
            let id = self.next_id();
            let init = |record: &[AtomicU64]| {
                let life = Life {
                    id,
                    ttl: 0,
                    has_quantiles: false,
                    scope: 0,
                };
                if let Some(words) = family.life(record) {
                    words.begin(life);
                }
                0
            };
            self.unseen = self
                .memory
                .place_unseen(family.record_words() - record::BODY, id.serial, init);
            self.placed(id, self.unseen.is_some());
        }
        self.unseen
    }

    fn create(&mut self, labels: &[u8], policy: SeriesPolicy) -> Option<(Location, Placed)> {
        let family = Arc::clone(&self.family);
        let has_quantiles = family.quantiles().is_some();
        let quantiles = has_quantiles && self.budget.as_ref().is_none_or(|budget| budget.take_quantiles());
        let life = Life {
            id: self.next_id(),
            ttl: policy.idle_ttl,
            has_quantiles: quantiles,
            scope: policy.limited_by,
        };
        let init = |record: &[AtomicU64]| {
            if let Some(words) = family.life(record) {
                words.begin(life);
            }
            values::init(family.kind, record, &family.cork)
        };
        let location = self.memory.place(
            &family,
            family.record_words() - record::BODY,
            labels,
            life.id.serial,
            init,
        );
        self.placed(life.id, location.is_some());
        let location = location?;
        self.index.insert(labels, location);
        self.counts[policy.limited_by] += 1;
        if let Some(budget) = &self.budget {
            budget.take();
        }
        self.with_quantiles += usize::from(quantiles);
        family.note_created();
        if has_quantiles && !quantiles {
            family.note_limited(Limit::QuantileSeries);
            return Some((location, Placed::Limited(Limit::QuantileSeries)));
        }
        Some((location, Placed::Plainly))
    }

    /// What the next series is known by, once it is [`placed`](FamilyWriter::placed).
    fn next_id(&mut self) -> SeriesId {
        let (free, next) = &mut self.numbers;
        let number = free.pop().unwrap_or_else(|| {
            *next += 1;
            *next - 1
        });
        let serial = self.family.next_serial();
        SeriesId { number, serial }
    }

    /// The record of the series that is known by this has its place now, or found none. Only now may readers learn of the serial
    /// number, since they look for all below the next one.
    fn placed(&mut self, id: SeriesId, there: bool) {
        match there {
            true => self.family.set_next_serial(id.serial + 1),
            false => self.numbers.0.push(id.number),
        }
    }

    #[inline]
    fn find_exact(&self, labels: &[u8]) -> Option<Location> {
        self.index.find(labels, |location| self.has_labels(location, labels))
    }

    /// The record at `location`.
    #[inline]
    pub fn record(&self, location: Location) -> &[AtomicU64] {
        self.memory.record(location)
    }

    /// The serial number of the series at `location`, if series here have one.
    pub fn serial(&self, location: Location) -> Option<u64> {
        self.family.life(self.record(location)).map(|life| life.id().serial)
    }

    /// The record at `location`, which was that of the series with this serial number, if it still is, and the series
    /// hasn't gone.
    #[inline]
    pub fn record_of(&self, location: Location, serial: u64) -> Option<&[AtomicU64]> {
        let record = self.memory.get(location, serial)?;
        let life = self.family.life(record)?;
        (life.id().serial == serial && !values::is_gone(record)).then_some(record)
    }

    /// Whether the series with this location and serial number, as [`FamilyWriter::next`] gave them, hasn't gone.
    pub fn is_there(&self, (location, serial): (Location, u64)) -> bool {
        !self.family.has_lives() || self.record_of(location, serial).is_some()
    }

    /// The series at `location` is being updated, which keeps it from going.
    #[inline]
    pub fn touch(&self, location: Location) {
        if let Some(life) = self.family.life(self.record(location)) {
            life.touch();
        }
    }

    /// The length in bytes of the encoded label set of the series at `location`.
    pub fn label_bytes(&self, location: Location) -> usize {
        record::labels(self.record(location)).1
    }

    /// Fills `out` with the encoded label set of the series at `location`, as far as it goes.
    pub fn copy_labels(&self, location: Location, out: &mut [u8]) {
        let (words, _) = record::labels(self.record(location));
        for (word, bytes) in words.iter().zip(out.chunks_mut(8)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes()[..bytes.len()]);
        }
    }

    /// The series that was created after the one at this location with this serial number, or the first one. In a family whose
    /// series go, those that are made meanwhile may come or not.
    pub fn next(&self, after: Option<(Location, u64)>) -> Option<(Location, u64)> {
        let mut next = self.memory.next(after);
        loop {
            let at = next?;
            let serial = self.serial(at).unwrap_or(u64::MAX);
            if !values::is_gone(self.record(at)) {
                return Some((at, serial));
            }
            next = self.memory.next(Some((at, serial)));
        }
    }

    #[inline]
    fn has_labels(&self, location: Location, labels: &[u8]) -> bool {
        let (words, bytes) = record::labels(self.record(location));
        bytes == labels.len()
            && words
                .iter()
                .zip(labels.chunks(8))
                .all(|(word, bytes)| word.load(Relaxed) == record::word_of(bytes))
    }
}

impl Drop for FamilyWriter {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give_back(self.counts.iter().sum());
            budget.give_back_leaving(self.leaving());
            budget.give_back_quantiles(self.with_quantiles);
        }
        // Readers don't have it, so nobody else does this.
        if let (Some(journal), Some(unseen)) = (self.family.journal(), self.unseen) {
            journal.forget(std::iter::once(values::address(self.record(unseen))));
        }
    }
}
