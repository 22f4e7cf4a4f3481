//! What is new of a family since the last look, for pushers.

use super::reservoir::Reservoirs;
use super::{FamilySnapshot, Point, Series};
use crate::model::{Kind, Number};
use crate::store::{records, values, Chunks, Ended, Family, Journal};
use crate::sync::atomic::AtomicU64;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Remembers what has been told of each series of a family.
pub struct Changes {
    family: Arc<Family>,
    /// Gauges: the sequence number of the value told; 0 for none.
    gauges: Vec<u32>,
    /// The other types: what has been told.
    told: Vec<Told>,
    /// Histograms and summaries: the counts told, `stride` of them for each series.
    counts: Vec<u64>,
    stride: usize,
    /// What is new of the series at hand, bucket by bucket.
    steps: Vec<u64>,
    /// Families whose series go: which series each number is, and whether its end has been told.
    lives: Vec<(u64, bool)>,
    /// Histograms that tell samples: by how many the store's count is ahead of what was told; below zero, behind.
    balance: HashMap<usize, i64>,
}

#[derive(Clone, Copy)]
struct Told {
    /// When the series had started, as bits; 0 for a series that is new.
    created: u64,
    /// The total or the sum.
    value: Number,
}

/// A series started again since it was last told of.
struct Restart {
    /// What it held until then, if that is known.
    ended: Option<Ended>,
    /// Whether the snapshot is from after that.
    passed: bool,
}

/// What is new of a series.
#[derive(Debug, PartialEq)]
pub enum News<'a> {
    /// A gauge was set to this.
    Gauge(Number),
    /// A counter grew by this.
    Counter(Number),
    /// A summary got as many samples. Its sum grew by that, or shrank, and then nothing is told of it until it is beyond
    /// what it was.
    Summary(Option<Number>, u64),
    /// A histogram has this sum, and got as many samples into each bucket, those of the lower ones included. The last
    /// one is the number of samples.
    Histogram(Number, &'a [u64]),
    /// A histogram got this many samples, of which these are a random choice or all.
    Samples(&'a [Number], u64),
    /// That was the last of it: its number may be another one's next.
    Gone,
}

impl Changes {
    /// Nothing of `family` has been told yet.
    pub fn new(family: Arc<Family>) -> Changes {
        Changes {
            stride: match family.kind {
                Kind::Gauge | Kind::Counter => 0,
                Kind::Summary | Kind::Histogram => family.count_words(),
            },
            family,
            gauges: Vec::new(),
            told: Vec::new(),
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

    /// Calls `tell` with each series of `snapshot` that has news, and its number. They count as told, and the next call
    /// has what comes after. If `tell` breaks, the rest waits for the next call. With `again`, gauges that were told are
    /// told again. For gauges, which are consistent only as a whole; the other types needn't be copied at once.
    pub fn tell_gauges(
        &mut self,
        snapshot: &FamilySnapshot,
        again: bool,
        mut tell: impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
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
                    tell(series.number, &series, News::Gauge(value))?;
                }
            }
            self.tell_end(&series, &mut tell)?;
        }
        ControlFlow::Continue(())
    }

    /// The same for the other types, one series after the other. With `again`, the sums of histograms are told again; with
    /// `samples`, histograms tell their samples.
    pub fn tell_totals(
        &mut self,
        again: bool,
        mut samples: Option<&mut Reservoirs>,
        mut tell: impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let family = Arc::clone(&self.family);
        let mut copy = FamilySnapshot::new();
        // Series made from now on wait for the next call: they may have the labels of one that goes meanwhile.
        let end = family.next_serial();
        let chunks = family.chunks();
        for (place, record) in self.leaving(&chunks).into_iter().chain(records(&chunks)).enumerate() {
            let address = values::address(record);
            copy.take_record(record);
            let copy = copy.records().next();
            let Some(series) = copy.and_then(|copy| Series::new(&family, place, copy, values::FREE, end)) else {
                continue;
            };
            if self.is_wanted(&series) {
                self.tell_total(&series, address, again, samples.as_deref_mut(), &mut tell)?;
                self.tell_end(&series, &mut tell)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The records of series that have gone and whose end is still to be told, in the order of their creation. They come first,
    /// and in this order, since each may have the labels of one that came later. Free ones are none of them: they may be
    /// another series' at any time, whose place in this order is another one.
    pub(crate) fn leaving<'a>(&self, chunks: &'a Chunks) -> Vec<&'a [AtomicU64]> {
        if !self.family.expires() {
            return Vec::new();
        }
        let mut leaving: Vec<_> = records(chunks).filter(|record| values::is_leaving(record)).collect();
        leaving.sort_by_cached_key(|record| self.family.serial(record));
        leaving
    }

    /// What is new of one series, whose record is at `address`.
    fn tell_total(
        &mut self,
        series: &Series<'_>,
        address: usize,
        again: bool,
        samples: Option<&mut Reservoirs>,
        tell: &mut impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let number = series.number;
        match series.point {
            Point::Gauge(_) => {}
            Point::Counter(total, created) => {
                let restart = self.restart(number, created, address);
                if let Some(step) = self.total_step(number, total, &restart) {
                    tell(number, series, News::Counter(step))?;
                }
            }
            Point::Summary(of, count) => {
                let restart = self.restart(number, of.created, address);
                let sum = self.total_step(number, of.sum, &restart);
                let count = self.count_steps(number, std::iter::once(count), &restart);
                if sum.is_some() || count > 0 {
                    tell(number, series, News::Summary(sum, count))?;
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
                        tell(number, series, News::Samples(&kept, of_all))?;
                    }
                } else if count > 0 || moved || (again && counts.each().any(|count| count > 0)) {
                    tell(number, series, News::Histogram(of.sum, &self.steps))?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether there may be news of a series. One that has its number from another begins at nothing.
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
        if let Some(told) = self.gauges.get_mut(number) {
            *told = 0;
        }
        if let Some(told) = self.told.get_mut(number) {
            *told = NEW;
        }
        if let Some(counts) = self.counts.get_mut(number * self.stride..(number + 1) * self.stride) {
            counts.fill(0);
        }
        true
    }

    /// Tells the end of a series, if that has come.
    fn tell_end(
        &mut self,
        series: &Series<'_>,
        tell: &mut impl FnMut(usize, &Series<'_>, News<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !series.is(values::GONE) {
            return ControlFlow::Continue(());
        }
        self.lives[series.number].1 = true;
        tell(series.number, series, News::Gone)
    }

    /// Whether a gauge has been set since it was told, or is to be told again.
    fn is_news(&mut self, number: usize, sequence: u32, again: bool) -> bool {
        grow(&mut self.gauges, number + 1, 0);
        let told = std::mem::replace(&mut self.gauges[number], sequence);
        sequence != told || (again && sequence != 0)
    }

    /// Whether the series, which began at `created`, started again since it was told.
    fn restart(&mut self, number: usize, created: f64, address: usize) -> Option<Restart> {
        grow(&mut self.told, number + 1, NEW);
        grow(&mut self.counts, (number + 1) * self.stride, 0);
        let told = &mut self.told[number];
        if told.created == created.to_bits() {
            return None;
        }
        let ended = self.family.journal().and_then(|journal| journal.take_restart(address));
        let restarted = ended.as_ref().map_or(created, |ended| ended.restarted);
        told.created = restarted.to_bits();
        Some(Restart {
            ended,
            passed: restarted == created,
        })
    }

    /// By how much a total grew, if it did.
    fn total_step(&mut self, number: usize, total: Number, restart: &Option<Restart>) -> Option<Number> {
        let mut told = self.told[number].value;
        let mut step = Number::ZERO;
        if let Some(restart) = restart {
            if let Some(ended) = &restart.ended {
                step = ended.value.minus(told);
            }
            told = Number::ZERO;
        }
        let mut now = told;
        if restart.as_ref().is_none_or(|restart| restart.passed) {
            step = step.plus(total.minus(told));
            now = total;
        }
        let grown = step.as_f64() > 0.0;
        self.told[number].value = if grown { now } else { told };
        grown.then_some(step)
    }

    /// Whether the sum of a histogram is another one, or none yet after a restart.
    fn sum_moved(&mut self, number: usize, sum: Number, restart: &Option<Restart>) -> bool {
        let told = std::mem::replace(&mut self.told[number].value, sum);
        told.to_bits() != sum.to_bits() || restart.as_ref().is_some_and(|restart| restart.ended.is_some())
    }

    /// Fills `steps` with how many samples each bucket got, those of the lower ones included, and returns the last one.
    fn count_steps(&mut self, number: usize, now: impl Iterator<Item = u64>, restart: &Option<Restart>) -> u64 {
        let told = &mut self.counts[number * self.stride..][..self.stride];
        self.steps.clear();
        self.steps.resize(self.stride, 0);
        if let Some(restart) = restart {
            if let Some(ended) = &restart.ended {
                for ((step, ended), told) in self.steps.iter_mut().zip(&ended.counts).zip(told.iter()) {
                    *step = ended.wrapping_sub(*told);
                }
            }
            told.fill(0);
        }
        if restart.as_ref().is_none_or(|restart| restart.passed) {
            for ((step, now), told) in self.steps.iter_mut().zip(now).zip(told) {
                *step = step.wrapping_add(now.wrapping_sub(*told));
                *told = now;
            }
        }
        self.steps.iter_mut().fold(0, |sum: u64, step| {
            *step = sum.wrapping_add(*step);
            *step
        })
    }

    /// The samples of a histogram, and how many they stand for: the ring may be ahead of the snapshot, and may have
    /// overflowed. What couldn't be told waits for the next samples.
    fn balance_samples(
        &mut self,
        number: usize,
        address: usize,
        new: u64,
        from: &mut Reservoirs,
    ) -> (Vec<Number>, u64) {
        let due = self.balance.remove(&number).unwrap_or(0).saturating_add_unsigned(new);
        let (kept, told) = match from.take(address) {
            Some(reservoir) if !reservoir.kept.is_empty() => (reservoir.kept, due.max(reservoir.seen as i64)),
            _ => (Vec::new(), 0),
        };
        if due != told {
            self.balance.insert(number, due - told);
        }
        (kept, told as u64)
    }
}

const NEW: Told = Told {
    created: 0,
    value: Number::ZERO,
};

fn grow<T: Clone>(list: &mut Vec<T>, to: usize, with: T) {
    if list.len() < to {
        list.resize(to, with);
    }
}
