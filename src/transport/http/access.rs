//! Who gets in.

use hyper::StatusCode;
use ipnet::IpNet;
use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// More than this is no token.
const LONGEST_TOKEN: u64 = 4096;

/// The rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Addresses that may connect over TCP. Who may use a Unix socket is up to its mode.
    pub allow: Vec<IpNet>,
    /// The file with the token that every request has to bring, if one has to.
    pub token_file: Option<PathBuf>,
}

/// Why somebody doesn't get in.
#[derive(Debug)]
pub enum Denied {
    /// Their address is not among those allowed.
    Address(IpAddr),
    /// They brought no token, or a wrong one, or there is none to be brought.
    Token,
}

impl Denied {
    /// What the client is told.
    pub fn status(&self) -> StatusCode {
        match self {
            Denied::Address(_) => StatusCode::FORBIDDEN,
            Denied::Token => StatusCode::UNAUTHORIZED,
        }
    }
}

impl Access {
    /// Whether this peer may connect; one without an address comes over a Unix socket.
    ///
    /// # Errors
    /// [`Denied::Address`].
    pub(super) fn check_address(&self, peer: Option<IpAddr>) -> Result<(), Denied> {
        match peer.map(|address| address.to_canonical()) {
            Some(address) if !self.allow.iter().any(|range| range.contains(&address)) => Err(Denied::Address(address)),
            _ => Ok(()),
        }
    }
}

/// The token that requests have to bring, as its file says by now.
pub(super) struct Token {
    file: PathBuf,
    known: RefCell<Option<Known>>,
}

struct Known {
    token: Vec<u8>,
    state: FileState,
    /// Whether any later change of the file would show in its state.
    settled: bool,
}

/// What changes with the file: inode, size, and when it was changed.
type FileState = (u64, u64, (i64, i64), (i64, i64));

impl Token {
    pub(super) fn new(file: &Path) -> Token {
        Token {
            file: file.to_owned(),
            known: RefCell::new(None),
        }
    }

    /// Where it comes from.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether this `Authorization` header brings it.
    pub(super) fn is(&self, authorization: Option<&[u8]>) -> bool {
        let known = self.known.borrow();
        let token = known.as_ref().map(|known| known.token.as_slice());
        let pair = token.zip(authorization.and_then(bearer));
        pair.is_some_and(|(token, given)| token.ct_eq(given).into())
    }

    /// Reads the file, if it may have changed.
    ///
    /// # Errors
    /// When there is no token in it. Then there is none at all.
    pub(super) fn refresh(&self) -> io::Result<()> {
        let result = self.read();
        if result.is_err() {
            *self.known.borrow_mut() = None;
        }
        result
    }

    fn read(&self) -> io::Result<()> {
        let metadata = fs::metadata(&self.file)?;
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
        match read_token(&self.file, &metadata) {
            Ok(token) => {
                // Clocks of file systems tick in milliseconds, some in seconds.
                let settled = is_settled(SystemTime::now(), metadata.mtime(), metadata.ctime());
                *known = Some(Known { token, state, settled });
                Ok(())
            }
            // Without descriptors the old one has to do.
            Err(_) if is_same => Ok(()),
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

fn read_token(path: &Path, metadata: &fs::Metadata) -> io::Result<Vec<u8>> {
    let invalid = |why: &str| io::Error::new(ErrorKind::InvalidData, why);
    // Opening a pipe would wait for its other end.
    if !metadata.is_file() {
        return Err(invalid("it is not a regular file"));
    }
    let mut text = Vec::new();
    fs::File::open(path)?.take(LONGEST_TOKEN + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST_TOKEN {
        return Err(invalid("it is longer than 4096 bytes"));
    }
    match text.trim_ascii() {
        b"" => Err(invalid("it is empty")),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn access(allow: &[&str]) -> Access {
        Access {
            allow: allow.iter().map(|range| range.parse().unwrap()).collect(),
            token_file: None,
        }
    }

    #[test]
    fn addresses_are_checked_in_either_form() {
        let access = access(&["127.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]);
        let allowed = |peer: &str| access.check_address(Some(peer.parse().unwrap())).is_ok();
        for peer in ["127.0.0.1", "127.9.9.9", "10.1.255.1", "2001:db8::1", "::ffff:10.1.0.1"] {
            assert!(allowed(peer), "{peer}");
        }
        for peer in [
            "10.2.0.1",
            "0.0.0.0",
            "::1",
            "2001:db9::1",
            "::ffff:10.2.0.1",
            "::127.0.0.1",
        ] {
            assert!(!allowed(peer), "{peer}");
        }
        assert!(access.check_address(None).is_ok());
    }

    #[test]
    fn tokens_are_compared_as_they_are_by_now() {
        let path = std::env::temp_dir().join(format!("metre-token-{}", std::process::id()));
        let token = Token::new(&path);
        let check = |header: &str| token.refresh().is_ok() && token.is(Some(header.as_bytes()));
        let message = || token.refresh().unwrap_err().to_string();
        assert!(message().contains("No such file"));
        fs::write(&path, " secret\r\n").unwrap();
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
        assert!(!token.is(None));
        fs::write(&path, "other").unwrap();
        assert!(!check("Bearer secret"));
        assert!(check("Bearer other"));
        fs::write(&path, "\n").unwrap();
        assert_eq!(message(), "it is empty");
        fs::write(&path, vec![b'x'; 5000]).unwrap();
        assert_eq!(message(), "it is longer than 4096 bytes");
        fs::write(&path, "new").unwrap();
        assert!(check("Bearer new"));
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
        let token = Token::new(&path);
        token.refresh().unwrap();
        token.known.borrow_mut().as_mut().unwrap().settled = true;
        token.known.borrow_mut().as_mut().unwrap().token = b"cached".to_vec();
        token.refresh().unwrap();
        assert!(token.is(Some(b"Bearer cached")));
        fs::write(&path, "another").unwrap();
        token.refresh().unwrap();
        assert!(token.is(Some(b"Bearer another")));
        fs::remove_file(&path).unwrap();
    }
}
