//! Where to listen, as operators write it.

use super::socket_file::SocketFile;
use super::BACKLOG;
use crate::transport::socket_path;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use tokio::net::{TcpListener, UnixListener};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `127.0.0.1:9469`, `[::1]:9469`
    Tcp(SocketAddr),
    /// `unix:/path`, `unix:///path`
    Unix(PathBuf),
}

impl Address {
    /// Reads an IPv4 address with a port, an IPv6 one in brackets with a port, `unix:/path` or `unix:///path`.
    ///
    /// # Errors
    /// A text that is none of these; the message says why.
    pub fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).map(Address::Unix);
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => Err("it needs a port of its own".to_owned()),
            Ok(address) => Ok(Address::Tcp(address)),
            Err(_) => Err(why_not(text)),
        }
    }

    /// Listens there. A socket in the file system has this mode.
    pub(super) fn listen(&self, mode: u32) -> io::Result<Listener> {
        match self {
            Address::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                if address.is_ipv6() {
                    // So that 0.0.0.0 and [::] can be listened on both.
                    socket.set_only_v6(true)?;
                }
                // A server that starts again needn't wait for the connections of the last one to be forgotten.
                socket.set_reuse_address(true)?;
                socket.set_nonblocking(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                Ok(Listener::Tcp(TcpListener::from_std(socket.into())?))
            }
            Address::Unix(path) => {
                let (listener, file) = SocketFile::bind(path, mode)?;
                Ok(Listener::Unix(file, UnixListener::from_std(listener)?))
            }
        }
    }
}

/// The path in what stands after `unix:`, which may have the form of a URL.
fn unix(rest: &str) -> Result<PathBuf, String> {
    let in_url = rest.strip_prefix("//");
    match in_url.unwrap_or(rest) {
        "" => Err("its path is missing".to_owned()),
        path if in_url.is_some() && !path.starts_with('/') => {
            Err("its path does not begin with '/'; write one or three '/' after 'unix:', and the whole path".to_owned())
        }
        path => socket_path(path),
    }
}

/// Why a text is no address with a port, and what would be.
fn why_not(text: &str) -> String {
    if text.contains("://") {
        return "it is a URL; leave out all but address and port".to_owned();
    }
    if text.starts_with('/') {
        return format!("for a Unix socket write unix:{text}");
    }
    if text.parse::<u16>().is_ok() {
        return format!("write 127.0.0.1:{text} for this machine alone");
    }
    let unbracketed = text.trim_start_matches('[').trim_end_matches(']');
    if unbracketed.parse::<IpAddr>().is_ok() || unbracketed == "localhost" {
        return "its port is missing".to_owned();
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return "its port is missing".to_owned();
    };
    match (host, port.parse::<u16>()) {
        ("", _) => format!("write 127.0.0.1:{port} for this machine alone"),
        (_, Err(_)) => format!("'{port}' is not a port"),
        ("localhost", _) => format!("write 127.0.0.1:{port} or [::1]:{port}"),
        ("*", _) => format!("write 0.0.0.0:{port} and [::]:{port} for all interfaces"),
        _ if host.parse::<Ipv6Addr>().is_ok() => format!("write [{host}]:{port}"),
        _ if host.contains('%') => "write the number of the interface after '%' (ip link)".to_owned(),
        _ => "names are not looked up; write an address".to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket.
pub(super) enum Listener {
    Tcp(TcpListener),
    /// The file goes before the socket does.
    Unix(SocketFile, UnixListener),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read_and_written() {
        for text in [
            "127.0.0.1:9469",
            "0.0.0.0:1",
            "[::1]:9469",
            "[::]:65535",
            "unix:/run/prosody/metrics.sock",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Address::parse("unix:///run/x.sock").unwrap(),
            Address::Unix("/run/x.sock".into())
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, why) in [
            ("", "its port is missing"),
            ("9469", "write 127.0.0.1:9469 for this machine alone"),
            (":9469", "write 127.0.0.1:9469 for this machine alone"),
            ("127.0.0.1", "its port is missing"),
            ("::1", "its port is missing"),
            ("[::1]", "its port is missing"),
            ("localhost", "its port is missing"),
            ("::1:9469", "its port is missing"),
            (
                "fe80::1:2:3:4:5:6:7:8:9469",
                "names are not looked up; write an address",
            ),
            ("127.0.0.1:99999", "'99999' is not a port"),
            ("127.0.0.1:http", "'http' is not a port"),
            ("127.0.0.1:0", "it needs a port of its own"),
            ("localhost:9469", "write 127.0.0.1:9469 or [::1]:9469"),
            ("*:9469", "write 0.0.0.0:9469 and [::]:9469 for all interfaces"),
            ("xmpp.example.org:9469", "names are not looked up; write an address"),
            (
                "[fe80::1%eth0]:9469",
                "write the number of the interface after '%' (ip link)",
            ),
            (
                "http://127.0.0.1:9469/metrics",
                "it is a URL; leave out all but address and port",
            ),
            ("/run/metrics.sock", "for a Unix socket write unix:/run/metrics.sock"),
            ("unix:metrics.sock", "its path does not begin with '/'"),
            (
                "unix://run/x.sock",
                "its path does not begin with '/'; write one or three '/' after 'unix:', and the whole path",
            ),
            ("unix:", "its path is missing"),
            ("unix://", "its path is missing"),
            ("unix:///", "its path is that of a directory"),
            ("unix:/run/prosody/", "its path is that of a directory"),
            ("unix:/a\0b", "its path has a NUL in it"),
            (&long, "its path has more than 107 bytes"),
        ] {
            assert_eq!(Address::parse(text).unwrap_err(), why, "{text}");
        }
    }
}
