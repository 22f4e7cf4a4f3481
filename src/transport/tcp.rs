//! Lines over TCP.

use super::procfs::Queues;
use super::Socket;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the worker waits for a connection. Prosody doesn't wait for the worker.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a server may leave bytes unacknowledged before it counts as gone, in milliseconds: else that takes the system a
/// quarter of an hour.
const USER_TIMEOUT: u32 = 10_000;

/// What the system may hold for the server, in bytes; it takes this twice. Not more than is kept to be sent again.
const SEND_BUFFER: usize = 128 << 10;

/// A TCP connection.
pub(super) struct Tcp {
    stream: TcpStream,
    queues: Queues,
    local: bool,
}

impl Tcp {
    pub(super) fn connect(peer: SocketAddr) -> io::Result<Tcp> {
        let stream = TcpStream::connect_timeout(&peer, CONNECT_TIMEOUT)?;
        stream.set_nonblocking(true)?;
        setsockopt(&stream, sockopt::TcpUserTimeout, &USER_TIMEOUT)?;
        setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER)?;
        Ok(Tcp {
            local: peer.ip().to_canonical().is_loopback(),
            queues: Queues::open(stream.local_addr()?)?,
            stream,
        })
    }
}

impl Socket for Tcp {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        }
    }

    /// Servers answer nothing, so what there is to read is thrown away until the end of the stream or an error.
    fn check(&mut self) -> io::Result<()> {
        // After the end of the stream a reset shows only here.
        self.stream.take_error()?.map_or(Ok(()), Err)?;
        let mut scratch = [0; 512];
        // Not for ever, should it answer without end.
        for _ in 0..16 {
            match self.stream.read(&mut scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    fn unacknowledged(&self) -> usize {
        match (self.stream.local_addr(), self.stream.peer_addr()) {
            (Ok(local), Ok(peer)) => self.queues.unacknowledged(local, peer),
            _ => 0,
        }
    }

    /// A reset from another host takes the time of a round trip.
    fn tells_at_once(&self) -> bool {
        self.local
    }
}
