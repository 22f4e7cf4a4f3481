//! Addresses as operators write them.

use super::Framing;
use crate::transport::socket_path;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The port that statsd listens on.
const STATSD_PORT: u16 = 8125;

/// No host name has more than 253 bytes (RFC 1035).
const LONGEST: usize = 300;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `udp://host:port`
    Udp(String, u16),
    /// `tcp://host:port`
    Tcp(String, u16),
    /// `unix:///path` or `unixgram:///path`
    Unixgram(PathBuf),
    /// `unixstream:///path`
    Unixstream(PathBuf),
}

impl Endpoint {
    /// Reads `udp://host:port`, `tcp://host:port`, `unix:///path` (or `unixgram:///path`, or with one slash) or
    /// `unixstream:///path`. Without a scheme it is UDP, without a port 8125. An IPv6 address stands in brackets if a port
    /// follows.
    ///
    /// # Errors
    /// A text that is none of these; the message says why.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        if text.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} bytes"));
        }
        let with_scheme = text.split_once("://").or_else(|| path_after_colon(text));
        let (scheme, rest) = with_scheme.unwrap_or(("udp", text));
        let host_and_port = |rest: &str| host_and_port(rest.strip_suffix('/').unwrap_or(rest));
        match scheme.to_ascii_lowercase().as_str() {
            "udp" => host_and_port(rest).map(|(host, port)| Endpoint::Udp(host, port)),
            "tcp" => host_and_port(rest).map(|(host, port)| Endpoint::Tcp(host, port)),
            "unix" | "unixgram" => socket_path(rest).map(Endpoint::Unixgram),
            "unixstream" => socket_path(rest).map(Endpoint::Unixstream),
            _ => Err(format!("there is no '{scheme}://'")),
        }
    }

    /// The same on another port.
    #[must_use]
    pub fn with_port(self, port: u16) -> Endpoint {
        match self {
            Endpoint::Udp(host, _) => Endpoint::Udp(host, port),
            Endpoint::Tcp(host, _) => Endpoint::Tcp(host, port),
            on_a_path => on_a_path,
        }
    }

    /// Whether it is a socket in the file system.
    pub fn is_path(&self) -> bool {
        matches!(self, Endpoint::Unixgram(_) | Endpoint::Unixstream(_))
    }

    /// How what is sent there is told apart.
    pub fn framing(&self) -> Framing {
        match self {
            Endpoint::Udp(..) | Endpoint::Unixgram(_) => Framing::Datagrams,
            Endpoint::Tcp(..) => Framing::Stream,
            Endpoint::Unixstream(_) => Framing::Packets,
        }
    }
}

/// Scheme and rest of `unix:/path`. A host may be called `unix`, too: then a port follows.
fn path_after_colon(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = ["unix", "unixgram", "unixstream"].contains(&scheme.to_ascii_lowercase().as_str());
    let is_port = rest.bytes().all(|digit| digit.is_ascii_digit());
    (is_scheme && !is_port).then_some((scheme, rest))
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, after)) => {
            if !is_ipv6(host) {
                return Err(format!("'{host}' is not an IPv6 address"));
            }
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').unwrap_or(after))),
            }
        }
        None => match text.rsplit_once(':') {
            // ::1:8125 is an address, too, but hardly ever the one that was meant.
            Some((host, port)) if is_ipv6(host) => {
                return Err(format!(
                    "write '[{host}]:{port}' for port {port}, '[{text}]' for an address"
                ));
            }
            Some(_) if is_ipv6(text) => (text, None),
            Some((host, _)) if host.contains([':', '[']) => {
                return Err("an IPv6 address stands in brackets, as in '[::1]:8125'".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => STATSD_PORT,
        Some(port) => match port.parse() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => number,
            _ => return Err(format!("'{port}' is not a port")),
        },
    };
    let legal = |c: char| c.is_alphanumeric() || "-._".contains(c);
    if !is_ipv6(host) && (host.is_empty() || !host.chars().all(legal)) {
        return Err(format!("'{host}' is not a host"));
    }
    Ok((host.to_owned(), port))
}

/// An IPv6 address, with the interface if it is link-local: `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(legal)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Endpoint::Udp(host, port) => ("udp", host, port),
            Endpoint::Tcp(host, port) => ("tcp", host, port),
            Endpoint::Unixgram(path) => return write!(f, "unixgram://{}", path.display()),
            Endpoint::Unixstream(path) => return write!(f, "unixstream://{}", path.display()),
        };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read_and_written() {
        for (text, full) in [
            ("localhost", "udp://localhost:8125"),
            ("statsd.example.org:9125", "udp://statsd.example.org:9125"),
            ("::1", "udp://[::1]:8125"),
            ("[::1]:1", "udp://[::1]:1"),
            ("2001:db8::1", "udp://[2001:db8::1]:8125"),
            ("[::1:8125]", "udp://[::1:8125]:8125"),
            ("fe80::1%lo", "udp://[fe80::1%lo]:8125"),
            ("udp://127.0.0.1", "udp://127.0.0.1:8125"),
            ("tcp://[fe80::1]:8126", "tcp://[fe80::1]:8126"),
            ("UDP://[fe80::1%eth0]:1/", "udp://[fe80::1%eth0]:1"),
            ("unixgram:///run/statsd.sock", "unixgram:///run/statsd.sock"),
            ("unix:///run/statsd.sock", "unixgram:///run/statsd.sock"),
            ("unix:/run/statsd.sock", "unixgram:///run/statsd.sock"),
            ("Unixgram:/run/statsd.sock", "unixgram:///run/statsd.sock"),
            ("unixstream:///run/statsd.sock", "unixstream:///run/statsd.sock"),
            ("unixstream:/run/statsd.sock", "unixstream:///run/statsd.sock"),
            // Hosts all the same.
            ("unix", "udp://unix:8125"),
            ("unix:9125", "udp://unix:9125"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), full);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, why) in [
            ("", "'' is not a host"),
            ("a b", "'a b' is not a host"),
            ("host:0", "'0' is not a port"),
            ("host:http", "'http' is not a port"),
            ("udp://host:99999", "'99999' is not a port"),
            ("host:+1", "'+1' is not a port"),
            ("[host]:1", "'host' is not an IPv6 address"),
            (
                "::1:8125",
                "write '[::1]:8125' for port 8125, '[::1:8125]' for an address",
            ),
            ("[::1", "an IPv6 address stands in brackets, as in '[::1]:8125'"),
            ("a:b:1", "an IPv6 address stands in brackets, as in '[::1]:8125'"),
            ("unixgram://relative", "its path does not begin with '/'"),
            ("unix://run/statsd.sock", "its path does not begin with '/'"),
            ("unix:statsd.sock", "its path does not begin with '/'"),
            ("unixstream:./statsd.sock", "its path does not begin with '/'"),
            ("unixstream://", "its path does not begin with '/'"),
            ("unixstream:///run/", "its path is that of a directory"),
            (
                &format!("unixgram:///{}", "x".repeat(107)),
                "its path has more than 107 bytes",
            ),
            (
                &format!("unixstream:///{}", "x".repeat(107)),
                "its path has more than 107 bytes",
            ),
            ("http://host", "there is no 'http://'"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap_err(), why);
        }
    }
}
