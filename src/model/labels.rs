//! Label sets as one key: each value's length, then its bytes, in the order of the label keys.
//!
//! Lengths make it unambiguous whatever the values hold, and the same bytes serve as the key to look a
//! series up by and as the place its label values are kept.

/// Room that is kept on the stack; longer keys go to the heap.
const INLINE: usize = 256;

/// A label set being put together, value by value.
pub struct LabelSet {
    inline: [u8; INLINE],
    len: usize,
    spilled: Vec<u8>,
}

impl LabelSet {
    /// A set without values.
    #[inline]
    pub fn new() -> LabelSet {
        LabelSet {
            inline: [0; INLINE],
            len: 0,
            spilled: Vec::new(),
        }
    }

    /// Adds the next label value.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        if value.len() < 0x80 && self.spilled.is_empty() {
            if let Some([length, room @ ..]) = self.inline.get_mut(self.len..=self.len + value.len()) {
                *length = value.len() as u8;
                room.copy_from_slice(value);
                self.len += 1 + value.len();
                return;
            }
        }
        let (length, used) = length_prefix(value.len());
        self.extend(&length[..used]);
        self.extend(value);
    }

    /// Adds values that are encoded already: what [`LabelSet::as_bytes`] gave for the first keys.
    #[inline]
    pub fn push_encoded(&mut self, values: &[u8]) {
        self.extend(values);
    }

    /// The encoded set.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        if self.spilled.is_empty() {
            &self.inline[..self.len]
        } else {
            &self.spilled
        }
    }

    #[inline]
    fn extend(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            if let Some(room) = self.inline.get_mut(self.len..self.len + bytes.len()) {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                return;
            }
            self.spilled.extend_from_slice(&self.inline[..self.len]);
        }
        self.spilled.extend_from_slice(bytes);
    }
}

impl Default for LabelSet {
    fn default() -> Self {
        Self::new()
    }
}

/// What stands before a value of this length in an encoded label set: seven bits a byte, the lowest first, and how
/// many bytes of the array that takes.
pub fn length_prefix(mut length: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut used = 0;
    while length >= 0x80 {
        bytes[used] = length as u8 | 0x80;
        length >>= 7;
        used += 1;
    }
    bytes[used] = length as u8;
    (bytes, used + 1)
}

/// The values of an encoded label set.
pub fn values(encoded: &[u8]) -> Values<'_> {
    Values { rest: encoded }
}

/// Iterator over the values of an encoded label set.
#[derive(Clone)]
pub struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Values<'a> {
    /// What is encoded of the values that are still to come.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut length = 0_usize;
        let mut shift = 0_u32;
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            // Whatever comes out where there are too many bytes, it is a length like any other.
            length |= usize::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                break;
            }
            shift += 7;
        }
        let (value, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(value)
    }
}

/// Whether this is the one encoding of some label values: with no length that takes more bytes than it has to, and nothing left over.
pub fn is_encoded(bytes: &[u8]) -> bool {
    let lengths = values(bytes).map(|value| length_prefix(value.len()).1 + value.len());
    lengths.sum::<usize>() == bytes.len()
}

/// The same label set with every value in valid UTF-8, each malformed part replaced by U+FFFD; `None` if
/// it is valid already (a page with anything else is refused as a whole).
pub fn repaired(encoded: &[u8]) -> Option<LabelSet> {
    if values(encoded).all(|value| std::str::from_utf8(value).is_ok()) {
        return None;
    }
    let mut set = LabelSet::new();
    for value in values(encoded) {
        set.push(String::from_utf8_lossy(value).as_bytes());
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode<V: AsRef<[u8]>>(given: &[V]) -> LabelSet {
        let mut set = LabelSet::new();
        given.iter().for_each(|value| set.push(value.as_ref()));
        set
    }

    proptest! {
        #[test]
        fn values_come_back_as_they_were(
            given in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            let set = encode(&given);
            let back: Vec<_> = values(set.as_bytes()).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(back, given);
            prop_assert!(is_encoded(set.as_bytes()));
        }

        #[test]
        fn only_what_encodes_to_itself_is_encoded(
            given in prop::collection::vec(prop_oneof![0..4_u8, 127..131_u8, any::<u8>()], 0..40),
        ) {
            let values: Vec<_> = values(&given).collect();
            prop_assert_eq!(is_encoded(&given), encode(&values).as_bytes() == given);
        }
    }

    #[test]
    fn the_border_between_values_matters() {
        assert_ne!(encode(&["ab", "c"]).as_bytes(), encode(&["a", "bc"]).as_bytes());
        assert_ne!(encode(&["", "x"]).as_bytes(), encode(&["x", ""]).as_bytes());
    }

    #[test]
    fn only_malformed_values_are_repaired() {
        assert!(repaired(encode(&["grün", "\0\n\""]).as_bytes()).is_none());
        let fixed = repaired(encode(&[b"a\xffb".as_slice(), b"ok"]).as_bytes()).unwrap();
        let fixed: Vec<_> = values(fixed.as_bytes()).collect();
        assert_eq!(fixed, ["a\u{fffd}b".as_bytes(), b"ok"]);
    }
}
