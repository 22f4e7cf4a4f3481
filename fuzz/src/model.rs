//! What families hold, kept once more in the plainest way.

use crate::number::{compare, float, sum};
use crate::policy::Decided;
use metre::model::{Kind, Number};
use metre::store::{FamilyWriter, Location};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The values of a label set, as they may stand on a page.
pub type Labels = Vec<String>;

/// A family and its model.
pub struct Family {
    /// The store's side.
    pub writer: FamilyWriter,
    /// The name it was registered with.
    pub raw_name: Vec<u8>,
    /// Its unit.
    pub unit: Vec<u8>,
    /// Its help text.
    pub help: Vec<u8>,
    /// Its label keys.
    pub keys: Vec<Vec<u8>>,
    /// The thresholds it was to have.
    pub thresholds: Vec<Number>,
    /// What the operator has decided.
    pub decided: Decided,
    /// Whether it is on the page, since no other one replaced it.
    pub on_page: bool,
    /// The series that it must have.
    pub series: BTreeMap<Labels, Series>,
    /// Label sets that have gone.
    pub gone: usize,
}

/// A series.
pub struct Series {
    /// Where it is.
    pub at: Location,
    /// A gauge's value as the writer sees it, a counter's total, the sum of samples.
    pub value: Number,
    /// A gauge's value as readers see it.
    pub shown: Number,
    /// A gauge that was made while corked, and not shown since.
    pub hidden: bool,
    /// A gauge that was made or written while corked.
    pub pending: bool,
    /// A gauge that was ever set, as far as readers know.
    pub set: bool,
    /// A gauge that was set while corked.
    pub set_corked: bool,
    /// The samples since the last reset, but for NaN.
    pub samples: Vec<Number>,
    /// All that was ever counted: steps of counters, or samples.
    pub counted: f64,
    /// The highest a summary's sum has been since the reset, and the sums of resets before.
    pub ended: f64,
    /// All samples there ever were.
    pub ever: Vec<Number>,
    /// When it started, as its record says.
    pub created: f64,
    /// The model's time of the last update, in seconds.
    pub touched: u64,
    /// Whether time has passed since the last reset.
    pub aged: bool,
}

impl Series {
    /// A new one; a gauge that is made while corked is hidden.
    pub fn new(at: Location, hidden: bool, created: f64, now: u64) -> Series {
        Series {
            at,
            value: Number::Int(0),
            shown: Number::Int(0),
            hidden,
            pending: hidden,
            set: false,
            set_corked: false,
            samples: Vec::new(),
            counted: 0.0,
            ended: 0.0,
            ever: Vec::new(),
            created,
            touched: now,
            aged: false,
        }
    }

    /// Sets a gauge.
    pub fn set_gauge(&mut self, to: Number, corked: bool) {
        self.value = to;
        if corked {
            self.pending = true;
            self.set_corked = true;
        } else {
            self.shown = to;
            self.hidden = false;
            self.set = true;
        }
    }

    /// What was written under the cork is shown.
    pub fn uncork(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.hidden = false;
            self.shown = self.value;
            self.set |= std::mem::take(&mut self.set_corked);
        }
    }

    /// What was written under the cork is forgotten.
    pub fn discard(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.value = self.shown;
            self.set_corked = false;
        }
    }

    /// Sets a counter; true if it was taken.
    pub fn set_counter(&mut self, to: Number) -> bool {
        let valid = (0.0..f64::INFINITY).contains(&float(to));
        if valid {
            match compare(to, self.value) {
                Some(Ordering::Less) => self.counted += float(to),
                _ => self.counted += float(to) - float(self.value),
            }
            // A zero has no sign.
            self.value = if float(to) == 0.0 { sum(to, Number::Int(0)) } else { to };
        }
        valid
    }

    /// Adds to a counter; true if it was taken.
    pub fn add_counter(&mut self, step: Number) -> bool {
        let total = sum(self.value, step);
        let valid = (0.0..f64::INFINITY).contains(&float(step)) && float(total) < f64::INFINITY;
        if valid {
            self.value = total;
            self.counted += float(step);
        }
        valid
    }

    /// Takes a sample; true if it was taken.
    pub fn sample(&mut self, sample: Number) -> bool {
        let valid = !float(sample).is_nan();
        if valid {
            self.value = sum(self.value, sample);
            self.samples.push(sample);
            self.ever.push(sample);
        }
        valid
    }

    /// Starts a counter, histogram or summary again.
    pub fn reset(&mut self) {
        self.value = Number::Int(0);
        self.samples.clear();
        self.aged = false;
    }

    /// How many samples are not above a threshold.
    pub fn up_to(&self, threshold: Number) -> usize {
        let inside = |sample: &&Number| compare(**sample, threshold) != Some(Ordering::Greater);
        self.samples.iter().filter(inside).count()
    }

    /// Whether a sample was below zero.
    pub fn has_negative(&self) -> bool {
        self.samples.iter().any(|sample| float(*sample) < 0.0)
    }
}

impl Family {
    /// Its type.
    pub fn kind(&self) -> Kind {
        self.writer.family().kind
    }

    /// The position of its label `host`, if it has one.
    pub fn host(&self) -> Option<usize> {
        self.keys.iter().position(|key| key == b"host")
    }
}
