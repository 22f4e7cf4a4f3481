//! Datagrams over a Unix socket.

use super::Socket;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// A connected Unix datagram socket.
pub(super) struct Unixgram {
    socket: UnixDatagram,
}

impl Unixgram {
    pub(super) fn connect(path: &Path) -> io::Result<Unixgram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Unixgram { socket })
    }
}

impl Socket for Unixgram {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(bytes)
    }

    fn check(&mut self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Sending fails if there is no one.
    fn tells_at_once(&self) -> bool {
        true
    }
}
