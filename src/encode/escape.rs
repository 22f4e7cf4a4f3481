//! Escaping, once, on the way out.

use std::io::{self, Write};

/// Writes `bytes` with backslash, double quote and line feed escaped: label values and help texts alike (OpenMetrics
/// 1.0, "Escaping").
pub(super) fn write(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_escaped(out, bytes, [b'\\', b'"', b'\n'])
}

/// Writes a help text of the Prometheus text formats, where double quotes stand as they are ("Text-based format").
pub(super) fn write_help(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_escaped(out, bytes, [b'\\', b'\n'])
}

fn write_escaped<const N: usize>(out: &mut impl Write, mut bytes: &[u8], special: [u8; N]) -> io::Result<()> {
    // Nearly all texts are plain, which eight bytes tell at once.
    if is_plain(bytes, special) {
        return out.write_all(bytes);
    }
    while let Some(at) = bytes.iter().position(|byte| special.contains(byte)) {
        out.write_all(&bytes[..at])?;
        out.write_all(match bytes[at] {
            b'\\' => b"\\\\",
            b'"' => b"\\\"",
            _ => b"\\n",
        })?;
        bytes = &bytes[at + 1..];
    }
    out.write_all(bytes)
}

/// Whether none of the special ones is among these bytes.
#[inline]
fn is_plain<const N: usize>(bytes: &[u8], special: [u8; N]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let has = |word: u64| {
        special.iter().fold(0, |found, byte| {
            // A byte is zero where it is that one, and then borrows.
            let word = word ^ (ONES * u64::from(*byte));
            found | (word.wrapping_sub(ONES) & !word & (ONES << 7))
        })
    };
    let words = bytes
        .chunks_exact(8)
        .map(|word| word.try_into().map_or(0, u64::from_le_bytes));
    let found = words.fold(0, |found, word| found | has(word));
    // The last word overlaps the one before.
    match bytes.last_chunk() {
        Some(last) => found | has(u64::from_le_bytes(*last)) == 0,
        None => !bytes.iter().any(|byte| special.contains(byte)),
    }
}

#[cfg(test)]
mod tests {
    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        super::write(&mut out, text.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_once_and_only_what_must_be() {
        assert_eq!(escaped("plain grün\t\r\0"), "plain grün\t\r\0");
        assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
        assert_eq!(escaped("\\n"), "\\\\n");
        assert_eq!(escaped("\"\""), "\\\"\\\"");
        // Wherever it stands, and beside bytes that differ from it by a bit.
        for (length, special) in (1..20).flat_map(|length| ['\\', '"', '\n'].map(|special| (length, special))) {
            for at in 0..length {
                let mut text = "#]\u{b}!".repeat(5)[..length].to_owned();
                assert_eq!(escaped(&text), text);
                text.replace_range(at..=at, &special.to_string());
                let special = if special == '\n' { 'n' } else { special };
                let expected = format!("{}\\{special}{}", &text[..at], &text[at + 1..]);
                assert_eq!(escaped(&text), expected);
            }
        }
    }
}
