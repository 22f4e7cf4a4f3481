//! Who gets in.

use hyper::StatusCode;
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

/// The rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Addresses that may connect over TCP. Who may use a Unix socket is up to its mode.
    pub allow: Vec<IpNet>,
    /// The file with the tokens of which every request has to bring one, if one has to.
    pub token_file: Option<PathBuf>,
}

/// Whom a request needs to come from to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Those whose address is allowed, with a token if there is one to be brought.
    Trusted,
    /// Those whose address is allowed.
    Allowed,
    /// Anybody.
    Everybody,
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
