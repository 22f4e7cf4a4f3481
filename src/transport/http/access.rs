//! Who gets in.

use ipnet::IpNet;
use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
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
    /// They brought no token, or a wrong one.
    Token,
    /// The file with the token can't be read, or has none.
    NoToken(io::Error),
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

    /// Whether this `Authorization` header is the one needed.
    ///
    /// # Errors
    /// [`Denied::Token`], [`Denied::NoToken`].
    pub(super) fn check(&self, authorization: Option<&[u8]>) -> Result<(), Denied> {
        self.refresh().map_err(Denied::NoToken)?;
        let known = self.known.borrow();
        let token = known.as_ref().map(|known| known.token.as_slice());
        match token.zip(authorization.and_then(bearer)) {
            Some((token, given)) if bool::from(token.ct_eq(given)) => Ok(()),
            _ => Err(Denied::Token),
        }
    }

    /// Reads the file, if it may have changed.
    fn refresh(&self) -> io::Result<()> {
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
                let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
                let settled = age.is_some_and(|age| age > Duration::from_secs(2));
                *known = Some(Known { token, state, settled });
                Ok(())
            }
            // Without descriptors the old one has to do.
            Err(_) if is_same => Ok(()),
            Err(why) => {
                *known = None;
                Err(why)
            }
        }
    }
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
    use std::time::SystemTime;

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
        let check = |header: &str| token.check(Some(header.as_bytes()));
        assert!(matches!(check("Bearer a"), Err(Denied::NoToken(_))));
        fs::write(&path, " secret\r\n").unwrap();
        assert!(check("Bearer secret").is_ok());
        assert!(check("bearer  secret ").is_ok());
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
            assert!(matches!(check(wrong), Err(Denied::Token)), "{wrong}");
        }
        assert!(matches!(token.check(None), Err(Denied::Token)));
        fs::write(&path, "other").unwrap();
        assert!(matches!(check("Bearer secret"), Err(Denied::Token)));
        assert!(check("Bearer other").is_ok());
        fs::write(&path, "\n").unwrap();
        assert!(matches!(check("Bearer "), Err(Denied::NoToken(_))));
        fs::write(&path, vec![b'x'; 5000]).unwrap();
        assert!(matches!(check("Bearer x"), Err(Denied::NoToken(_))));
        // A file that has rested is not read each time.
        fs::write(&path, "old").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
        assert!(check("Bearer old").is_ok());
        assert!(token.known.borrow().as_ref().unwrap().settled);
        fs::write(&path, "new").unwrap();
        assert!(matches!(check("Bearer old"), Err(Denied::Token)));
        assert!(check("Bearer new").is_ok());
        fs::remove_file(&path).unwrap();
        assert!(matches!(check("Bearer new"), Err(Denied::NoToken(_))));
    }
}
