//! Quantiles of a family's series over a sliding window.
//!
//! Each series has a few sketches, one for each part of the window that has seen samples. A sketch is DDSketch's
//! (Masson, Rim and Lee, VLDB 2019): a quantile it gives is off by 1 % of the value at most. Its bins span nine
//! decades; should a series' samples within the window span more, that holds for the upper nine.
//!
//! Prosody's thread never waits here: while a reader copies a sketch, samples go to a list that is emptied into the
//! sketches next time.

use super::home::{Home, HomeMutex};
use crate::model::clock::Clock;
use crate::sync::Mutex;
use sketches_ddsketch::{Config, DDSketch};
use std::sync::Arc;
use std::time::Duration;

/// By how much of the value a quantile is off at most.
pub const RELATIVE_ERROR: f64 = 0.01;

/// Bins of a sketch: nine decades with this error, 8 KiB.
const BINS: u32 = 1024;

/// Samples nearer to zero than this count as zero. In seconds that is a nanosecond.
const SMALLEST: f64 = 1e-9;

/// Parts of the window. The oldest part goes as a whole, so quantiles are of the last 80 to 100 % of the window.
const PARTS: usize = 5;

/// How many samples are kept at most while a reader has the sketches.
const MOST_WAITING: usize = 1 << 16;

/// What tells a series from all others of its family, also from those that have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesId {
    /// A small number, which another series gets once this one has gone.
    pub number: u32,
    /// The serial number, which no other series gets.
    pub serial: u64,
}

/// The sketches of one family.
pub struct Quantiles {
    /// The quantiles that are shown, ascending.
    asked: Vec<f64>,
    /// How long a part of the window is, in nanoseconds.
    part: u128,
    clock: Clock,
    /// Windows by the series' numbers.
    windows: HomeMutex<Vec<Option<Box<Window>>>>,
    /// Only ever locked by Prosody's thread.
    waiting: Mutex<Vec<(SeriesId, Event)>>,
}

/// The sketches of one series.
struct Window {
    serial: u64,
    /// Sketches, each with the number of the part of time that its samples are from.
    parts: [Option<(u128, DDSketch)>; PARTS],
}

/// What happens to a series.
enum Event {
    /// A sample, in this part of time.
    Sample(u128, f64),
    /// The series starts again, or goes.
    End,
}

impl Quantiles {
    /// No sketches yet. `asked` are the quantiles that will be shown, over a sliding `window`.
    pub(super) fn new(asked: Vec<f64>, window: Duration, clock: Clock, home: &Arc<Home>) -> Quantiles {
        Quantiles {
            asked,
            part: (window.as_nanos() / PARTS as u128).max(1),
            clock,
            windows: HomeMutex::new(home),
            waiting: Mutex::default(),
        }
    }

    /// The quantiles that are shown, ascending.
    pub fn asked(&self) -> &[f64] {
        &self.asked
    }

    fn now(&self) -> u128 {
        self.clock.now().as_nanos() / self.part
    }

    /// Takes a sample, unless it is infinite. For the writer.
    pub(super) fn sample(&self, id: SeriesId, sample: f64) {
        if sample.is_finite() {
            self.happens(id, Event::Sample(self.now(), sample));
        }
    }

    /// Forgets the samples of a series. For the writer.
    pub(super) fn end(&self, id: SeriesId) {
        self.happens(id, Event::End);
    }

    fn happens(&self, id: SeriesId, event: Event) {
        let mut waiting = self.waiting.lock();
        match self.windows.try_lock() {
            Some(mut windows) => {
                waiting.drain(..).for_each(|(id, event)| apply(&mut windows, id, event));
                apply(&mut windows, id, event);
            }
            None if self.windows.is_lost() => *waiting = Vec::new(),
            None if waiting.len() < MOST_WAITING => waiting.push((id, event)),
            None => {}
        }
    }

    /// The quantiles of a series, each with its value: NaN without samples in the window, and where the lock is lost
    /// (see [`HomeMutex`]).
    pub fn read(&self, id: SeriesId) -> impl Iterator<Item = (f64, f64)> + '_ {
        let now = self.now();
        let mut all = DDSketch::new(config());
        let mut windows = self.windows.lock();
        if let Some(window) = windows.as_mut().and_then(|windows| find(windows, id)) {
            for part in &mut window.parts {
                match part {
                    Some((at, sketch)) if is_within(*at, now) => {
                        // They all have the same configuration, so they can be merged.
                        let _ = all.merge(sketch);
                    }
                    // Too old for any later reader, too.
                    part => *part = None,
                }
            }
        }
        drop(windows);
        self.asked.iter().map(move |quantile| (*quantile, at(&all, *quantile)))
    }
}

/// The smallest sample that is not below the share `quantile` of all: of few samples a high quantile is the largest.
/// (The sketch's own rank is rounded down.) NaN without samples.
fn at(all: &DDSketch, quantile: f64) -> f64 {
    let count = all.count() as f64;
    let (Some(min), Some(max)) = (all.min(), all.max()) else {
        return f64::NAN;
    };
    let rank = (quantile * count).ceil();
    if rank <= 1.0 {
        return min;
    }
    // In the middle of the rank, so that rounding doesn't matter.
    let share = (rank - 0.5) / (count - 1.0);
    let found = if rank < count {
        all.quantile(share).ok().flatten()
    } else {
        None
    };
    found.unwrap_or(max).clamp(min, max)
}

fn config() -> Config {
    Config::new(RELATIVE_ERROR, BINS, SMALLEST)
}

fn is_within(part: u128, now: u128) -> bool {
    part + PARTS as u128 > now
}

fn find(windows: &mut [Option<Box<Window>>], id: SeriesId) -> Option<&mut Window> {
    let window = windows.get_mut(id.number as usize)?.as_deref_mut()?;
    (window.serial == id.serial).then_some(window)
}

fn apply(windows: &mut Vec<Option<Box<Window>>>, id: SeriesId, event: Event) {
    match event {
        Event::Sample(at, sample) => add(windows, id, at, sample),
        Event::End => {
            if find(windows, id).is_some() {
                windows[id.number as usize] = None;
            }
        }
    }
}

fn add(windows: &mut Vec<Option<Box<Window>>>, id: SeriesId, at: u128, sample: f64) {
    let index = id.number as usize;
    if windows.len() <= index {
        windows.resize_with(index + 1, || None);
    }
    // An older window belongs to a series that has gone.
    if windows[index].as_ref().is_none_or(|window| window.serial < id.serial) {
        windows[index] = Some(Box::new(Window {
            serial: id.serial,
            parts: Default::default(),
        }));
    }
    let Some(window) = find(windows, id) else {
        return;
    };
    match &mut window.parts[(at % PARTS as u128) as usize] {
        Some((of, sketch)) if *of == at => sketch.add(sample),
        part => {
            let mut sketch = DDSketch::new(config());
            sketch.add(sample);
            *part = Some((at, sketch));
            for part in &mut window.parts {
                if part.as_ref().is_some_and(|(of, _)| !is_within(*of, at)) {
                    *part = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SeriesId = SeriesId { number: 0, serial: 7 };

    fn quantiles(asked: &[f64], window: u64) -> (Quantiles, Clock) {
        let clock = Clock::default();
        let quantiles = Quantiles::new(
            asked.to_vec(),
            Duration::from_secs(window),
            clock.clone(),
            &Arc::default(),
        );
        (quantiles, clock)
    }

    fn read(quantiles: &Quantiles, id: SeriesId) -> Vec<(f64, f64)> {
        quantiles.read(id).collect()
    }

    /// Compares with what sorting gives.
    fn worst_error(samples: &mut [f64], asked: &[f64]) -> f64 {
        let (quantiles, _) = quantiles(asked, 3600);
        samples.iter().for_each(|sample| quantiles.sample(ID, *sample));
        samples.sort_by(f64::total_cmp);
        let exact = |q: f64| samples[(q * samples.len() as f64).ceil() as usize - 1];
        let read = quantiles.read(ID);
        read.map(|(q, value)| (value / exact(q) - 1.0).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn quantiles_of_skewed_samples_are_within_the_stated_error() {
        let asked = [0.01, 0.5, 0.9, 0.99, 0.999];
        let mut random = fastrand::Rng::with_seed(1);
        let mut uniform = || random.f64().max(1e-12);
        let n = 100_000;
        // Pareto with a tail that has no mean, log-normal over six decades, exponential, two humps far apart.
        let mut pareto: Vec<f64> = (0..n).map(|_| 0.001 * uniform().powf(-1.0 / 0.9)).collect();
        let mut normal = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        let mut log_normal: Vec<f64> = (0..n).map(|_| (2.5 * normal()).exp() / 1000.0).collect();
        let mut exponential: Vec<f64> = (0..n).map(|_| -0.05 * uniform().ln()).collect();
        let mut humps: Vec<f64> = (0..n)
            .map(|i| {
                if i % 50 == 0 {
                    30.0 + uniform()
                } else {
                    1e-4 * (1.0 + uniform())
                }
            })
            .collect();
        for samples in [&mut pareto, &mut log_normal, &mut exponential, &mut humps] {
            let worst = worst_error(samples, &asked);
            assert!(worst <= RELATIVE_ERROR * 1.000_001, "{worst}");
        }
    }

    #[test]
    fn of_few_samples_a_high_quantile_is_the_largest() {
        let (quantiles, _) = quantiles(&[0.0, 0.5, 0.9, 0.99, 1.0], 100);
        let values = || {
            read(&quantiles, ID)
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        quantiles.sample(ID, 1.0);
        assert_eq!(values(), [1.0; 5]);
        quantiles.sample(ID, 2.0);
        quantiles.sample(ID, 3.5);
        let [least, median, high, higher, most] = values()[..] else {
            panic!("five");
        };
        assert_eq!((least, high, higher, most), (1.0, 3.5, 3.5, 3.5));
        assert!((median / 2.0 - 1.0).abs() <= RELATIVE_ERROR);
    }

    #[test]
    fn samples_leave_with_the_window() {
        let (quantiles, clock) = quantiles(&[0.0, 1.0], 100);
        quantiles.sample(ID, 1.0);
        clock.skip(Duration::from_secs(60));
        quantiles.sample(ID, 5.0);
        assert_eq!(read(&quantiles, ID), [(0.0, 1.0), (1.0, 5.0)]);
        clock.skip(Duration::from_secs(45));
        assert_eq!(read(&quantiles, ID), [(0.0, 5.0), (1.0, 5.0)]);
        clock.skip(Duration::from_secs(60));
        assert!(read(&quantiles, ID).iter().all(|(_, value)| value.is_nan()));
    }

    #[test]
    fn samples_that_come_while_somebody_reads_are_not_lost() {
        let (quantiles, _) = quantiles(&[0.0, 1.0], 100);
        let reader = quantiles.windows.lock();
        quantiles.sample(ID, 1.0);
        quantiles.sample(ID, 2.0);
        drop(reader);
        quantiles.sample(ID, 3.0);
        assert_eq!(read(&quantiles, ID), [(0.0, 1.0), (1.0, 3.0)]);
    }

    #[test]
    fn a_series_that_follows_another_begins_without_samples() {
        let (quantiles, _) = quantiles(&[0.5], 100);
        quantiles.sample(ID, 1.0);
        quantiles.end(ID);
        let next = SeriesId { serial: 8, ..ID };
        assert!(read(&quantiles, next)[0].1.is_nan());
        quantiles.sample(next, 3.0);
        quantiles.sample(ID, 1.0);
        assert!(read(&quantiles, ID)[0].1.is_nan());
        assert!((read(&quantiles, next)[0].1 - 3.0).abs() <= 0.03);
    }

    #[test]
    fn what_is_no_number_to_sort_does_no_harm() {
        let (quantiles, _) = quantiles(&[0.5], 100);
        for sample in [
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            0.0,
            -3.0,
            1e308,
            1e-308,
            -1e308,
        ] {
            quantiles.sample(ID, sample);
        }
        assert_eq!(read(&quantiles, ID)[0].1, 0.0);
    }
}
