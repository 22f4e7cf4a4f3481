//! Numbers as the model counts with them: what the contract says of them, done once more.

use crate::exposition;
use metre::model::Number;
use std::cmp::Ordering;

/// The sum: whole numbers keep every digit, and beyond 64 bits they turn to floats.
pub fn sum(a: Number, b: Number) -> Number {
    if let (Number::Int(a), Number::Int(b)) = (a, b) {
        if let Ok(sum) = i64::try_from(i128::from(a) + i128::from(b)) {
            return Number::Int(sum);
        }
    }
    Number::Float(float(a) + float(b))
}

/// The nearest double.
pub fn float(n: Number) -> f64 {
    match n {
        Number::Int(n) => n as f64,
        Number::Float(x) => x,
    }
}

/// Exactly, as on paper; `None` with NaN.
pub fn compare(a: Number, b: Number) -> Option<Ordering> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
        (Number::Int(a), Number::Float(b)) => {
            if b.abs() >= 1e20 || b.is_nan() {
                return 0.0.partial_cmp(&b);
            }
            // Below 1e20 the whole part fits, and what is left of a float is exact.
            let whole = b.floor();
            let by_whole = i128::from(a).cmp(&(whole as i128));
            Some(by_whole.then(if b > whole { Ordering::Less } else { Ordering::Equal }))
        }
        (Number::Float(_), Number::Int(_)) => compare(b, a).map(Ordering::reverse),
    }
}

/// Whether a text stands for this very number.
pub fn is_written(n: Number, text: &str) -> bool {
    match n {
        Number::Int(n) => text == n.to_string(),
        Number::Float(x) if x.is_nan() => text == "NaN",
        Number::Float(x) => exposition::number(text).to_bits() == x.to_bits(),
    }
}

/// The 64-bit FNV-1a hash.
pub fn fnv(text: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
    text.iter().fold(14_695_981_039_346_656_037, step)
}
