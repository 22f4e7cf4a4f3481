//! Histogram buckets.

use super::Number;
use std::cmp::Ordering;

/// One bucket of a histogram.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// The upper bound as the module gave it, inclusive.
    pub threshold: Number,
    /// Its `le` text as Prosody writes it (C's `%.14g`).
    pub le: String,
    /// Its `le` text in canonical form (OpenMetrics 1.0, "Considerations: Canonical Numbers").
    pub canonical_le: String,
}

/// The buckets of a histogram: ascending, no two with the same `le`, the last one `+Inf`.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    list: Vec<Bucket>,
    bounds: Vec<f64>,
    /// Whether a threshold is an integer that a double may not hold.
    long: bool,
}

/// As many buckets as are looked at one by one.
const FEW: usize = 16;

impl Buckets {
    /// Makes buckets of what a module gave. Thresholds are sorted; NaN, infinities and those that would
    /// repeat another one's `le` are left out; `+Inf` is added.
    pub fn new(thresholds: impl IntoIterator<Item = Number>) -> Buckets {
        let mut thresholds: Vec<Number> = thresholds
            .into_iter()
            .filter(|threshold| threshold.is_finite())
            // -0 equals 0, but has a text of its own.
            .map(|threshold| {
                if threshold.as_f64() == 0.0 {
                    threshold.plus(Number::ZERO)
                } else {
                    threshold
                }
            })
            .collect();
        thresholds.sort_by(|a, b| a.compare(*b).unwrap_or(Ordering::Equal));
        thresholds.push(Number::Float(f64::INFINITY));
        let mut list: Vec<Bucket> = thresholds.into_iter().map(Bucket::new).collect();
        list.dedup_by(|next, kept| next.le == kept.le);
        let bounds = list.iter().map(|bucket| bucket.threshold.as_f64()).collect();
        let long = list.iter().any(|bucket| is_long(bucket.threshold));
        Buckets { list, bounds, long }
    }

    /// Whether `thresholds`, with or without `+Inf` at the end, are the thresholds of these buckets as they are.
    pub fn are_from(&self, thresholds: &[Number]) -> bool {
        let infinite = |threshold: &Number| threshold.as_f64() == f64::INFINITY;
        let given = thresholds
            .strip_suffix(&[Number::Float(f64::INFINITY)])
            .unwrap_or(thresholds);
        given.len() + 1 == self.list.len()
            && given
                .iter()
                .zip(&self.list)
                .all(|(given, bucket)| *given == bucket.threshold)
            && !given.iter().any(infinite)
    }

    /// All buckets, ascending.
    pub fn as_slice(&self) -> &[Bucket] {
        &self.list
    }

    /// How many buckets there are, `+Inf` included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none: true only where there is no histogram.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a threshold below zero lets samples be negative by design.
    pub fn has_negative(&self) -> bool {
        self.list.first().is_some_and(|bucket| bucket.threshold.is_negative())
    }

    /// The index of the first bucket that holds `value` (which is not NaN).
    #[inline]
    pub fn position(&self, value: Number) -> usize {
        if self.long || is_long(value) {
            return self.exact_position(value);
        }
        let value = value.as_f64();
        match self.bounds.len() {
            // All comparisons, which the processor makes side by side, rather than branches that it can't foresee.
            ..=FEW => self.bounds.iter().map(|bound| usize::from(value > *bound)).sum(),
            _ => self.bounds.partition_point(|bound| value > *bound),
        }
    }

    #[cold]
    fn exact_position(&self, value: Number) -> usize {
        let holds = |bucket: &Bucket| value.compare(bucket.threshold) != Some(Ordering::Greater);
        self.list.iter().position(holds).unwrap_or(0)
    }
}

/// Whether a number may be another one, on the other side of a threshold, once it is rounded to a double.
#[inline]
fn is_long(number: Number) -> bool {
    matches!(number, Number::Int(n) if n.unsigned_abs() > 1 << 53)
}

impl Bucket {
    fn new(threshold: Number) -> Bucket {
        let bound = threshold.as_f64();
        Bucket {
            threshold,
            le: plain_text(bound),
            canonical_le: canonical_text(bound),
        }
    }
}

/// C's `%.14g`, with `+Inf` for infinity.
pub fn plain_text(bound: f64) -> String {
    if bound.is_infinite() {
        return "+Inf".to_owned();
    }
    let (mantissa, exponent) = scientific(&format!("{bound:.13e}"));
    if (-4..14).contains(&exponent) {
        let decimals = (13 - exponent).unsigned_abs() as usize;
        return trim_zeros(&format!("{bound:.decimals$}")).to_owned();
    }
    with_exponent(trim_zeros(&mantissa), exponent)
}

/// Go's shortest `%g`, with `.0` where it would look like an integer.
pub fn canonical_text(bound: f64) -> String {
    if bound.is_infinite() {
        return "+Inf".to_owned();
    }
    let (mantissa, exponent) = scientific(&format!("{bound:e}"));
    if (-4..6).contains(&exponent) {
        return format!("{bound:?}");
    }
    with_exponent(&mantissa, exponent)
}

fn scientific(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn trim_zeros(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn le(thresholds: &[f64]) -> Vec<String> {
        let buckets = Buckets::new(thresholds.iter().copied().map(Number::Float));
        buckets.as_slice().iter().map(|bucket| bucket.le.clone()).collect()
    }

    #[test]
    fn le_texts_are_those_of_c() {
        // Expected values: printf '%.14g'.
        for (bound, text) in [
            (0.001, "0.001"),
            (1.0, "1"),
            (0.0, "0"),
            (100.0, "100"),
            (1_073_741_824.0, "1073741824"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e13, "10000000000000"),
            (1e14, "1e+14"),
            (123_456_789_012_345.0, "1.2345678901234e+14"),
            (1.0 / 3.0, "0.33333333333333"),
            (0.1 + 0.2, "0.3"),
            (-2.5, "-2.5"),
            (1e300, "1e+300"),
            (5e-324, "4.9406564584125e-324"),
            (9.999_999_999_999_999, "10"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(plain_text(bound), text);
        }
    }

    #[test]
    fn canonical_le_texts_are_those_of_go() {
        for (bound, text) in [
            (0.0, "0.0"),
            (0.001, "0.001"),
            (1.0, "1.0"),
            (10.0, "10.0"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(canonical_text(bound), text);
        }
    }

    #[test]
    fn thresholds_are_put_in_order() {
        assert_eq!(le(&[5.0, 1.0, f64::NAN, 5.0, f64::INFINITY]), ["1", "5", "+Inf"]);
        assert_eq!(le(&[]), ["+Inf"]);
        assert_eq!(le(&[f64::NEG_INFINITY, 0.1 + 0.2, 0.3]), ["0.3", "+Inf"]);
        assert_eq!(le(&[0.0, -0.0]), ["0", "+Inf"]);
    }

    #[test]
    fn a_value_on_the_threshold_is_inside() {
        let buckets = Buckets::new([Number::Int(1), Number::Float(2.5)]);
        let position = |x: f64| buckets.position(Number::Float(x));
        assert_eq!(
            [
                position(-1.0),
                position(1.0),
                position(1.1),
                position(2.5),
                position(9.0)
            ],
            [0, 0, 1, 1, 2]
        );
        let edge = Buckets::new([Number::Float((1_i64 << 53) as f64)]);
        assert_eq!(edge.position(Number::Int(1 << 53)), 0);
        assert_eq!(edge.position(Number::Int((1 << 53) + 1)), 1);
        let long = Buckets::new([Number::Int((1 << 53) + 3)]);
        assert_eq!(long.position(Number::Float(((1_i64 << 53) + 4) as f64)), 1);
        assert_eq!(long.position(Number::Int((1 << 53) + 3)), 0);
    }

    #[test]
    fn few_and_many_buckets_agree() {
        let many: Vec<Number> = (0..40).map(Number::Int).collect();
        for count in [0, 1, 15, 16, 17, 40] {
            let buckets = Buckets::new(many[..count].iter().copied());
            for value in -2..45 {
                let expected = (value.max(0) as usize).min(count);
                assert_eq!(buckets.position(Number::Int(value)), expected);
                assert_eq!(buckets.position(Number::Float(value as f64 - 0.5)), expected.min(count));
            }
            assert_eq!(buckets.position(Number::Float(f64::INFINITY)), count);
        }
    }
}
