//! Numbers as Lua has them: 64-bit integers or doubles.

use std::cmp::Ordering;

/// A metric's value: whole numbers keep every digit up to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A 64-bit integer.
    Int(i64),
    /// A double.
    Float(f64),
}

impl From<u64> for Number {
    fn from(n: u64) -> Number {
        i64::try_from(n).map_or(Number::Float(n as f64), Number::Int)
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Number {
        Number::from(n as u64)
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Number {
        Number::Float(x)
    }
}

impl Number {
    /// The integer zero.
    pub const ZERO: Number = Number::Int(0);

    /// The sum. Two integers whose sum leaves 64 bits become a float; it never wraps.
    #[inline]
    pub fn plus(self, other: Number) -> Number {
        if let (Number::Int(a), Number::Int(b)) = (self, other) {
            if let Some(sum) = a.checked_add(b) {
                return Number::Int(sum);
            }
        }
        Number::Float(self.as_f64() + other.as_f64())
    }

    /// The difference. Two integers whose difference leaves 64 bits become a float; it never wraps.
    pub fn minus(self, other: Number) -> Number {
        if let (Number::Int(a), Number::Int(b)) = (self, other) {
            if let Some(difference) = a.checked_sub(b) {
                return Number::Int(difference);
            }
        }
        Number::Float(self.as_f64() - other.as_f64())
    }

    /// The nearest double.
    #[inline]
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }

    /// Whether this is neither NaN nor an infinity.
    #[inline]
    pub fn is_finite(self) -> bool {
        match self {
            Number::Int(_) => true,
            Number::Float(x) => x.is_finite(),
        }
    }

    /// Whether this is NaN.
    #[inline]
    pub fn is_nan(self) -> bool {
        matches!(self, Number::Float(x) if x.is_nan())
    }

    /// Whether this is less than zero (not so for `-0.0` and NaN).
    #[inline]
    pub fn is_negative(self) -> bool {
        match self {
            Number::Int(n) => n < 0,
            Number::Float(x) => x < 0.0,
        }
    }

    /// Whether this is zero or more (so is `-0.0`, but not NaN).
    #[inline]
    pub fn is_at_least_zero(self) -> bool {
        match self {
            Number::Int(n) => n >= 0,
            Number::Float(x) => x >= 0.0,
        }
    }

    /// Exact comparison, as Lua's `<`: an integer is not rounded to be compared. `None` with NaN.
    pub fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
            (Number::Int(a), Number::Float(b)) => compare_int_float(a, b),
            (Number::Float(a), Number::Int(b)) => compare_int_float(b, a).map(Ordering::reverse),
        }
    }

    /// The 64 bits to keep, and whether they are a float's.
    #[inline]
    pub(crate) fn to_bits(self) -> (u64, bool) {
        match self {
            Number::Int(n) => (n as u64, false),
            Number::Float(x) => (x.to_bits(), true),
        }
    }

    /// The reverse of [`Number::to_bits`].
    #[inline]
    pub(crate) fn from_bits(bits: u64, float: bool) -> Number {
        if float {
            Number::Float(f64::from_bits(bits))
        } else {
            Number::Int(bits as i64)
        }
    }
}

fn compare_int_float(a: i64, b: f64) -> Option<Ordering> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        None
    } else if b >= TWO_63 {
        Some(Ordering::Less)
    } else if b < -TWO_63 {
        Some(Ordering::Greater)
    } else {
        // `b` fits: compare with its whole part, then let the fraction decide.
        let whole = b.trunc();
        Some(
            a.cmp(&(whole as i64))
                .then_with(|| whole.partial_cmp(&b).unwrap_or(Ordering::Equal)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_never_wrap() {
        let sum = Number::Int(i64::MAX).plus(Number::Int(1));
        assert_eq!(sum, Number::Float(9_223_372_036_854_775_808.0));
        assert_eq!(Number::Int(i64::MAX - 1).plus(Number::Int(1)), Number::Int(i64::MAX));
        assert_eq!(Number::Int(1).plus(Number::Float(0.5)), Number::Float(1.5));
    }

    #[test]
    fn integers_compare_exactly_with_floats() {
        let big = (1_i64 << 53) + 1;
        let as_float = Number::Float((1_i64 << 53) as f64);
        assert_eq!(Number::Int(big).compare(as_float), Some(Ordering::Greater));
        assert_eq!(as_float.compare(Number::Int(big)), Some(Ordering::Less));
        assert_eq!(Number::Int(1).compare(Number::Float(1.5)), Some(Ordering::Less));
        assert_eq!(Number::Int(-1).compare(Number::Float(-1.5)), Some(Ordering::Greater));
        assert_eq!(
            Number::Int(i64::MAX).compare(Number::Float(f64::INFINITY)),
            Some(Ordering::Less)
        );
        assert_eq!(Number::Int(0).compare(Number::Float(f64::NAN)), None);
    }
}
