//! From the fuzzer's bytes to what modules and operators give: mostly near what matters, sometimes anything.

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use metre::model::Number;

/// The bytes that decide everything. Once they have come to their end, every choice is the first one.
pub struct Input<'a>(Unstructured<'a>);

/// Parts of names that become equal, or each other's suffixes, on a page.
const NAMES: &[&[u8]] = &[
    b"a",
    b"a_b",
    b"a.b",
    b"a/b",
    b"a:b",
    b"a_",
    b"_",
    b"__",
    b"",
    b"1",
    b"b",
    b"metre_own",
    b"a_2",
    b"up",
    "\u{e9}".as_bytes(),
    b"\xff",
    b"a b",
];
const ENDINGS: &[&[u8]] = &[
    b"", b"_total", b"_created", b"_bucket", b"_count", b"_sum", b"_quantiles", b"_seconds", b"_2", b".total",
    b"_info", b"/sum", b"/count",
];
const UNITS: &[&[u8]] = &[
    b"", b"seconds", b"bytes", b"total", b"b", b"1/s", b"_", b"\xff\xff", b"a.b",
];
const KEYS: &[&[u8]] = &[
    b"host", b"a", b"a.b", b"a_b", b"le", b"quantile", b"", b"__name__", b"1", b"cluster", b"exported_le", b"\xff",
    b"metre_hash", b"env", b"vhost",
];
const VALUES: &[&[u8]] = &[
    b"",
    b"x",
    b"overflow",
    b"h0",
    b"h1",
    b"a.b",
    b"a_b",
    b"a/b",
    b"\\",
    b"\"",
    b"\n",
    b"a\"} 1\n# EOF\n",
    b"\xff",
    b"\xfe",
    "\u{fffd}".as_bytes(),
    b"\0",
    b"a:1|c\nb:2|c",
    b"x|#y:z",
    b"x,y=z",
    b"\r",
    "\u{e9}\u{2028}".as_bytes(),
    b"+Inf",
    b" ",
    b"b",
    b"c",
    b"sum",
];
const HELPS: &[&[u8]] = &[
    b"",
    b"Help",
    b"two\nlines",
    b"\"quoted\"",
    b"back\\slash\\n",
    b"\xff\xfe",
    b" ",
    b"# EOF",
    "\u{85}\u{2028}".as_bytes(),
    b"\r\n",
];
const FLOATS: &[f64] = &[
    0.0,
    -0.0,
    0.1,
    0.3,
    0.1 + 0.2,
    1.0,
    1.5,
    -1.0,
    -1e-9,
    1e-5,
    1e5,
    1e6,
    1e15,
    1e16,
    1e17,
    1e22,
    1e308,
    1.797e308,
    5e-324,
    9_007_199_254_740_992.0,
    9_007_199_254_740_994.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    f64::NAN,
    -f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];
const INTS: &[i64] = &[
    0,
    1,
    -1,
    2,
    10,
    1 << 53,
    (1 << 53) + 1,
    -(1 << 53) - 1,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    100_000,
];

impl<'a> Input<'a> {
    /// Choices from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(Unstructured::new(bytes))
    }

    /// Whether there is nothing left to decide by.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Any value of a type.
    pub fn any<T: Arbitrary<'a> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        match end {
            0 | 1 => 0,
            end => self.0.int_in_range(0..=end - 1).unwrap_or(0),
        }
    }

    /// True one time in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        !self.is_over() && self.below(times) == times - 1
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// Some bytes, 300 at most, so that they may be longer than what is kept on the stack.
    pub fn bytes(&mut self) -> Vec<u8> {
        let most = if self.one_in(8) { 300 } else { 12 };
        let length = self.below(most);
        let length = length.min(self.0.len());
        self.0.bytes(length).map_or_else(|_| Vec::new(), <[u8]>::to_vec)
    }

    /// All that is left.
    pub fn rest(&mut self) -> Vec<u8> {
        let length = self.0.len();
        self.0.bytes(length).map_or_else(|_| Vec::new(), <[u8]>::to_vec)
    }

    fn one_or_any(&mut self, all: &[&[u8]]) -> Vec<u8> {
        match self.one_in(6) {
            true => self.bytes(),
            false => self.of(all).to_vec(),
        }
    }

    /// A family's name without its unit.
    pub fn name(&mut self) -> Vec<u8> {
        let name = self.one_or_any(NAMES);
        [name.as_slice(), self.of(ENDINGS)].concat()
    }

    /// A unit.
    pub fn unit(&mut self) -> Vec<u8> {
        self.one_or_any(UNITS)
    }

    /// A help text.
    pub fn help(&mut self) -> Vec<u8> {
        self.one_or_any(HELPS)
    }

    /// A few label keys.
    pub fn keys(&mut self) -> Vec<Vec<u8>> {
        (0..self.below(4)).map(|_| self.one_or_any(KEYS)).collect()
    }

    /// A label value.
    pub fn value(&mut self) -> Vec<u8> {
        self.one_or_any(VALUES)
    }

    /// Any number.
    pub fn number(&mut self) -> Number {
        match self.below(5) {
            0 => Number::Int(i64::from(self.any::<i8>())),
            1 => Number::Float(self.of(FLOATS)),
            2 => Number::Int(self.of(INTS)),
            3 => Number::Float(f64::from_bits(self.any())),
            _ => Number::Int(self.any()),
        }
    }

    /// A number whose sums are exact, in any order.
    pub fn exact_number(&mut self) -> Number {
        let eighths = i64::from(self.any::<i16>());
        match self.any() {
            true => Number::Float(eighths as f64 / 8.0),
            false => Number::Int(eighths),
        }
    }

    /// Thresholds for a histogram.
    pub fn thresholds(&mut self) -> Vec<Number> {
        match self.below(4) {
            0 => vec![Number::Float(0.1), Number::Int(1), Number::Int(10)],
            1 => (0..self.below(30)).map(|n| Number::Int(n as i64 * 4)).collect(),
            _ => (0..self.below(12)).map(|_| self.number()).collect(),
        }
    }
}
