//! Letting go of series that nobody has updated for long.
//!
//! A series goes in two steps. First it leaves the index and the page. Its record stays until a pusher, if there is
//! one, has told the last of it; then the record's memory is free for others.

use super::index::Location;
use super::writer::FamilyWriter;
use super::{updates, values};
use crate::sync::atomic::AtomicU64;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How far a sweep through a family is, and what has gone.
#[derive(Default)]
pub(super) struct Sweep {
    /// When the next one begins, unless one is under way.
    due: Duration,
    /// The chunk that comes next, if one is under way.
    at: Option<usize>,
    /// Records that the pusher may still want to see, each with the pass that had begun when it went.
    leaving: VecDeque<(Location, u64)>,
}

/// How often a family is swept, at least and at most: a tenth of the shortest idle time, within these.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl FamilyWriter {
    /// Lets go of series whose time is over, looking at some `budget` of them. Returns how many it has looked at, and whether
    /// there are more. Does nothing while gauges are corked, and between sweeps.
    pub fn expire(&mut self, budget: usize) -> (usize, bool) {
        let family = Arc::clone(&self.family);
        let ttl = family.policy().shortest_ttl();
        if ttl == 0 || family.cork.is_corked() {
            return (0, false);
        }
        self.release();
        let now = family.clock().now();
        let begin = match self.sweep.at {
            Some(at) => at,
            None if now >= self.sweep.due => 0,
            None => return (0, false),
        };
        let (mut number, mut looked) = (begin, 0);
        while number < self.memory.rooms() && looked < budget {
            let places = self.memory.places(number);
            looked += places.len();
            for location in places {
                let record = self.memory.record(location);
                let over = |record: &[AtomicU64]| {
                    family
                        .life(record)
                        .is_some_and(|life| life.is_over(now.as_secs() as u32))
                };
                if !values::is_gone(record) && over(record) {
                    self.retire(location);
                }
            }
            number += 1;
        }
        let more = number < self.memory.rooms();
        self.sweep.at = more.then_some(number);
        if !more {
            self.sweep.due = now + (Duration::from_secs(ttl.into()) / 10).clamp(INTERVAL.0, INTERVAL.1);
        }
        self.release();
        (looked, more)
    }

    /// The series leaves the index and the page.
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
        self.family.note_expired();
        let pass = self.family.journal().map_or(0, |journal| journal.last_pass());
        self.sweep.leaving.push_back((location, pass));
    }

    /// Frees the records of which everything has been told.
    fn release(&mut self) {
        let family = Arc::clone(&self.family);
        let mut freed = Vec::new();
        while let Some((location, pass)) = self.sweep.leaving.front().copied() {
            if family.journal().is_some_and(|journal| !journal.is_told(pass)) {
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

    /// How many series have gone whose records aren't free yet.
    pub(super) fn leaving(&self) -> usize {
        self.sweep.leaving.len()
    }
}
