//! Samples on their way from Prosody's thread to one reader.

use crate::model::Number;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

/// How many samples fit, before the reader takes them out: a tenth of a second at 650,000 samples a second.
const PLACES: usize = if cfg!(feature = "model") { 2 } else { 1 << 16 };

/// A ring of samples with one writer and one reader, neither of which waits. What doesn't fit is left out; the
/// series' own count tells the reader how much that was.
pub struct Ring {
    places: Box<[Place]>,
    written: AtomicUsize,
    read: AtomicUsize,
}

/// The address of a record, which is even, plus one if the sample is a float; then the sample's bits.
#[derive(Default)]
struct Place(AtomicU64, AtomicU64);

impl Ring {
    pub(crate) fn new() -> Ring {
        Ring {
            places: (0..PLACES).map(|_| Place::default()).collect(),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        }
    }

    /// Adds a sample of the record at `address`, if there is room. For the writer.
    #[inline]
    pub(crate) fn push(&self, address: usize, sample: Number) {
        let written = self.written.load(Relaxed);
        if written.wrapping_sub(self.read.load(Acquire)) < PLACES {
            let (bits, float) = sample.to_bits();
            let Place(whose, what) = &self.places[written % PLACES];
            whose.store(address as u64 | u64::from(float), Relaxed);
            what.store(bits, Relaxed);
            self.written.store(written.wrapping_add(1), Release);
        }
    }

    /// Takes out all samples so far, each with its record's address. For the reader.
    pub fn drain(&self, mut take: impl FnMut(usize, Number)) {
        let end = self.written.load(Acquire);
        let mut at = self.read.load(Relaxed);
        while at != end {
            let Place(whose, what) = &self.places[at % PLACES];
            let whose = whose.load(Relaxed);
            take(
                (whose & !1) as usize,
                Number::from_bits(what.load(Relaxed), whose & 1 != 0),
            );
            at = at.wrapping_add(1);
        }
        self.read.store(end, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_no_more_than_fits() {
        let ring = Ring::new();
        for round in 0..3 {
            for n in 0..PLACES + 5 {
                ring.push(
                    8 * n,
                    if n % 2 == 0 {
                        Number::Int(n as i64)
                    } else {
                        Number::Float(n as f64)
                    },
                );
            }
            let mut next = 0;
            ring.drain(|address, sample| {
                assert_eq!((address, sample.as_f64()), (8 * next, next as f64), "round {round}");
                assert_eq!(matches!(sample, Number::Int(_)), next % 2 == 0);
                next += 1;
            });
            assert_eq!(next, PLACES);
            ring.drain(|_, _| panic!("out already"));
        }
    }
}
