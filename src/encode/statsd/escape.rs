//! Names and label values as they may stand in a statsd line.
//!
//! What is made of `.` and `/` is what Prosody's own pusher makes of them. The rest of `[A-Za-z0-9_-]` is left as it is;
//! nothing else arrives everywhere: `:`, `|`, `@`, `#` and line ends belong to the format, `,`, `=`, `;`, `[` and `]` start tags in
//! dialects, and statsd itself deletes what it doesn't know, so that different hosts become one.

/// Appends the parts of a name that a family name or a label value makes: `.` becomes `_`, `/` begins a new part, and
/// no part is empty. With other characters in it, they become `_` and the value's hash follows, the same wherever
/// the value stands.
pub(super) fn path(out: &mut Vec<u8>, value: &[u8]) {
    if !value.is_empty() && push_simple(out, value, &IN_PATH) {
        return;
    }
    let start = out.len();
    let mut clean = true;
    each_char(value, |c| match c {
        '0'..='9' | 'A'..='Z' | 'a'..='z' | '-' | '_' => out.push(c as u8),
        '.' => out.push(b'_'),
        '/' => {
            end_part(out, start);
            out.push(b'.');
        }
        _ => {
            out.push(b'_');
            clean = false;
        }
    });
    end_part(out, start);
    if !clean {
        out.extend_from_slice(format!("-{:08x}", hash(value) >> 32).as_bytes());
    }
}

/// No part is empty.
fn end_part(out: &mut Vec<u8>, start: usize) {
    if out.len() == start || out.ends_with(b".") {
        out.push(b'_');
    }
}

/// Appends a tag's value. Letters and digits of any script and `_ - . / +` are left as they are; others become `_`, and
/// the value's hash follows.
pub(super) fn tag(out: &mut Vec<u8>, value: &[u8]) {
    if push_simple(out, value, &IN_TAG) {
        return;
    }
    let mut clean = true;
    each_char(value, |c| {
        let kept = c.is_alphanumeric() || "_-./+".contains(c);
        clean &= kept;
        let c = if kept { c } else { '_' };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    });
    if !clean {
        out.extend_from_slice(format!("-{:08x}", hash(value) >> 32).as_bytes());
    }
}

/// What each byte becomes in a path; 0 for those that aren't that simple.
const IN_PATH: [u8; 256] = simple(b"-_", true);
/// The same in a tag.
const IN_TAG: [u8; 256] = simple(b"_-./+", false);

const fn simple(kept: &[u8], dots: bool) -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = byte as u8;
        }
        byte += 1;
    }
    let mut at = 0;
    while at < kept.len() {
        table[kept[at] as usize] = kept[at];
        at += 1;
    }
    if dots {
        table[b'.' as usize] = b'_';
    }
    table
}

/// Appends what each byte of `value` becomes, if all of them are simple. That is how most values are.
#[inline]
fn push_simple(out: &mut Vec<u8>, value: &[u8], table: &[u8; 256]) -> bool {
    let start = out.len();
    let mut simple = true;
    out.extend(value.iter().map(|byte| {
        let becomes = table[usize::from(*byte)];
        simple &= becomes != 0;
        becomes
    }));
    if !simple {
        out.truncate(start);
    }
    simple
}

/// Each character of `value`, U+FFFD for each malformed part.
fn each_char(value: &[u8], mut each: impl FnMut(char)) {
    for chunk in value.utf8_chunks() {
        chunk.valid().chars().for_each(&mut each);
        if !chunk.invalid().is_empty() {
            each(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// 64-bit FNV-1a. It ends up in names, so it must never change.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn as_path(value: &[u8]) -> String {
        let mut out = b"x.".to_vec();
        path(&mut out, value);
        String::from_utf8(out.split_off(2)).unwrap()
    }

    fn as_tag(value: &str) -> String {
        let mut out = Vec::new();
        tag(&mut out, value.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_prosody_sends_unambiguously_stays() {
        assert_eq!(as_path(b"prosody_mod_c2s/connections"), "prosody_mod_c2s.connections");
        assert_eq!(as_path(b"conference.example.org"), "conference_example_org");
        assert_eq!(as_path(b"xn--mnchen-3ya.example"), "xn--mnchen-3ya_example");
    }

    #[test]
    fn no_part_is_empty() {
        assert_eq!(as_path(b""), "_");
        assert_eq!(as_path(b"/"), "_._");
        assert_eq!(as_path(b"a//b/"), "a._.b._");
    }

    #[test]
    fn the_rest_keeps_values_apart() {
        assert_eq!(as_path(b"2001:db8::1"), "2001_db8__1-ee44bdf0");
        assert_ne!(as_path(b"::1"), as_path(b":::1"));
        assert_ne!(as_path("münchen".as_bytes()), as_path("mönchen".as_bytes()));
        assert_ne!(as_path(b"a b"), as_path(b"a_b"));
        assert_eq!(as_path(b"a\xff").len(), "a_-01234567".len());
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn tags_keep_more() {
        assert_eq!(as_tag("conference.example.org/x"), "conference.example.org/x");
        assert_eq!(as_tag("münchen.example"), "münchen.example");
        assert_eq!(as_tag("+Inf"), "+Inf");
        assert!(as_tag("a,b|#c:d").starts_with("a_b__c_d-"));
    }

    proptest! {
        #[test]
        fn nothing_forges(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = as_path(&value);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)));
            prop_assert!(text.split('.').all(|part| !part.is_empty()));
            let mut tagged = Vec::new();
            tag(&mut tagged, &value);
            let tagged = String::from_utf8(tagged).unwrap();
            prop_assert!(!tagged.contains([':', '|', '@', '#', ',', '[', ']', '=', ';']));
            prop_assert!(!tagged.contains(char::is_whitespace) && !tagged.contains(char::is_control));
        }
    }
}
