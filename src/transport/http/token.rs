//! Tokens in a file: what is one, what is taken although it should be mended, and what isn't taken.

use std::cell::RefCell;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use subtle::{Choice, ConstantTimeEq};

/// More than this, in bytes, is no file of tokens.
const LONGEST: u64 = 4096;

/// How many tokens may be valid at a time: an old one and a new one.
const MOST: usize = 2;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The tokens of a file, each on a line of its own.
pub struct Tokens {
    tokens: Vec<Vec<u8>>,
    /// The first line of each kind that should be mended, and what is wrong with it.
    flaws: Vec<(usize, &'static str)>,
}

impl Tokens {
    /// Those that clients may bring: one or two.
    ///
    /// # Errors
    /// Those of the system; [`ErrorKind::InvalidData`] when nothing in the file can be used, with line and remedy. Neither ever has a
    /// token in it.
    pub fn read(path: &Path) -> io::Result<Tokens> {
        Tokens::from_file(path, &fs::metadata(path)?)
    }

    fn from_file(path: &Path, metadata: &Metadata) -> io::Result<Tokens> {
        let invalid = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        // Opening a pipe would wait for its other end.
        if !metadata.is_file() {
            return Err(invalid("it is not a regular file".to_owned()));
        }
        let mut text = Vec::new();
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LONGEST {
            return Err(invalid(format!("it is longer than {LONGEST} bytes")));
        }
        Tokens::parse(&text).map_err(invalid)
    }

    fn parse(bytes: &[u8]) -> Result<Tokens, String> {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err("line 1 is UTF-16; save the file as plain text (ASCII)".to_owned());
        }
        let mut found = Tokens {
            tokens: Vec::new(),
            flaws: Vec::new(),
        };
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        if text.len() < bytes.len() {
            found.note(1, "begins with a byte order mark; save the file without one");
        }
        let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n');
        for (number, line) in (1..).zip(lines) {
            found.take(number, line)?;
        }
        match found.tokens.is_empty() {
            true => Err("it is empty; write a token on its first line".to_owned()),
            false => Ok(found),
        }
    }

    fn take(&mut self, number: usize, line: &[u8]) -> Result<(), String> {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.len() < line.len() {
            self.note(
                number,
                "ends as lines do on Windows (CRLF); save the file with LF alone",
            );
        }
        let token = text.trim_ascii();
        if token.is_empty() {
            self.note(number, "is blank; remove it");
            return Ok(());
        }
        if token.len() < text.len() {
            self.note(number, "has blanks before or after the token; remove them");
        }
        if let Some(why) = not_a_token(token) {
            return Err(format!("line {number} {why}"));
        }
        if self.tokens.len() == MOST {
            return Err(format!(
                "line {number} has a third token; keep two at most, the old one and the new one"
            ));
        }
        self.tokens.push(token.to_owned());
        Ok(())
    }

    fn note(&mut self, line: usize, what: &'static str) {
        if self.flaws.iter().all(|(_, other)| *other != what) {
            self.flaws.push((line, what));
        }
    }

    /// What should be mended in the file, with lines and remedies, though its tokens are taken.
    pub fn flaws(&self) -> Option<String> {
        let told = self.flaws.iter().map(|(line, what)| format!("line {line} {what}"));
        (!self.flaws.is_empty()).then(|| told.collect::<Vec<_>>().join("; "))
    }

    /// Whether this is one of them. The time that takes doesn't tell which, nor how much of it is right.
    fn has(&self, given: &[u8]) -> bool {
        let each = self.tokens.iter().map(|token| token.ct_eq(given));
        each.fold(Choice::from(0), |any, equal| any | equal).into()
    }
}

/// Why a text is no token (RFC 6750, section 2.1), without telling it.
fn not_a_token(text: &[u8]) -> Option<&'static str> {
    let is_in_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    if end > 0 && text[..end].iter().all(is_in_token) {
        return None;
    }
    Some(match text {
        _ if bearer(text).is_some() => "begins with \"Bearer\"; write the token alone",
        _ if !text.is_ascii() => "has a character that is not ASCII; make a token of letters and digits",
        _ if text.contains(&b' ') || text.contains(&b'\t') => {
            "has blanks inside; write one token on a line, and no comments"
        }
        _ => "has a character that no bearer token can have; allowed: letters, digits, -._~+/, and = at its end",
    })
}

/// The tokens that requests have to bring, as their file says by now.
pub(super) struct TokenFile {
    path: PathBuf,
    known: RefCell<Option<Known>>,
}

struct Known {
    tokens: Tokens,
    state: FileState,
    /// Whether any later change of the file would show in its state.
    settled: bool,
}

/// What changes with the file: inode, size, and when it was changed.
type FileState = (u64, u64, (i64, i64), (i64, i64));

impl TokenFile {
    pub(super) fn new(path: &Path) -> TokenFile {
        TokenFile {
            path: path.to_owned(),
            known: RefCell::new(None),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this `Authorization` header brings one.
    pub(super) fn is_brought(&self, authorization: Option<&[u8]>) -> bool {
        let known = self.known.borrow();
        let pair = known.as_ref().zip(authorization.and_then(bearer));
        pair.is_some_and(|(known, given)| known.tokens.has(given))
    }

    /// What should be mended in it; see [`Tokens::flaws`].
    pub(super) fn flaws(&self) -> Option<String> {
        self.known.borrow().as_ref().and_then(|known| known.tokens.flaws())
    }

    /// Reads the file, if it may have changed.
    ///
    /// # Errors
    /// When there is no token in it; see [`Tokens::read`]. Then there is none at all.
    pub(super) fn refresh(&self) -> io::Result<()> {
        let result = self.read();
        if result.is_err() {
            *self.known.borrow_mut() = None;
        }
        result
    }

    fn read(&self) -> io::Result<()> {
        let metadata = fs::metadata(&self.path)?;
        let state = (
            metadata.ino(),
            metadata.size(),
            (metadata.mtime(), metadata.mtime_nsec()),
            (metadata.ctime(), metadata.ctime_nsec()),
        );
        let mut known = self.known.borrow_mut();
        let is_same = known.as_ref().is_some_and(|known| known.state == state);
        if is_same && known.as_ref().is_some_and(|known| known.settled) {
            return Ok(());
        }
        match Tokens::from_file(&self.path, &metadata) {
            Ok(tokens) => {
                // Clocks of file systems tick in milliseconds, some in seconds.
                let settled = is_settled(SystemTime::now(), metadata.mtime(), metadata.ctime());
                *known = Some(Known { tokens, state, settled });
                Ok(())
            }
            // Without descriptors the old ones have to do.
            Err(why) if is_same && why.kind() != ErrorKind::InvalidData => Ok(()),
            Err(why) => Err(why),
        }
    }
}

/// Whether a file that was last changed then can't be changed any more without its times telling.
fn is_settled(now: SystemTime, mtime: i64, ctime: i64) -> bool {
    let now = now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    now - mtime.max(ctime) as f64 > 3.0
}

/// The token in an `Authorization` header (RFC 6750, section 2.1; the scheme's case doesn't count: RFC 9110, section 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn error(text: &[u8]) -> String {
        Tokens::parse(text).err().expect("no token")
    }

    #[test]
    fn one_or_two_tokens_are_taken_as_they_stand() {
        for (text, tokens) in [
            ("secret", &["secret"][..]),
            ("secret\n", &["secret"]),
            ("old\nnew\n", &["old", "new"]),
            ("AZaz09-._~+/==", &["AZaz09-._~+/=="]),
        ] {
            let found = Tokens::parse(text.as_bytes()).unwrap();
            assert_eq!(found.flaws(), None, "{text:?}");
            for token in tokens {
                assert!(found.has(token.as_bytes()), "{text:?}");
            }
            for other in ["", "\n", "secre", "secret2", "oldnew", "old\nnew", text] {
                assert_eq!(
                    found.has(other.as_bytes()),
                    tokens.contains(&other),
                    "{text:?}: {other}"
                );
            }
        }
    }

    #[test]
    fn what_is_plainly_meant_is_taken_and_told() {
        for (text, flaws) in [
            (
                "\u{feff}secret\n",
                "line 1 begins with a byte order mark; save the file without one",
            ),
            ("secret\n\n", "line 2 is blank; remove it"),
            ("\n \n\nsecret", "line 1 is blank; remove it"),
            ("old\n\nsecret\n", "line 2 is blank; remove it"),
            (
                "old\nsecret \n",
                "line 2 has blanks before or after the token; remove them",
            ),
            (
                "\tsecret\r\nold\r\n",
                "line 1 ends as lines do on Windows (CRLF); save the file with LF alone; \
                 line 1 has blanks before or after the token; remove them",
            ),
        ] {
            let found = Tokens::parse(text.as_bytes()).unwrap();
            assert_eq!(found.flaws().as_deref(), Some(flaws), "{text:?}");
            assert!(found.has(b"secret"), "{text:?}");
            // Nothing is a token.
            assert!(!found.has(b""), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_with_its_line() {
        for nothing in ["", "\n", " \r\n", "\u{feff}", "\n\n\n"] {
            assert_eq!(
                error(nothing.as_bytes()),
                "it is empty; write a token on its first line",
                "{nothing:?}"
            );
        }
        let any = "has a character that no bearer token can have; allowed: letters, digits, -._~+/, and = at its end";
        let ascii = "has a character that is not ASCII; make a token of letters and digits";
        for (text, why) in [
            (
                "a\nb\n\nc\n",
                "line 4 has a third token; keep two at most, the old one and the new one".to_owned(),
            ),
            (
                "hunter2 # for Prometheus",
                "line 1 has blanks inside; write one token on a line, and no comments".to_owned(),
            ),
            (
                "a\nBearer hunter2",
                "line 2 begins with \"Bearer\"; write the token alone".to_owned(),
            ),
            ("hunter2\u{fc}", format!("line 1 {ascii}")),
            ("a\nhunter2\u{a0}", format!("line 2 {ascii}")),
            ("\"hunter2\"", format!("line 1 {any}")),
            ("token=hunter2", format!("line 1 {any}")),
            ("hunter2\0", format!("line 1 {any}")),
            ("==", format!("line 1 {any}")),
            ("hunter2\rb", format!("line 1 {any}")),
        ] {
            assert_eq!(error(text.as_bytes()), why, "{text:?}");
        }
        assert_eq!(
            error(b"\xff\xfeh\0\n\0"),
            "line 1 is UTF-16; save the file as plain text (ASCII)"
        );
    }

    #[test]
    fn tokens_are_compared_as_they_are_by_now() {
        let path = std::env::temp_dir().join(format!("metre-token-{}", std::process::id()));
        let file = TokenFile::new(&path);
        let check = |header: &str| file.refresh().is_ok() && file.is_brought(Some(header.as_bytes()));
        let message = || file.refresh().unwrap_err().to_string();
        assert!(message().contains("No such file"));
        fs::write(&path, "secret\n").unwrap();
        assert!(check("Bearer secret"));
        assert!(check("bearer  secret "));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer secre",
            "Bearer secret2",
            "Basic secret",
            "secret",
            "Bearersecret",
        ] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(!file.is_brought(None));
        fs::write(&path, "other\nsecret\n").unwrap();
        assert!(check("Bearer secret") && check("Bearer other"));
        fs::write(&path, "other\n\n").unwrap();
        assert!(!check("Bearer secret") && !check("Bearer "));
        assert!(check("Bearer other"));
        assert_eq!(file.flaws().as_deref(), Some("line 2 is blank; remove it"));
        fs::write(&path, "\n").unwrap();
        assert_eq!(message(), "it is empty; write a token on its first line");
        assert!(!file.is_brought(Some(b"Bearer ")));
        fs::write(&path, vec![b'x'; 5000]).unwrap();
        assert_eq!(message(), "it is longer than 4096 bytes");
        fs::write(&path, "new").unwrap();
        assert!(check("Bearer new"));
        assert_eq!(file.flaws(), None);
        fs::remove_file(&path).unwrap();
        assert!(!check("Bearer new"));
    }

    #[test]
    fn only_a_file_that_has_rested_is_not_read_again() {
        let now = UNIX_EPOCH + Duration::from_millis(100_500);
        assert!(is_settled(now, 90, 96));
        assert!(!is_settled(now, 99, 10));
        assert!(!is_settled(now, 10, 99));
        assert!(!is_settled(now, 200, 10));
        let path = std::env::temp_dir().join(format!("metre-rested-{}", std::process::id()));
        fs::write(&path, "secret").unwrap();
        let file = TokenFile::new(&path);
        file.refresh().unwrap();
        file.known.borrow_mut().as_mut().unwrap().settled = true;
        file.known.borrow_mut().as_mut().unwrap().tokens.tokens = vec![b"cached".to_vec()];
        file.refresh().unwrap();
        assert!(file.is_brought(Some(b"Bearer cached")));
        fs::write(&path, "another").unwrap();
        file.refresh().unwrap();
        assert!(file.is_brought(Some(b"Bearer another")));
        fs::remove_file(&path).unwrap();
    }
}
