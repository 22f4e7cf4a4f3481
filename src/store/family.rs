//! A metric family as readers see it: its metadata and its series.

use super::chunk::Chunk;
use super::cork::Cork;
use super::home::Home;
use super::journal::Journal;
use super::quantiles::Quantiles;
use super::refusals::Refusals;
use super::ring::Ring;
use super::{cell, life, record, seqlock, Refused};
use crate::model::clock::Clock;
use crate::model::{Buckets, Kind, Number};
use crate::policy::{FamilyPolicy, Limit};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use crate::sync::Published;
use std::ops::Deref;
use std::sync::Arc;

/// The memory of a family's series.
pub(crate) type Chunks = Arc<Vec<Arc<Chunk>>>;

/// A family as readers see it, on any thread.
pub struct Family {
    fields: FamilyFields,
    /// Corking, for gauges.
    pub cork: Cork,
    shared: Shared,
    policy: FamilyPolicy,
    quantiles: Option<Quantiles>,
    /// Whether its series may go.
    expires: bool,
    /// Where a record's life begins, if it has one.
    life_at: Option<usize>,
    /// Words of a record before its label set.
    words: usize,
    /// How many series there are.
    series: AtomicUsize,
    /// How many have gone.
    expired: AtomicU64,
    /// How many samples below zero have counted as zero.
    clamped: AtomicU64,
    /// How many series have no sum on the page, for they have seen samples below zero.
    without_sum: AtomicUsize,
    /// How many times a label set ran into each limit.
    limited: [AtomicU64; Limit::ALL.len()],
    /// The serial number of the next series.
    serial: AtomicU64,
    replaced: AtomicBool,
    chunks: Published<Vec<Arc<Chunk>>>,
    /// Odd while gauges written under the cork are being shown.
    showing: AtomicU64,
}

/// What a family has in common with others of its store.
pub(super) struct Shared {
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) clock: Clock,
    pub(super) home: Arc<Home>,
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
    /// The labels that all series of the store have.
    pub constant_labels: Arc<[(String, String)]>,
    /// Whether a sample below zero counts as zero, since it can only be a fault of a clock or the like.
    pub clamps: bool,
    /// The name that a histogram's quantiles have, which no other type has; if it has any.
    pub quantiles_name: Option<String>,
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
    /// A family without series, for [`FamilyWriter::new`](super::FamilyWriter).
    pub(super) fn new(fields: FamilyFields, policy: FamilyPolicy, cork: Cork, shared: Shared) -> Family {
        let quantiles = (fields.kind.is_of_samples() && !policy.quantiles.is_empty()).then(|| {
            Quantiles::new(
                policy.quantiles.clone(),
                policy.quantile_window,
                shared.clock.clone(),
                &shared.home,
            )
        });
        let values = record::BODY + cell::value_words(fields.kind, &fields.buckets);
        let expires = policy.shortest_ttl() > 0;
        let has_life = expires || quantiles.is_some();
        Family {
            fields,
            cork,
            shared,
            policy,
            quantiles,
            expires,
            life_at: has_life.then_some(values),
            words: values + if has_life { life::WORDS } else { 0 },
            series: AtomicUsize::new(0),
            expired: AtomicU64::new(0),
            clamped: AtomicU64::new(0),
            without_sum: AtomicUsize::new(0),
            limited: Default::default(),
            serial: AtomicU64::new(1),
            replaced: AtomicBool::new(false),
            chunks: Published::default(),
            showing: AtomicU64::new(0),
        }
    }

    /// What the operator has decided for it.
    pub fn policy(&self) -> &FamilyPolicy {
        &self.policy
    }

    /// Whether its series may go.
    #[inline(always)]
    pub fn expires(&self) -> bool {
        self.expires
    }

    /// How many words a record has before its label set.
    #[inline(always)]
    pub fn record_words(&self) -> usize {
        self.words
    }

    /// Whether its records hold more than values.
    pub fn has_lives(&self) -> bool {
        self.life_at.is_some()
    }

    /// Where in a record its life begins, if it has one.
    #[inline(always)]
    pub(crate) fn life_at(&self) -> Option<usize> {
        self.life_at
    }

    /// The quantiles of its series, if they have any.
    #[inline(always)]
    pub fn quantiles(&self) -> Option<&Quantiles> {
        self.quantiles.as_ref()
    }

    /// How many words the count of samples takes: one a bucket, or one in all.
    pub fn count_words(&self) -> usize {
        self.buckets.len().max(1)
    }

    /// How many series it has.
    pub fn series_count(&self) -> usize {
        self.series.load(Relaxed)
    }

    /// How many series have gone.
    pub fn expired(&self) -> u64 {
        self.expired.load(Relaxed)
    }

    /// How many samples below zero have counted as zero.
    pub fn clamped(&self) -> u64 {
        self.clamped.load(Relaxed)
    }

    pub(super) fn note_clamped(&self) {
        self.clamped.fetch_add(1, Relaxed);
    }

    /// How many series have no sum on the page, for they have seen samples below zero.
    pub fn without_sum(&self) -> usize {
        self.without_sum.load(Relaxed)
    }

    pub(super) fn note_without_sum(&self) {
        self.without_sum.fetch_add(1, Relaxed);
    }

    pub(super) fn note_sum_back(&self) {
        self.without_sum.fetch_sub(1, Relaxed);
    }

    /// How many times a label set ran into this limit.
    pub fn limited(&self, by: Limit) -> u64 {
        self.limited[by as usize].load(Relaxed)
    }

    pub(super) fn note_limited(&self, by: Limit) {
        self.limited[by as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn note_created(&self) {
        self.series.fetch_add(1, Relaxed);
    }

    pub(super) fn note_expired(&self) {
        self.series.fetch_sub(1, Relaxed);
        self.expired.fetch_add(1, Relaxed);
    }

    /// The serial number for the next series, if series here have one. The records of all below it are there already, for
    /// whoever looks after having asked, and none that is made from then on has a lower one.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.load(Acquire)
    }

    pub(super) fn set_next_serial(&self, serial: u64) {
        self.serial.store(serial, Release);
    }

    /// Counts a value that was refused.
    pub fn note_refused(&self, why: Refused) {
        self.shared.refusals.count(why);
    }

    /// The clock that its series' lives go by.
    pub(super) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Where to note what the records don't tell, if somebody wants to know.
    #[inline(always)]
    pub fn journal(&self) -> Option<&Journal> {
        self.shared.journal.as_deref()
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

    /// The memory of its series at this moment. A record in it stays what it is for as long as somebody has this.
    pub(crate) fn chunks(&self) -> Chunks {
        self.chunks.load()
    }

    /// Changes which memory there is. For the writer.
    pub(super) fn change_chunks(&self, mut change: impl FnMut(&[Arc<Chunk>]) -> Vec<Arc<Chunk>>) {
        self.chunks.change(|chunks| change(chunks));
    }

    /// Replaces `out` by consistent copies of all records, one after the other.
    pub(crate) fn copy_records(&self, out: &mut Vec<u64>) {
        seqlock::read(&self.showing, || {
            out.clear();
            records(&self.chunks()).for_each(|record| record::copy(record, out, cell::LOST));
        });
    }

    /// Replaces `out` by the values of all gauges, by record in the memory that is returned; `None` for those that readers don't see.
    pub(crate) fn copy_gauges(&self, out: &mut Vec<Option<Number>>) -> Chunks {
        seqlock::read(&self.showing, || {
            out.clear();
            out.reserve_exact(self.series_count());
            let chunks = self.chunks();
            out.extend(records(&chunks).map(cell::gauge::shown));
            chunks
        })
    }

    /// Shows readers the gauges that were written while corked.
    pub(crate) fn show_pending(&self) {
        if !self.cork.take_pending() {
            return;
        }
        seqlock::write(&self.showing, || records(&self.chunks()).for_each(cell::gauge::show));
    }

    /// Forgets the gauges that were written while corked.
    pub(crate) fn discard_pending(&self) {
        if self.cork.take_pending() {
            records(&self.chunks()).for_each(cell::gauge::discard);
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(journal) = self.journal() {
            journal.forget(records(&self.chunks()).map(cell::address));
        }
    }
}

/// All records in this memory so far, in the order of their creation unless some have gone.
pub(crate) fn records(chunks: &Chunks) -> impl Iterator<Item = &[AtomicU64]> {
    chunks.iter().flat_map(|chunk| chunk.records())
}
