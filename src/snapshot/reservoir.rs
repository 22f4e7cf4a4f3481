//! A random choice of each histogram's samples, of bounded size, for pushers that send samples one by one.

use crate::model::Number;
use crate::store::Ring;
use std::collections::HashMap;

/// How many samples of all series are kept at most: 4 MiB. When there are so many, each further series keeps one.
const MOST: usize = 1 << 18;

/// The samples that came through the ring since they were last taken, by their record's address.
pub struct Reservoirs {
    by_record: HashMap<usize, Reservoir>,
    /// How many samples are kept.
    kept: usize,
    /// How many samples are kept of one series at most.
    limit: usize,
    /// How many times [`Reservoirs::sweep`] was called.
    sweeps: u64,
}

/// The samples of one series.
#[derive(Default)]
pub struct Reservoir {
    /// How many samples there were.
    pub seen: u64,
    /// The samples that are kept; each sample is as likely to be here as any other.
    pub kept: Vec<Number>,
    /// The number of sweeps when the reservoir was begun.
    begun: u64,
}

impl Reservoirs {
    /// No samples yet. At most `limit` will be kept of a series.
    pub fn new(limit: usize) -> Reservoirs {
        Reservoirs {
            by_record: HashMap::new(),
            kept: 0,
            limit: limit.max(1),
            sweeps: 0,
        }
    }

    /// Takes all samples out of the ring, if there is one.
    pub fn fill(&mut self, ring: Option<&Ring>) {
        if let Some(ring) = ring {
            ring.drain(|address, sample| self.add(address, sample));
        }
    }

    /// Vitter's algorithm R: once the reservoir is full, the n-th sample replaces one of the kept with probability
    /// limit/n.
    fn add(&mut self, address: usize, sample: Number) {
        let begun = self.sweeps;
        let Reservoir { seen, kept, .. } = self.by_record.entry(address).or_insert_with(|| Reservoir {
            begun,
            ..Reservoir::default()
        });
        *seen += 1;
        if kept.len() < self.limit && (self.kept < MOST || kept.is_empty()) {
            kept.push(sample);
            self.kept += 1;
        } else if let Some(slot) = usize::try_from(fastrand::u64(..*seen))
            .ok()
            .and_then(|at| kept.get_mut(at))
        {
            *slot = sample;
        }
    }

    /// Takes out the samples of the record at `address`.
    pub fn take(&mut self, address: usize) -> Option<Reservoir> {
        let taken = self.by_record.remove(&address)?;
        self.kept -= taken.kept.len();
        Some(taken)
    }

    /// To be called after each pass: drops what no pass took in two, since it belongs to no family that is pushed.
    pub fn sweep(&mut self) {
        let (sweeps, kept) = (self.sweeps, &mut self.kept);
        self.by_record.retain(|_, reservoir| {
            let stays = reservoir.begun == sweeps;
            if !stays {
                *kept -= reservoir.kept.len();
            }
            stays
        });
        self.sweeps += 1;
    }

    /// How many samples are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_as_likely_to_be_kept() {
        let mut sum = 0.0;
        let rounds = 300;
        for _ in 0..rounds {
            let mut reservoirs = Reservoirs::new(50);
            (0..1000).for_each(|n| reservoirs.add(8, Number::Int(n)));
            let Reservoir { seen, kept, .. } = reservoirs.take(8).unwrap();
            assert_eq!((seen, kept.len(), reservoirs.kept()), (1000, 50, 0));
            sum += kept.iter().map(|n| n.as_f64()).sum::<f64>() / 50.0;
        }
        // The mean of 15,000 draws from 0 to 999 has a standard error of 2.4.
        let mean = sum / f64::from(rounds);
        assert!((mean - 499.5).abs() < 15.0, "{mean}");
    }

    #[test]
    fn what_nobody_takes_goes_after_two_rounds() {
        let mut reservoirs = Reservoirs::new(5);
        reservoirs.add(8, Number::ZERO);
        reservoirs.sweep();
        reservoirs.add(16, Number::ZERO);
        assert_eq!(reservoirs.kept(), 2);
        reservoirs.sweep();
        assert!(reservoirs.take(8).is_none());
        assert_eq!(reservoirs.kept(), 1);
    }
}
