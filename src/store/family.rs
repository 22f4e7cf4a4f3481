//! A metric family: its metadata and its series, for readers ([`Family`]) and for the writer ([`FamilyWriter`]).

use super::chunk::{self, Chunk};
use super::cork::Cork;
use super::index::{Index, Location};
use super::journal::Journal;
use super::refusals::Refusals;
use super::ring::Ring;
use super::{cell, record, seqlock, Refused};
use crate::model::{labels, Buckets, Kind};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::Arc;

/// A family as readers see it, on any thread.
pub struct Family {
    fields: FamilyFields,
    /// Corking, for gauges.
    pub cork: Cork,
    journal: Option<Arc<Journal>>,
    refusals: Arc<Refusals>,
    /// How many series there are.
    series: AtomicUsize,
    replaced: AtomicBool,
    first: Arc<Chunk>,
    /// Odd while gauges written under the cork are being shown.
    showing: AtomicU64,
}

/// What is known of a family, as it stands on a page.
#[derive(Clone, Debug)]
pub struct FamilyFields {
    /// Its type.
    pub kind: Kind,
    /// Its name on the page, unlike every other family's.
    pub name: String,
    /// The name it was registered under.
    pub raw_name: Vec<u8>,
    /// Its unit, if the name ends in it.
    pub unit: Option<String>,
    /// The help text; empty for none.
    pub help: String,
    /// The label names on the page.
    pub label_names: Vec<String>,
    /// A histogram's buckets; empty for the other types.
    pub buckets: Buckets,
    /// Whether it is one of metre's own, which no module registered.
    pub own: bool,
}

impl Deref for Family {
    type Target = FamilyFields;

    fn deref(&self) -> &FamilyFields {
        &self.fields
    }
}

impl Family {
    /// A family without series, for [`FamilyWriter::new`].
    pub(super) fn new(
        fields: FamilyFields,
        cork: Cork,
        journal: Option<Arc<Journal>>,
        refusals: Arc<Refusals>,
    ) -> Family {
        let body = cell::body_words(fields.kind, &fields.buckets);
        // Without labels there is just one series; with labels there may be a few or a million.
        let words = match fields.label_names.len() {
            0 => record::words_needed(body, 0),
            keys => (2 * record::words_needed(body, 16 * keys)).min(chunk::FULL),
        };
        Family {
            fields,
            cork,
            journal,
            refusals,
            series: AtomicUsize::new(0),
            replaced: AtomicBool::new(false),
            first: Arc::new(Chunk::new(words)),
            showing: AtomicU64::new(0),
        }
    }

    /// How many words the count of samples takes: one a bucket, or one in all.
    pub fn count_words(&self) -> usize {
        self.buckets.len().max(1)
    }

    /// How many series it has.
    pub fn series_count(&self) -> usize {
        self.series.load(Relaxed)
    }

    /// Counts a value that was refused.
    pub fn note_refused(&self, why: Refused) {
        self.refusals.count(why);
    }

    /// Where to note what the records don't tell, if somebody wants to know.
    #[inline(always)]
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_deref()
    }

    /// Where each sample goes, if somebody wants to have them all, and the family is still on the page.
    #[inline(always)]
    pub(super) fn ring(&self) -> Option<&Ring> {
        let ring = self.journal()?.ring()?;
        (!self.replaced.load(Relaxed)).then_some(ring)
    }

    /// From now on its samples go nowhere, since nobody will look for them before its records' addresses are others'.
    pub(super) fn note_replaced(&self) {
        self.replaced.store(true, Relaxed);
    }

    /// All records so far, in the order of their creation.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[AtomicU64]> {
        std::iter::successors(Some(&self.first), |chunk| chunk.next()).flat_map(|chunk| chunk.records())
    }

    /// Replaces `out` by consistent copies of all records, one after the other.
    pub(crate) fn copy_records(&self, out: &mut Vec<u8>) {
        seqlock::read(&self.showing, || {
            out.clear();
            self.records().for_each(|record| record::copy(record, out));
        });
    }

    /// Shows readers the gauges that were written while corked.
    pub(crate) fn show_pending(&self) {
        if !self.cork.take_pending() {
            return;
        }
        seqlock::write(&self.showing, || self.records().for_each(cell::gauge::show));
    }

    /// Forgets the gauges that were written while corked.
    pub(crate) fn discard_pending(&self) {
        if self.cork.take_pending() {
            self.records().for_each(cell::gauge::discard);
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(journal) = self.journal() {
            journal.forget(self.records().map(cell::address));
        }
    }
}

/// The writer's side of a family: it alone adds series.
pub struct FamilyWriter {
    family: Arc<Family>,
    chunks: Vec<Arc<Chunk>>,
    index: Index,
}

impl FamilyWriter {
    pub(super) fn new(family: Family) -> FamilyWriter {
        FamilyWriter {
            chunks: vec![Arc::clone(&family.first)],
            family: Arc::new(family),
            index: Index::new(),
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

    /// The series with this encoded label set, new if there is none yet, and whether values of it were malformed and
    /// have been repaired. `None` if there is no place for it: the family holds billions of words already, or the label
    /// set has gigabytes.
    #[inline]
    pub fn find_or_create(&mut self, labels: &[u8]) -> Option<(Location, bool)> {
        if let Some(found) = self.find_exact(labels) {
            return Some((found, false));
        }
        let repaired = labels::repaired(labels);
        let valid = repaired.as_ref().map_or(labels, |repaired| repaired.as_bytes());
        let location = match &repaired {
            Some(_) => self.find_exact(valid).or_else(|| self.create(valid)),
            None => self.create(valid),
        };
        Some((location?, repaired.is_some()))
    }

    #[inline]
    fn find_exact(&self, labels: &[u8]) -> Option<Location> {
        self.index.find(labels, |location| self.has_labels(location, labels))
    }

    /// The record at `location`.
    #[inline]
    pub fn record(&self, location: Location) -> &[AtomicU64] {
        self.chunks[location.chunk()].record(location.offset())
    }

    /// The length in bytes of the encoded label set of the series at `location`.
    pub fn label_bytes(&self, location: Location) -> usize {
        record::read_shape(self.record(location)[record::SHAPE].load(Relaxed)).1
    }

    /// Fills `out` with the encoded label set of the series at `location`, as far as it goes.
    pub fn copy_labels(&self, location: Location, out: &mut [u8]) {
        let words = self.label_words(location);
        for (word, bytes) in words.iter().zip(out.chunks_mut(8)) {
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes()[..bytes.len()]);
        }
    }

    /// The series that was created after the one at `location`, or the first one.
    pub fn next(&self, location: Option<Location>) -> Option<Location> {
        let (mut chunk, mut offset) = match location {
            Some(at) => (at.chunk(), at.offset() + self.record(at).len()),
            None => (0, 0),
        };
        while offset >= self.chunks.get(chunk)?.used() {
            chunk += 1;
            offset = 0;
        }
        Location::new(chunk, offset)
    }

    #[inline]
    fn label_words(&self, location: Location) -> &[AtomicU64] {
        let record = self.record(location);
        let (_, label_bytes) = record::read_shape(record[record::SHAPE].load(Relaxed));
        &record[record.len() - label_bytes.div_ceil(8)..]
    }

    #[inline]
    fn has_labels(&self, location: Location, labels: &[u8]) -> bool {
        self.label_bytes(location) == labels.len()
            && self
                .label_words(location)
                .iter()
                .zip(labels.chunks(8))
                .all(|(word, bytes)| word.load(Relaxed) == chunk::word_of(bytes))
    }

    fn create(&mut self, labels: &[u8]) -> Option<Location> {
        let family = &*self.family;
        let init = |record: &[AtomicU64]| cell::init(family.kind, record, &family.cork);
        let body = cell::body_words(family.kind, &family.buckets);
        let length = record::words_needed(body, labels.len());
        u32::try_from(labels.len()).ok()?;
        let last = self.chunks.last()?;
        // A place is settled before anything is shown there, so that what has no place stays unseen.
        let here =
            Location::new(self.chunks.len() - 1, last.used()).filter(|_| last.append(body, labels, init).is_some());
        let location = match here {
            Some(here) => here,
            None => {
                let next_chunk = Location::new(self.chunks.len(), 0)?;
                let words = (2 * last.capacity()).clamp(length, chunk::FULL.max(length));
                let next = Arc::new(Chunk::new(words));
                next.append(body, labels, init)?;
                last.link(Arc::clone(&next));
                self.chunks.push(next);
                next_chunk
            }
        };
        self.index.insert(labels, location);
        family.series.store(family.series.load(Relaxed) + 1, Relaxed);
        Some(location)
    }
}
