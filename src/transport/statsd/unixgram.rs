//! Datagrams over a Unix socket.

use super::Socket;
use nix::errno::Errno;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// A connected Unix datagram socket.
pub(super) struct Unixgram {
    socket: UnixDatagram,
    path: PathBuf,
    /// Device and inode of the file.
    file: Option<(u64, u64)>,
}

fn file(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Unixgram {
    pub(super) fn connect(path: &Path) -> io::Result<Unixgram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path).map_err(|why| match why.raw_os_error() {
            Some(code) if code == Errno::EPROTOTYPE as i32 => io::Error::other(format!(
                "it is a stream socket, for which write unixstream://{}",
                path.display()
            )),
            _ => why,
        })?;
        Ok(Unixgram {
            socket,
            path: path.to_owned(),
            file: file(path),
        })
    }
}

impl Socket for Unixgram {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(bytes)
    }

    fn check(&mut self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// A server that has lost its file, or has lost it to another one, isn't where the operator said.
    fn is_current(&self) -> bool {
        file(&self.path) == self.file
    }

    /// Sending fails if there is no one.
    fn tells_at_once(&self) -> bool {
        true
    }
}
