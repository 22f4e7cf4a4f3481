//! Lines over TCP.

use super::{look, Socket, SEND_BUFFER};
use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::{getsockopt_impl, sockopt_impl};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the worker waits for a connection. Prosody doesn't wait for the worker.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a server may leave bytes unacknowledged before it counts as gone, in milliseconds: else that takes the system a
/// quarter of an hour.
const USER_TIMEOUT: u32 = 10_000;

// The system call is nix's, which lets its user declare options that it has no name for.
sockopt_impl!(
    /// The beginning of `struct tcp_info` (`linux/tcp.h`), up to `tcpi_bytes_acked`, which Linux has since 4.1.
    Info,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u64; 16]
);

/// Of `tcpi_state`: the connection is over, by a reset or since nothing was acknowledged for too long. (An end that the other
/// side has told of is another state.)
const CLOSED: u8 = 7;

/// A TCP connection.
pub(super) struct Tcp {
    stream: TcpStream,
    /// How many bytes the system has taken.
    sent: u64,
    /// Whether the server is on this machine.
    local: bool,
}

impl Tcp {
    pub(super) fn connect(peer: SocketAddr) -> io::Result<Tcp> {
        let stream = TcpStream::connect_timeout(&peer, CONNECT_TIMEOUT)?;
        stream.set_nonblocking(true)?;
        setsockopt(&stream, sockopt::TcpUserTimeout, &USER_TIMEOUT)?;
        setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER)?;
        Ok(Tcp {
            stream,
            sent: 0,
            local: peer.ip().to_canonical().is_loopback(),
        })
    }
}

impl Socket for Tcp {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                self.sent += count as u64;
                Ok(count)
            }
            error => error,
        }
    }

    fn check(&mut self) -> io::Result<()> {
        look(self.stream.take_error(), &mut self.stream)
    }

    /// All there may be after a reset: what the server's machine had acknowledged the server may not have read. A reset may come
    /// right after the end of the stream, and answer what was sent meanwhile. A system that refuses to tell has acknowledged all.
    fn unacknowledged(&self) -> usize {
        let Ok(info) = getsockopt(&self.stream, Info) else {
            return 0;
        };
        let [state, ..] = info[0].to_ne_bytes();
        // The first byte that is acknowledged is the connection's beginning (SYN).
        match info[15].checked_sub(1) {
            // Better twice than lost.
            _ if state == CLOSED => usize::MAX,
            Some(acknowledged) => self.sent.saturating_sub(acknowledged) as usize,
            None => 0,
        }
    }

    /// A reset from another host takes the time of a round trip.
    fn tells_at_once(&self) -> bool {
        self.local
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Instant;

    fn wait_until(condition: impl FnMut() -> bool) {
        let mut condition = condition;
        let end = Instant::now() + Duration::from_secs(120);
        while !condition() {
            assert!(Instant::now() < end, "it has not come to that");
            std::thread::yield_now();
        }
    }

    fn connected() -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Tcp::connect(listener.local_addr().unwrap()).unwrap();
        (socket, listener.accept().unwrap().0)
    }

    fn has_ended(socket: &mut Tcp) -> bool {
        socket
            .check()
            .is_err_and(|why| why.kind() == io::ErrorKind::UnexpectedEof)
    }

    #[test]
    fn it_is_known_what_is_acknowledged() {
        let (mut socket, mut server) = connected();
        assert_eq!(socket.unacknowledged(), 0);
        let mut sent = 0;
        while let Ok(count) = socket.send(&[0; 65_536]) {
            sent += count;
        }
        let unacknowledged = socket.unacknowledged();
        assert!(
            unacknowledged > 0 && unacknowledged <= sent,
            "{unacknowledged} of {sent}"
        );
        server.read_exact(&mut vec![0; sent]).unwrap();
        wait_until(|| socket.unacknowledged() == 0);
    }

    #[test]
    fn what_is_sent_after_the_end_is_not_taken_for_acknowledged() {
        let (mut socket, server) = connected();
        drop(server);
        wait_until(|| has_ended(&mut socket));
        assert_eq!(socket.unacknowledged(), 0);
        // It is answered by a reset.
        assert_eq!(socket.send(b"x").unwrap(), 1);
        wait_until(|| socket.unacknowledged() > 1);
    }

    #[test]
    fn after_a_reset_nothing_is_known() {
        let (mut socket, server) = connected();
        assert_eq!(socket.send(b"hello").unwrap(), 5);
        wait_until(|| socket.unacknowledged() == 0);
        // It has read nothing of what its machine had acknowledged.
        drop(server);
        wait_until(|| socket.unacknowledged() == usize::MAX);
        assert_eq!(socket.check().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_a_server_that_ends_has_not_read_is_not_taken_for_acknowledged() {
        let mut random = fastrand::Rng::with_seed(16);
        for round in 0..200 {
            let (mut socket, mut server) = connected();
            let most = random.usize(1..40_000);
            let server = std::thread::spawn(move || {
                let (mut scratch, mut read) = ([0; 4096], 0);
                while read < most {
                    read += server.read(&mut scratch).unwrap();
                }
                read
            });
            let why = loop {
                let _ = socket.send(&[0; 1000]);
                if let Err(why) = socket.check() {
                    break why;
                }
            };
            // Any other error says that everything may be lost.
            if why.kind() == io::ErrorKind::UnexpectedEof {
                let unacknowledged = socket.unacknowledged();
                let acknowledged = (socket.sent as usize).saturating_sub(unacknowledged);
                let read = server.join().unwrap();
                assert!(
                    acknowledged <= read,
                    "round {round}: {acknowledged} acknowledged, {read} read"
                );
            }
        }
    }
}
