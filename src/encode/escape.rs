//! Escaping, once, on the way out.

use std::io::{self, Write};

/// Writes `bytes` with backslash, double quote and line feed escaped: label values and help texts alike (OpenMetrics
/// 1.0, "Escaping").
pub(super) fn write(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_escaped(out, bytes, |byte| matches!(byte, b'\\' | b'"' | b'\n'))
}

/// Writes a help text of the Prometheus text formats, where double quotes stand as they are ("Text-based format").
pub(super) fn write_help(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_escaped(out, bytes, |byte| matches!(byte, b'\\' | b'\n'))
}

fn write_escaped(out: &mut impl Write, mut bytes: &[u8], is_special: impl Fn(&u8) -> bool) -> io::Result<()> {
    while let Some(at) = bytes.iter().position(&is_special) {
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
    }
}
