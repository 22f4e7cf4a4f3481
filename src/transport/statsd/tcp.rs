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
    /// Kept, since a connection that was reset has none any more.
    from: SocketAddr,
    to: SocketAddr,
    queues: Queues,
}

impl Tcp {
    pub(super) fn connect(peer: SocketAddr) -> io::Result<Tcp> {
        let stream = TcpStream::connect_timeout(&peer, CONNECT_TIMEOUT)?;
        stream.set_nonblocking(true)?;
        setsockopt(&stream, sockopt::TcpUserTimeout, &USER_TIMEOUT)?;
        setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER)?;
        let from = stream.local_addr()?;
        Ok(Tcp {
            from,
            to: peer,
            queues: Queues::open(from)?,
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
        self.queues.unacknowledged(self.from, self.to)
    }

    /// A reset from another host takes the time of a round trip.
    fn tells_at_once(&self) -> bool {
        self.to.ip().to_canonical().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::Instant;

    fn wait_until(condition: impl FnMut() -> bool) {
        let mut condition = condition;
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "it has not come to that");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_sent_after_the_end_is_not_taken_for_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = Tcp::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        wait_until(|| {
            socket
                .check()
                .is_err_and(|why| why.kind() == io::ErrorKind::UnexpectedEof)
        });
        assert_eq!(socket.unacknowledged(), 0);
        // It is answered by a reset, after which the connection has gone from the table.
        assert_eq!(socket.send(b"x").unwrap(), 1);
        wait_until(|| socket.unacknowledged() > 1);
    }
}
