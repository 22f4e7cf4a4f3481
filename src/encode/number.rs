//! Numbers as text: the fewest digits that read back exactly.

use crate::model::Number;
use std::io::{self, Write};

/// Whole floats below this are written as integers, as Prosody's `%.17g` does.
const PLAIN: f64 = 1e17;

/// Writes a number (OpenMetrics 1.0, "Numbers", "ABNF": `NaN`, `+Inf` and `-Inf` in this spelling).
pub(super) fn write(out: &mut impl Write, number: Number) -> io::Result<()> {
    match number {
        Number::Int(n) => out.write_all(itoa::Buffer::new().format(n).as_bytes()),
        Number::Float(x) => write_float(out, x),
    }
}

/// Writes a count.
pub(super) fn write_count(out: &mut impl Write, count: u64) -> io::Result<()> {
    out.write_all(itoa::Buffer::new().format(count).as_bytes())
}

/// Writes a float.
pub(super) fn write_float(out: &mut impl Write, x: f64) -> io::Result<()> {
    if x.is_nan() {
        // The sign of NaN is never written: "-nan" costs the scraper the page.
        return out.write_all(b"NaN");
    }
    if x.is_infinite() {
        return out.write_all(if x > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if x.abs() < PLAIN && x.trunc() == x && !(x == 0.0 && x.is_sign_negative()) {
        return out.write_all(itoa::Buffer::new().format(x as i64).as_bytes());
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(x);
    match text.split_once('e') {
        // Go and C write the exponent's sign and two digits; all readers know that form.
        Some((mantissa, exponent)) => {
            let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            write!(out, "{mantissa}e{sign}{digits:0>2}")
        }
        None => out.write_all(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: Number) -> String {
        let mut out = Vec::new();
        write(&mut out, number).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_short_and_plain() {
        for (x, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1.0, "1"),
            (-3.0, "-3"),
            (1e15, "1000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5e+300"),
            (1e-7, "1e-07"),
            (5e-324, "5e-324"),
            (1_700_000_000.123_456_7, "1700000000.1234567"),
            (f64::NAN, "NaN"),
            (-f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(text(Number::Float(x)), expected);
        }
        assert_eq!(text(Number::Int(i64::MAX)), "9223372036854775807");
        assert_eq!(text(Number::Int(i64::MIN)), "-9223372036854775808");
    }

    proptest! {
        #[test]
        fn every_float_reads_back_exactly(bits in any::<u64>()) {
            let x = f64::from_bits(bits);
            prop_assume!(x.is_finite());
            let back: f64 = text(Number::Float(x)).parse().unwrap();
            prop_assert_eq!(back.to_bits(), bits);
        }
    }
}
