//! Packets over a Unix stream socket.

use super::{look, Socket, SEND_BUFFER};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{getsockopt, send, setsockopt, sockopt, MsgFlags};
use nix::{getsockopt_impl, sockopt_impl};
use socket2::{Domain, SockAddr, Type};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

// The system call is nix's, which lets its user declare options that it has no name for.
sockopt_impl!(
    /// How much memory a socket has taken (`SK_MEMINFO_*` of Linux): received, for receiving at most, sent.
    Memory,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; 3]
);

/// A connected Unix stream socket. What is sent lies in the server's own queue until it is read: so it is known what the server
/// has taken, and at its end whether there was anything else.
pub(super) struct Unixstream {
    stream: UnixStream,
    /// How much had not been read before the last look for errors, in bytes or more than that.
    unread: usize,
}

impl Unixstream {
    /// Connects, which never waits: a server that accepts nothing would keep the caller for as long as it likes.
    pub(super) fn connect(path: &Path) -> io::Result<Unixstream> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket
            .connect(&SockAddr::unix(path)?)
            .map_err(|why| match why.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN) => io::Error::other("it accepts no connections, and as many as it lets wait do so"),
                Some(Errno::EPROTOTYPE) => io::Error::other(format!(
                    "it is a datagram socket, for which write unix://{}",
                    path.display()
                )),
                _ => why,
            })?;
        setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER)?;
        Ok(Unixstream {
            stream: OwnedFd::from(socket).into(),
            unread: 0,
        })
    }
}

impl Socket for Unixstream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match send(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(count) => Ok(count),
            // Whether the server had read everything decides what is sent again.
            Err(Errno::EPIPE) => Err(self.check().err().unwrap_or(ErrorKind::BrokenPipe.into())),
            Err(why) => Err(why.into()),
        }
    }

    fn check(&mut self) -> io::Result<()> {
        // In this order: a server that ends with something unread says so (ECONNRESET) before it is thrown away.
        let memory = getsockopt(&self.stream, Memory);
        let found = look(self.stream.take_error(), &mut self.stream);
        let is_end = found.as_ref().is_err_and(|why| why.kind() == ErrorKind::UnexpectedEof);
        self.unread = match memory {
            Ok([_, _, sent]) if !is_end => sent as usize,
            // A system that doesn't tell: then it is known at the end only.
            _ => 0,
        };
        found
    }

    fn unacknowledged(&self) -> usize {
        self.unread
    }

    fn tells_at_once(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    fn connected(name: &str) -> (UnixListener, Unixstream) {
        let path = std::env::temp_dir().join(format!("metre-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let socket = Unixstream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (listener, socket)
    }

    #[test]
    fn it_is_known_what_the_server_has_read() {
        let (listener, mut socket) = connected("known");
        assert_eq!(socket.send(b"hello").unwrap(), 5);
        socket.check().unwrap();
        assert!(socket.unacknowledged() >= 5);
        let (mut server, _) = listener.accept().unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        socket.check().unwrap();
        assert!(socket.unacknowledged() > 0);
        server.read_exact(&mut [0; 1]).unwrap();
        socket.check().unwrap();
        assert_eq!(socket.unacknowledged(), 0);
        // It ends, and has read everything.
        drop(server);
        for error in [socket.check().unwrap_err(), socket.send(b"x").unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert_eq!(socket.unacknowledged(), 0);
        }
    }

    #[test]
    fn a_server_that_ends_with_something_unread_is_an_error() {
        let (listener, mut socket) = connected("unread");
        assert_eq!(socket.send(b"hello").unwrap(), 5);
        // Nor does it matter whether the connection was accepted.
        drop(listener);
        assert_eq!(socket.send(b"x").unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_server_that_accepts_nothing_keeps_nobody_waiting() {
        let path = std::env::temp_dir().join(format!("metre-full-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(1).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match Unixstream::connect(&path) {
                Ok(socket) => waiting.push(socket),
                Err(why) => break why.to_string(),
            }
            assert!(waiting.len() < 10);
        };
        assert_eq!(error, "it accepts no connections, and as many as it lets wait do so");
        std::fs::remove_file(&path).unwrap();
        let error = Unixstream::connect(&path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
