//! The writer's side of a family: it alone adds series and has them go.

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
    /// How many series count in each of the family's scopes (see
    /// [`FamilyPolicy::scopes`](crate::policy::FamilyPolicy::scopes)); the last entry is the overflow series, which
    /// counts in none.
    pub(super) counts: Vec<usize>,
    /// How many of the records belong to series with quantiles.
    pub(super) with_quantiles: usize,
    /// Numbers of series that have gone, and the first number that no series has had yet.
    pub(super) numbers: (Vec<u32>, u32),
    /// The record that takes the updates of label sets which no reader is to see.
    unseen: Option<Location>,
}

/// Which series a label set was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// A series of its own.
    Plainly,
    /// A series of its own, under label values that were malformed and have been repaired.
    Repaired,
    /// The overflow series or none that is shown, since it ran into a limit; for
    /// [`Limit::QuantileSeries`] a series of its own, without quantiles.
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
            counts: vec![0; family.policy().scopes() + 1],
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

    /// The series with this encoded label set. A page can't show malformed values, so label sets that are equal once
    /// they are repaired have one series.
    #[inline]
    pub fn find(&self, labels: &[u8]) -> Option<Location> {
        self.find_exact(labels).or_else(|| {
            let repaired = labels::repaired(labels)?;
            self.find_exact(repaired.as_bytes())
        })
    }

    /// The series for this encoded label set, which is created if need be. `None` if no location is left: the family
    /// holds billions of words already.
    #[inline]
    pub fn find_or_create(&mut self, labels: &[u8]) -> Option<(Location, Assigned)> {
        match self.find_exact(labels) {
            Some(found) => Some((found, Assigned::Plainly)),
            None => self.create_repaired(labels),
        }
    }

    fn create_repaired(&mut self, labels: &[u8]) -> Option<(Location, Assigned)> {
        let Some(repaired) = labels::repaired(labels) else {
            return self.create_limited(labels);
        };
        let (location, assigned) = match self.find_exact(repaired.as_bytes()) {
            Some(found) => (found, Assigned::Plainly),
            None => self.create_limited(repaired.as_bytes())?,
        };
        match assigned {
            Assigned::Plainly => Some((location, Assigned::Repaired)),
            assigned => Some((location, assigned)),
        }
    }

    /// A new series for this label set; or, if it runs into a limit, the series for such label sets.
    fn create_limited(&mut self, labels: &[u8]) -> Option<(Location, Assigned)> {
        let policy = self.family.policy().series(labels);
        if policy.drop {
            return Some((self.unseen()?, Assigned::Plainly));
        }
        match self.limit(labels, policy) {
            Some(limit) => self.limited(limit),
            None => self.create(labels, policy),
        }
    }

    fn limited(&mut self, limit: Limit) -> Option<(Location, Assigned)> {
        self.family.note_limited(limit);
        Some((self.overflow()?, Assigned::Limited(limit)))
    }

    /// The limit that keeps this label set from having a series of its own, if any does. No limit is for a family
    /// without labels.
    fn limit(&self, labels: &[u8], policy: SeriesPolicy) -> Option<Limit> {
        let budget = self.budget.as_ref().filter(|_| !labels.is_empty())?;
        if labels::values(labels).any(|value| value.len() > self.family.policy().max_label_bytes) {
            return Some(Limit::LabelBytes);
        }
        if self.counts[policy.scope] >= policy.max_series {
            return Some(match policy.scope {
                0 => Limit::SeriesPerFamily,
                _ => Limit::Rule,
            });
        }
        budget.is_spent().then_some(Limit::Series)
    }

    /// The series that label sets beyond a limit share. A gauge's would mean nothing, so no reader sees it.
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
            scope: self.family.policy().scopes(),
            ..self.family.policy().series(labels.as_bytes())
        };
        Some(self.create(labels.as_bytes(), policy)?.0)
    }

    /// The series that no reader sees.
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
                .allocate_unseen(family.record_words() - record::BODY, id.serial, init);
            self.settle(id, self.unseen.is_some());
        }
        self.unseen
    }

    fn create(&mut self, labels: &[u8], policy: SeriesPolicy) -> Option<(Location, Assigned)> {
        let family = Arc::clone(&self.family);
        let has_quantiles = family.quantiles().is_some();
        let quantiles = has_quantiles && self.budget.as_ref().is_none_or(|budget| budget.take_quantiles());
        let life = Life {
            id: self.next_id(),
            ttl: policy.idle_ttl,
            has_quantiles: quantiles,
            scope: policy.scope,
        };
        let init = |record: &[AtomicU64]| {
            if let Some(words) = family.life(record) {
                words.begin(life);
            }
            values::init(family.kind, record, &family.cork)
        };
        let location = self.memory.allocate(
            &family,
            family.record_words() - record::BODY,
            labels,
            life.id.serial,
            init,
        );
        self.settle(life.id, location.is_some());
        let location = location?;
        self.index.insert(labels, location);
        self.counts[policy.scope] += 1;
        if let Some(budget) = &self.budget {
            budget.take();
        }
        self.with_quantiles += usize::from(quantiles);
        family.note_created();
        if has_quantiles && !quantiles {
            family.note_limited(Limit::QuantileSeries);
            return Some((location, Assigned::Limited(Limit::QuantileSeries)));
        }
        Some((location, Assigned::Plainly))
    }

    /// What the next series is known by, once that is [settled](FamilyWriter::settle).
    fn next_id(&mut self) -> SeriesId {
        let (free, next) = &mut self.numbers;
        let number = free.pop().unwrap_or_else(|| {
            *next += 1;
            *next - 1
        });
        let serial = self.family.next_serial();
        SeriesId { number, serial }
    }

    /// The series with this id has a record now, or (`exists` is false) could get none. Only now may readers learn of
    /// the serial number, since they look for all series below the next serial number.
    fn settle(&mut self, id: SeriesId, exists: bool) {
        match exists {
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

    /// The record of the series with this serial number, which was at `location`; `None` if the series has gone.
    #[inline]
    pub fn record_of(&self, location: Location, serial: u64) -> Option<&[AtomicU64]> {
        let record = self.memory.get(location, serial)?;
        let life = self.family.life(record)?;
        (life.id().serial == serial && !values::is_gone(record)).then_some(record)
    }

    /// Whether the series with this location and serial number, as [`FamilyWriter::next`] returned them, hasn't gone.
    pub fn is_there(&self, (location, serial): (Location, u64)) -> bool {
        !self.family.has_lives() || self.record_of(location, serial).is_some()
    }

    /// Notes that the series at `location` is updated, so that it doesn't go for its idle time.
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

    /// Fills `out` with the encoded label set of the series at `location`, or with as much of it as `out` can hold.
    pub fn copy_labels(&self, location: Location, out: &mut [u8]) {
        let (words, _) = record::labels(self.record(location));
        for (word, bytes) in words.iter().zip(out.chunks_mut(8)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes()[..bytes.len()]);
        }
    }

    /// The first series; or the one that was created next `after` the series with this location and serial number. In a
    /// family whose series go, series that are made between two calls may be left out.
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
        // The family's own drop doesn't know this record, since it is in no chunk that readers have.
        if let (Some(journal), Some(unseen)) = (self.family.journal(), self.unseen) {
            journal.forget(std::iter::once(values::address(self.record(unseen))));
        }
    }
}
