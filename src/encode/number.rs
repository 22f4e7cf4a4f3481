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

/// Writes a time in seconds, which is faster if it is in whole milliseconds. A decimal of 15 digits or fewer is the shortest one
/// of its double.
pub(super) fn write_time(out: &mut impl Write, seconds: f64) -> io::Result<()> {
    let milliseconds = (seconds * 1000.0).round();
    if !(1.0..1e15).contains(&milliseconds) || milliseconds / 1000.0 != seconds {
        return write_float(out, seconds);
    }
    let milliseconds = milliseconds as u64;
    write_count(out, milliseconds / 1000)?;
    let fraction = milliseconds % 1000;
    if fraction > 0 {
        let digits = [fraction / 100, fraction / 10 % 10, fraction % 10].map(|digit| b'0' + digit as u8);
        let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        out.write_all(b".")?;
        out.write_all(&digits[..3 - zeros])?;
    }
    Ok(())
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
        fn a_time_is_written_like_any_float(
            milliseconds in 0_u64..4_000_000_000_000,
            other in any::<f64>(),
            unit in prop::sample::select(vec![1_u64, 10, 100, 1000]),
        ) {
            for time in [(milliseconds / unit * unit) as f64 / 1000.0, milliseconds as f64 / 7000.0, -1.5, other] {
                let mut out = Vec::new();
                write_time(&mut out, time).unwrap();
                prop_assert_eq!(String::from_utf8(out).unwrap(), text(Number::Float(time)));
            }
        }

        #[test]
        fn every_float_reads_back_exactly(bits in any::<u64>()) {
            let x = f64::from_bits(bits);
            prop_assume!(x.is_finite());
            let back: f64 = text(Number::Float(x)).parse().unwrap();
            prop_assert_eq!(back.to_bits(), bits);
        }
    }
}
