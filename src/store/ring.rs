//! Samples on their way from Prosody's thread to one reader.

use crate::model::Number;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

/// How many samples the ring holds until its reader takes them out: those of a tenth of a second at 650,000 a second.
const SLOTS: usize = if cfg!(feature = "model") { 2 } else { 1 << 16 };

/// A ring of samples with one writer and one reader, neither of which waits. Samples that don't fit are left
/// out; the series' own counts tell the reader how many these were.
pub struct Ring {
    slots: Box<[Slot]>,
    written: AtomicUsize,
    read: AtomicUsize,
}

/// The address of a record, which is even, plus one if the sample is a float; then the sample's bits.
#[derive(Default)]
struct Slot(AtomicU64, AtomicU64);

impl Ring {
    pub(crate) fn new() -> Ring {
        Ring {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        }
    }

    /// Adds a sample of the record at `address`, if a slot is free. For the writer.
    #[inline]
    pub(crate) fn push(&self, address: usize, sample: Number) {
        let written = self.written.load(Relaxed);
        if written.wrapping_sub(self.read.load(Acquire)) < SLOTS {
            let (bits, float) = sample.to_bits();
            let Slot(whose, what) = &self.slots[written % SLOTS];
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
            let Slot(whose, what) = &self.slots[at % SLOTS];
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
            for n in 0..SLOTS + 5 {
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
            assert_eq!(next, SLOTS);
            ring.drain(|_, _| panic!("out already"));
        }
    }
}
