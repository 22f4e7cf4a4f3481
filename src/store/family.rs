//! A metric family as readers see it: its metadata and its series.

use super::chunk::Chunk;
use super::cork::Cork;
use super::home::Home;
use super::journal::Journal;
use super::quantiles::{Quantiles, SeriesId};
use super::refusals::{Refusals, Refused};
use super::ring::Ring;
use super::{life, record, seqlock, values};
use crate::model::clock::Clock;
use crate::model::{Buckets, Kind, Number};
use crate::policy::{FamilyPolicy, Limit};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use crate::sync::Published;
use std::ops::Deref;
use std::sync::Arc;

/// The chunks with the records of a family's series.
pub(crate) type Chunks = Arc<Vec<Arc<Chunk>>>;

/// The values of a family's gauges, by record in each part of its memory; `None` for those that readers don't see. The parts
/// are small, so that the heap has room for them again and again.
pub(crate) type ShownGauges = Vec<(Arc<Chunk>, Box<[Option<Number>]>)>;

/// A family as readers see it, on any thread.
pub struct Family {
    fields: FamilyFields,
    /// Whether its gauges are corked.
    pub cork: Cork,
    context: StoreContext,
    policy: FamilyPolicy,
    quantiles: Option<Quantiles>,
    /// Whether its series may go.
    expires: bool,
    /// The index in a record at which the series' life begins, if the family's series have one.
    life_at: Option<usize>,
    /// How many words of a record come before its label set.
    words: usize,
    /// How many series it has.
    series: AtomicUsize,
    /// How many series have gone, and how many of them for their idle time.
    gone: AtomicU64,
    expired: AtomicU64,
    /// How many samples below zero have counted as zero.
    clamped: AtomicU64,
    /// How many series have no sum on the page, since they have seen samples below zero.
    without_sum: AtomicUsize,
    /// How many times a label set ran into each limit.
    limited: [AtomicU64; Limit::ALL.len()],
    /// The serial number of the next series.
    next_serial: AtomicU64,
    replaced: AtomicBool,
    chunks: Published<Vec<Arc<Chunk>>>,
    /// Odd while gauges written under the cork are being shown.
    showing: AtomicU64,
}

/// What a family needs of its store.
pub(super) struct StoreContext {
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) clock: Clock,
    pub(super) home: Arc<Home>,
}

/// A family's metadata, as a page and lines have it.
#[derive(Clone, Debug)]
pub struct FamilyFields {
    /// Its type.
    pub kind: Kind,
    /// Its name on the page, which no other family has.
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
    /// Whether a sample below zero counts as zero, since it can only come from a clock that was set, or the like.
    pub clamps: bool,
    /// The name of the further family on the page that has a histogram's quantiles, if it shows any.
    pub quantiles_name: Option<String>,
    /// Whether its series go when they are told to.
    pub leaves: bool,
    /// Whether the page is without its `_created` samples.
    pub uncreated: bool,
    /// Whether its labels name others than this server.
    pub names_others: bool,
    /// Whether it is one of metre's own families, which no module registered.
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
    pub(super) fn new(fields: FamilyFields, policy: FamilyPolicy, cork: Cork, context: StoreContext) -> Family {
        let quantiles = (fields.kind.is_of_samples() && !policy.quantiles.is_empty()).then(|| {
            Quantiles::new(
                policy.quantiles.clone(),
                policy.quantile_window,
                context.clock.clone(),
                &context.home,
            )
        });
        let values = record::BODY + values::words(fields.kind, &fields.buckets);
        let expires = policy.shortest_ttl() > 0 || fields.leaves;
        let has_life = expires || quantiles.is_some();
        Family {
            fields,
            cork,
            context,
            policy,
            quantiles,
            expires,
            life_at: has_life.then_some(values),
            words: values + if has_life { life::WORDS } else { 0 },
            series: AtomicUsize::new(0),
            gone: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            clamped: AtomicU64::new(0),
            without_sum: AtomicUsize::new(0),
            limited: Default::default(),
            next_serial: AtomicU64::new(1),
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

    /// How many words of a record come before its label set.
    #[inline(always)]
    pub fn record_words(&self) -> usize {
        self.words
    }

    /// Whether its records hold a life beside values.
    pub fn has_lives(&self) -> bool {
        self.life_at.is_some()
    }

    /// What is known of the life of the series with this record, if the family's series have one.
    #[inline(always)]
    pub(super) fn life<'a>(&self, record: &'a [AtomicU64]) -> Option<life::Words<'a>> {
        let words = record.get(self.life_at?..)?;
        words.get(..life::WORDS).map(life::Words)
    }

    /// What a series is known by, and whether it has quantiles, from a copy of its record whose words `word` gives; if
    /// the family's series have a life.
    pub(crate) fn life_of_copy(&self, word: impl Fn(usize) -> u64) -> Option<(SeriesId, bool)> {
        let at = self.life_at?;
        let words = [word(at), word(at + 1), word(at + 2)].map(AtomicU64::new);
        let life = life::Words(&words);
        Some((life.id(), life.has_quantiles()))
    }

    /// The serial number of the series with this record; 0 if the family's series have none.
    pub(crate) fn serial(&self, record: &[AtomicU64]) -> u64 {
        self.life(record).map_or(0, |life| life.id().serial)
    }

    /// How many quantiles the series with this record has.
    pub fn quantile_count(&self, record: &[AtomicU64]) -> usize {
        let life = self.life(record).filter(|life| life.has_quantiles());
        let quantiles = self.quantiles().filter(|_| life.is_some());
        quantiles.map_or(0, |quantiles| quantiles.asked().len())
    }

    /// The quantiles of the series with this record over the window, each with its value; none if the series has none.
    pub fn quantiles_of(&self, record: &[AtomicU64]) -> Vec<(f64, f64)> {
        let life = self.life(record).filter(|life| life.has_quantiles());
        let quantiles = self.quantiles().zip(life);
        quantiles.map_or(Vec::new(), |(quantiles, life)| quantiles.read(life.id()).collect())
    }

    /// The quantiles of its series, if they have any.
    #[inline(always)]
    pub fn quantiles(&self) -> Option<&Quantiles> {
        self.quantiles.as_ref()
    }

    /// How many words the number of samples takes: one for each bucket of a histogram, else one.
    pub fn count_words(&self) -> usize {
        self.buckets.len().max(1)
    }

    /// How many series it has.
    pub fn series_count(&self) -> usize {
        self.series.load(Relaxed)
    }

    /// How many series have gone.
    pub fn gone(&self) -> u64 {
        self.gone.load(Relaxed)
    }

    /// How many series have gone since nobody updated them.
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

    /// How many series have no sum on the page, since they have seen samples below zero.
    pub fn without_sum(&self) -> usize {
        self.without_sum.load(Relaxed)
    }

    pub(super) fn note_without_sum(&self) {
        self.without_sum.fetch_add(1, Relaxed);
    }

    pub(super) fn note_sum_back(&self) {
        self.without_sum.fetch_sub(1, Relaxed);
    }

    /// How many times a label set ran into the limit `by`.
    pub fn limited(&self, by: Limit) -> u64 {
        self.limited[by as usize].load(Relaxed)
    }

    pub(super) fn note_limited(&self, by: Limit) {
        self.limited[by as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn note_created(&self) {
        self.series.fetch_add(1, Relaxed);
    }

    pub(super) fn note_gone(&self) {
        self.series.fetch_sub(1, Relaxed);
        self.gone.fetch_add(1, Relaxed);
    }

    pub(super) fn note_expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    /// The serial number of the next series, if the family's series have one. A reader who asks first and looks then
    /// finds the records of all lower serial numbers; no series that is made later has a lower one.
    pub(crate) fn next_serial(&self) -> u64 {
        self.next_serial.load(Acquire)
    }

    pub(super) fn set_next_serial(&self, serial: u64) {
        self.next_serial.store(serial, Release);
    }

    /// Counts a value that was refused.
    pub fn note_refused(&self, why: Refused) {
        self.context.refusals.count(why);
    }

    /// The clock for idle times.
    pub(super) fn clock(&self) -> &Clock {
        &self.context.clock
    }

    /// The journal, if the store has one and the family is not metre's own.
    #[inline(always)]
    pub fn journal(&self) -> Option<&Journal> {
        self.context.journal.as_deref()
    }

    /// The ring that each sample goes through, if a pusher wants all samples and the family is still on the page.
    #[inline(always)]
    pub(super) fn ring(&self) -> Option<&Ring> {
        let ring = self.journal()?.ring()?;
        (!self.replaced.load(Relaxed)).then_some(ring)
    }

    /// Notes that another family has its name now. From now on its samples don't go through the ring: no pusher would
    /// look for them before its records' addresses are those of other records.
    pub(super) fn note_replaced(&self) {
        self.replaced.store(true, Relaxed);
    }

    /// The chunks of this moment. Whoever has them can read all records in them, even when the family has no such chunk
    /// any more.
    pub(crate) fn chunks(&self) -> Chunks {
        self.chunks.load()
    }

    /// Replaces the list of chunks. For the writer.
    pub(super) fn change_chunks(&self, mut change: impl FnMut(&[Arc<Chunk>]) -> Vec<Arc<Chunk>>) {
        self.chunks.change(|chunks| change(chunks));
    }

    /// Fills `out` with copies of all records, one after the other, in which all gauges are of one moment.
    pub(crate) fn copy_records(&self, out: &mut Vec<u64>) {
        seqlock::read(&self.showing, || {
            out.clear();
            records(&self.chunks()).for_each(|record| record::copy(record, out, values::LOST));
        });
    }

    /// The values of all gauges.
    pub(crate) fn copy_gauges(&self) -> ShownGauges {
        let mut shown = Vec::new();
        seqlock::read(&self.showing, || {
            let copies = self.chunks();
            let copies = copies.iter().map(|chunk| {
                shown.clear();
                shown.extend(chunk.records().map(values::shown));
                (Arc::clone(chunk), Box::from(shown.as_slice()))
            });
            copies.collect()
        })
    }

    /// Shows readers the gauges that were written while corked.
    pub(crate) fn show_pending(&self) {
        if !self.cork.take_pending() {
            return;
        }
        seqlock::write(&self.showing, || records(&self.chunks()).for_each(values::show));
    }

    /// Forgets the gauges that were written while corked.
    pub(crate) fn discard_pending(&self) {
        if self.cork.take_pending() {
            records(&self.chunks()).for_each(values::discard);
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(journal) = self.journal() {
            journal.forget(records(&self.chunks()).map(values::address));
        }
    }
}

/// All records in these chunks so far. They are in the order of their series' creation, unless series have gone.
pub(crate) fn records(chunks: &Chunks) -> impl Iterator<Item = &[AtomicU64]> {
    chunks.iter().flat_map(|chunk| chunk.records())
}
