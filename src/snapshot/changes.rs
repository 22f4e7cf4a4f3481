//! What is new of a family since the last look, for pushers.

use super::reservoir::Reservoirs;
use super::{FamilySnapshot, Point, Series};
use crate::model::{Kind, Number};
use crate::store::{records, values, Chunks, Ended, Family, Journal};
use crate::sync::atomic::AtomicU64;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Remembers what has been reported of each series of a family, so that a pusher can report the difference.
///
/// A pusher has one for each family and calls it on its own thread, once in each pass. A call copies the records, one
/// by one or (gauges) as a whole, compares each copy with what is remembered under the series' number, and calls
/// `report` with the difference. What `report` was called with counts as reported, even if it breaks: so it takes the
/// news over (the line is in a datagram) before it breaks. Prosody's thread never comes here. It writes records, and
/// three things that records can't say are in the store's [`Journal`]: what a record held before it started again
/// (`Restart`), how far passes are (a record of a series that has gone is free only after a pass that has reported its
/// end, [`News::Gone`]), and samples one by one, which [`Reservoirs`] take from its ring. A series' number may be given
/// to another series later; the serial number tells that, and the other series begins at nothing (`is_wanted`).
pub struct Changes {
    family: Arc<Family>,
    /// Gauges: the sequence number of the record when its value was reported; 0 for none.
    gauges: Vec<u32>,
    /// The other types: what has been reported.
    totals: Vec<Reported>,
    /// Histograms and summaries: the counts that have been reported, `stride` of them for each series.
    counts: Vec<u64>,
    stride: usize,
    /// How many samples the series at hand has got since the last report, bucket by bucket.
    steps: Vec<u64>,
    /// Families whose series go: the serial number of the series that has each number, and whether its end is reported.
    lives: Vec<(u64, bool)>,
    /// Histograms whose samples are reported: how many samples the store has counted beyond those reported; below zero,
    /// how many were reported before the store's count was read.
    balance: HashMap<usize, i64>,
}

/// What has been reported of a counter, histogram or summary.
#[derive(Clone, Copy)]
struct Reported {
    /// When the series had started, as bits; 0 for a series that is new.
    created: u64,
    /// The total or the sum.
    value: Number,
}

/// A series has started again since it was last reported.
struct Restart {
    /// What it held until then, if that is known.
    ended: Option<Ended>,
    /// Whether the copy of the record is from after that.
    passed: bool,
}

/// What is new of a series.
#[derive(Debug, PartialEq)]
pub enum News<'a> {
    /// A gauge was set to this.
    Gauge(Number),
    /// A counter grew by this.
    Counter(Number),
    /// A summary's sum grew by this, and it got so many samples. A sum that shrank is `None`, as are later ones until
    /// the sum is beyond what was reported.
    Summary(Option<Number>, u64),
    /// A histogram has this sum, and got so many samples into each bucket and those below it. The last count is the
    /// number of samples.
    Histogram(Number, &'a [u64]),
    /// A histogram got so many samples, of which these are a random choice or all.
    Samples(&'a [Number], u64),
    /// The series has gone. Another series may get its number next.
    Gone,
}

impl Changes {
    /// Nothing of `family` has been reported yet.
    pub fn new(family: Arc<Family>) -> Changes {
        Changes {
            stride: match family.kind {
                Kind::Gauge | Kind::Counter => 0,
                Kind::Summary | Kind::Histogram => family.count_words(),
            },
            family,
            gauges: Vec::new(),
            totals: Vec::new(),
            counts: Vec::new(),
            steps: Vec::new(),
            lives: Vec::new(),
            balance: HashMap::new(),
        }
    }

    /// The family.
    pub fn family(&self) -> &Arc<Family> {
        &self.family
    }

    /// For families of gauges, which are consistent only as a whole: calls `report` with the number of each series of
    /// `snapshot` that has news, the series and its news. They count as reported then, and the next call has later
    /// news. If `report` breaks, the remaining series wait for the next call. With `again`, gauges that were reported
    /// are reported once more.
    pub fn report_gauges(
        &mut self,
        snapshot: &FamilySnapshot,
        again: bool,
        mut report: impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let family = Arc::clone(&self.family);
        let (mut all, rest): (Vec<_>, Vec<_>) = snapshot.all(&family).partition(|series| series.is(values::GONE));
        all.sort_by_key(|series| series.serial);
        all.extend(rest);
        for series in all {
            if !self.is_wanted(&series) {
                continue;
            }
            if let Point::Gauge(value) = series.point {
                if !series.is(values::UNSET) && self.is_news(series.number, series.sequence(), again) {
                    report(series.number, &series, News::Gauge(value))?;
                }
            }
            self.report_end(&series, &mut report)?;
        }
        ControlFlow::Continue(())
    }

    /// The same for families of other types, which are copied series by series. With `again`, the sums of histograms
    /// are reported once more; with `samples`, samples of histograms are reported instead of sums and counts.
    pub fn report_totals(
        &mut self,
        again: bool,
        mut samples: Option<&mut Reservoirs>,
        mut report: impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let family = Arc::clone(&self.family);
        let mut copy = FamilySnapshot::new();
        // Series made from now on wait for the next call: they may have the labels of a series that goes meanwhile.
        let end = family.next_serial();
        let chunks = family.chunks();
        for (position, record) in self.leaving(&chunks).into_iter().chain(records(&chunks)).enumerate() {
            let address = values::address(record);
            copy.take_record(record);
            let copy = copy.records().next();
            let Some(series) = copy.and_then(|copy| Series::new(&family, position, copy, values::FREE, end)) else {
                continue;
            };
            if self.is_wanted(&series) {
                self.report_total(&series, address, again, samples.as_deref_mut(), &mut report)?;
                self.report_end(&series, &mut report)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The records of series that have gone and whose end may still have to be reported, in the order of their series'
    /// creation. They come before all others, and in this order, since a later series may have the same labels. Free
    /// records are left out: one may be given to another series at any time, which belongs elsewhere in this order.
    pub(crate) fn leaving<'a>(&self, chunks: &'a Chunks) -> Vec<&'a [AtomicU64]> {
        if !self.family.expires() {
            return Vec::new();
        }
        let mut leaving: Vec<_> = records(chunks).filter(|record| values::is_leaving(record)).collect();
        leaving.sort_by_cached_key(|record| self.family.serial(record));
        leaving
    }

    /// Reports what is new of one series, whose record is at `address`.
    fn report_total(
        &mut self,
        series: &Series<'_>,
        address: usize,
        again: bool,
        samples: Option<&mut Reservoirs>,
        report: &mut impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let number = series.number;
        match series.point {
            Point::Gauge(_) => {}
            Point::Counter(total, created) => {
                let restart = self.restart(number, created, address);
                if let Some(step) = self.total_step(number, total, &restart) {
                    report(number, series, News::Counter(step))?;
                }
            }
            Point::Summary(of, count) => {
                let restart = self.restart(number, of.created, address);
                let sum = self.total_step(number, of.sum, &restart);
                let count = self.count_steps(number, std::iter::once(count), &restart);
                if sum.is_some() || count > 0 {
                    report(number, series, News::Summary(sum, count))?;
                }
            }
            Point::Histogram(of, counts) => {
                let restart = self.restart(number, of.created, address);
                let count = self.count_steps(number, counts.each(), &restart);
                let moved = self.sum_moved(number, of.sum, &restart);
                if let (Some(samples), false) = (samples, self.family.own) {
                    // After the copy: what it has counted is in the ring by now.
                    samples.fill(self.family.journal().and_then(Journal::ring));
                    let (kept, of_all) = self.balance_samples(number, address, count, samples);
                    if !kept.is_empty() {
                        report(number, series, News::Samples(&kept, of_all))?;
                    }
                } else if count > 0 || moved || (again && counts.each().any(|count| count > 0)) {
                    report(number, series, News::Histogram(of.sum, &self.steps))?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether there may be news of a series. A series that has its number from another series begins at nothing.
    fn is_wanted(&mut self, series: &Series<'_>) -> bool {
        if !self.family.expires() {
            return true;
        }
        let number = series.number;
        grow(&mut self.lives, number + 1, (0, false));
        let (serial, ended) = self.lives[number];
        if serial == series.serial {
            return !ended;
        }
        self.lives[number] = (series.serial, false);
        self.balance.remove(&number);
        if let Some(reported) = self.gauges.get_mut(number) {
            *reported = 0;
        }
        if let Some(reported) = self.totals.get_mut(number) {
            *reported = NEW;
        }
        if let Some(counts) = self.counts.get_mut(number * self.stride..(number + 1) * self.stride) {
            counts.fill(0);
        }
        true
    }

    /// Reports the end of a series that has gone.
    fn report_end(
        &mut self,
        series: &Series<'_>,
        report: &mut impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !series.is(values::GONE) {
            return ControlFlow::Continue(());
        }
        self.lives[series.number].1 = true;
        report(series.number, series, News::Gone)
    }

    /// Whether a gauge has been set since it was reported, or is to be reported again.
    fn is_news(&mut self, number: usize, sequence: u32, again: bool) -> bool {
        grow(&mut self.gauges, number + 1, 0);
        let reported = std::mem::replace(&mut self.gauges[number], sequence);
        sequence != reported || (again && sequence != 0)
    }

    /// The restart of a series, whose copy started at `created`, if it is new or has started again since it was
    /// reported.
    fn restart(&mut self, number: usize, created: f64, address: usize) -> Option<Restart> {
        grow(&mut self.totals, number + 1, NEW);
        grow(&mut self.counts, (number + 1) * self.stride, 0);
        let reported = &mut self.totals[number];
        if reported.created == created.to_bits() {
            return None;
        }
        let ended = self.family.journal().and_then(|journal| journal.take_restart(address));
        let restarted = ended.as_ref().map_or(created, |ended| ended.restarted);
        reported.created = restarted.to_bits();
        Some(Restart {
            ended,
            passed: restarted == created,
        })
    }

    /// By how much a total has grown since it was reported, if it has.
    fn total_step(&mut self, number: usize, total: Number, restart: &Option<Restart>) -> Option<Number> {
        let mut reported = self.totals[number].value;
        let mut step = Number::ZERO;
        if let Some(restart) = restart {
            if let Some(ended) = &restart.ended {
                step = ended.value.minus(reported);
            }
            reported = Number::ZERO;
        }
        let mut now = reported;
        if restart.as_ref().is_none_or(|restart| restart.passed) {
            step = step.plus(total.minus(reported));
            now = total;
        }
        let grown = step.as_f64() > 0.0;
        self.totals[number].value = if grown { now } else { reported };
        grown.then_some(step)
    }

    /// Whether the sum of a histogram has changed since it was reported, or the histogram has started again.
    fn sum_moved(&mut self, number: usize, sum: Number, restart: &Option<Restart>) -> bool {
        let reported = std::mem::replace(&mut self.totals[number].value, sum);
        reported.to_bits() != sum.to_bits() || restart.as_ref().is_some_and(|restart| restart.ended.is_some())
    }

    /// Fills `steps` with the number of samples that each bucket and those below it got since the last report. Returns
    /// the last of these numbers.
    fn count_steps(&mut self, number: usize, now: impl Iterator<Item = u64>, restart: &Option<Restart>) -> u64 {
        let reported = &mut self.counts[number * self.stride..][..self.stride];
        self.steps.clear();
        self.steps.resize(self.stride, 0);
        if let Some(restart) = restart {
            if let Some(ended) = &restart.ended {
                for ((step, ended), reported) in self.steps.iter_mut().zip(&ended.counts).zip(reported.iter()) {
                    *step = ended.wrapping_sub(*reported);
                }
            }
            reported.fill(0);
        }
        if restart.as_ref().is_none_or(|restart| restart.passed) {
            for ((step, now), reported) in self.steps.iter_mut().zip(now).zip(reported) {
                *step = step.wrapping_add(now.wrapping_sub(*reported));
                *reported = now;
            }
        }
        self.steps.iter_mut().fold(0, |sum: u64, step| {
            *step = sum.wrapping_add(*step);
            *step
        })
    }

    /// The samples of a histogram that are to be reported, and how many samples they stand for: the ring may be ahead
    /// of the copy, and may have overflowed. Samples that couldn't be reported are counted with the next ones.
    fn balance_samples(
        &mut self,
        number: usize,
        address: usize,
        new: u64,
        from: &mut Reservoirs,
    ) -> (Vec<Number>, u64) {
        let due = self.balance.remove(&number).unwrap_or(0).saturating_add_unsigned(new);
        let (kept, reported) = match from.take(address) {
            Some(reservoir) if !reservoir.kept.is_empty() => (reservoir.kept, due.max(reservoir.seen as i64)),
            _ => (Vec::new(), 0),
        };
        if due != reported {
            self.balance.insert(number, due - reported);
        }
        (kept, reported as u64)
    }
}

const NEW: Reported = Reported {
    created: 0,
    value: Number::ZERO,
};

fn grow<T: Clone>(list: &mut Vec<T>, to: usize, with: T) {
    if list.len() < to {
        list.resize(to, with);
    }
}
