//! Series that nobody has updated for their idle time go, and those that are told to.
//!
//! A series goes in two steps. First it leaves the index and the page. Its record stays until a pusher, if the store
//! has one, has reported its end; then the record is free for other series.

use super::index::Location;
use super::writer::FamilyWriter;
use super::{updates, values};
use crate::model::labels::{self, LabelSet};
use crate::sync::atomic::AtomicU64;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How far the sweep through a family is, and which series are leaving.
#[derive(Default)]
pub(super) struct Sweep {
    /// When the next sweep begins, unless one is under way.
    due: Duration,
    /// The number of the chunk that comes next, if a sweep is under way.
    at: Option<usize>,
    /// Records of series that have gone, each with the last pass that had begun by then: the pusher may need them
    /// still.
    leaving: VecDeque<(Location, u64)>,
}

/// How often a family is swept, at least and at most: a tenth of the shortest idle time, within these.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl FamilyWriter {
    /// Frees what series that have gone have left. Goes on with the sweep, if one is due: looks at some `budget` of the
    /// family's series and has those go whose idle time is over. Returns how many series it has looked at, and whether
    /// the sweep is to go on. Does nothing while gauges are corked.
    pub fn expire(&mut self, budget: usize) -> (usize, bool) {
        let family = Arc::clone(&self.family);
        if !family.expires() || family.cork.is_corked() {
            return (0, false);
        }
        self.release();
        let ttl = family.policy().shortest_ttl();
        if ttl == 0 {
            return (0, false);
        }
        let now = family.clock().now();
        let begin = match self.sweep.at {
            Some(at) => at,
            None if now >= self.sweep.due => 0,
            None => return (0, false),
        };
        let (mut number, mut looked) = (begin, 0);
        while number < self.memory.end() && looked < budget {
            let locations = self.memory.locations(number);
            looked += locations.len();
            for location in locations {
                let record = self.memory.record(location);
                let over = |record: &[AtomicU64]| {
                    family
                        .life(record)
                        .is_some_and(|life| life.is_over(now.as_secs() as u32))
                };
                if !values::is_gone(record) && over(record) {
                    self.retire(location);
                    family.note_expired();
                }
            }
            number += 1;
        }
        let more = number < self.memory.end();
        self.sweep.at = more.then_some(number);
        if !more {
            self.sweep.due = now + (Duration::from_secs(ttl.into()) / 10).clamp(INTERVAL.0, INTERVAL.1);
        }
        self.release();
        (looked, more)
    }

    /// Has all series go whose label at `position`, from 0, is `value`, and returns how many these are. None go from a
    /// family whose series stay. It is done at once even while gauges are corked, since whatever the values stand for is
    /// gone already; a gauge that was written meanwhile goes with what readers see of it.
    pub fn forget(&mut self, position: usize, value: &[u8]) -> usize {
        let family = Arc::clone(&self.family);
        if !family.expires() {
            return 0;
        }
        self.release();
        // As it was made.
        let mut wanted = LabelSet::new();
        wanted.push(value);
        let repaired = labels::repaired(wanted.as_bytes()).unwrap_or(wanted);
        let wanted = labels::values(repaired.as_bytes()).next();
        let (mut labels, mut count) = (Vec::new(), 0);
        for number in 0..self.memory.end() {
            for location in self.memory.locations(number) {
                if values::is_gone(self.memory.record(location)) {
                    continue;
                }
                labels.clear();
                labels.resize(self.label_bytes(location), 0);
                self.copy_labels(location, &mut labels);
                let found = labels::values(&labels).nth(position);
                if found.is_some() && found == wanted {
                    self.retire(location);
                    count += 1;
                }
            }
        }
        self.release();
        count
    }

    /// Has the series at `location` leave the index and the page.
    fn retire(&mut self, location: Location) {
        let mut labels = vec![0; self.label_bytes(location)];
        self.copy_labels(location, &mut labels);
        self.index.remove(&labels, location);
        let record = self.memory.record(location);
        updates::retire(record, &self.family);
        if let Some(life) = self.family.life(record) {
            self.counts[life.scope()] -= 1;
        }
        if let Some(budget) = &self.budget {
            budget.give_back(1);
            budget.take_leaving(1);
        }
        self.family.note_gone();
        let pass = self.family.journal().map_or(0, |journal| journal.last_pass());
        self.sweep.leaving.push_back((location, pass));
    }

    /// Frees the records of series whose end is reported.
    fn release(&mut self) {
        let family = Arc::clone(&self.family);
        let mut freed = Vec::new();
        while let Some((location, pass)) = self.sweep.leaving.front().copied() {
            if family.journal().is_some_and(|journal| !journal.is_reported_since(pass)) {
                break;
            }
            self.sweep.leaving.pop_front();
            let record = self.memory.record(location);
            if let Some(life) = family.life(record) {
                self.numbers.0.push(life.id().number);
                if let Some(quantiles) = family.quantiles().filter(|_| life.has_quantiles()) {
                    quantiles.end(life.id());
                    self.with_quantiles -= 1;
                    self.budget.iter().for_each(|budget| budget.give_back_quantiles(1));
                }
            }
            values::release(record);
            if let Some(journal) = family.journal() {
                journal.forget(std::iter::once(values::address(record)));
            }
            freed.push(location);
        }
        if !freed.is_empty() {
            let budget = self.budget.iter();
            budget.for_each(|budget| budget.give_back_leaving(freed.len()));
            self.memory.release(&family, &freed);
        }
    }

    /// How many series have gone but have records that aren't free yet.
    pub(super) fn leaving(&self) -> usize {
        self.sweep.leaving.len()
    }
}
