//! The way to a statsd server: datagrams that wait, sockets, host names, and what to do when one of them fails.

mod endpoint;
mod link;
mod outbox;
mod packer;
mod resolve;
mod target;
mod tcp;
mod udp;
mod unixgram;
mod unixstream;

pub use endpoint::Endpoint;
pub use link::{Event, Link, Progress, Traffic};
pub use packer::{Added, Framing, Packer};

use std::io::{self, ErrorKind, Read};

/// What the system may hold of a stream for the server, in bytes; it takes this twice. Not more than is kept to be sent again.
const SEND_BUFFER: usize = 128 << 10;

/// The error of a stream, or its end, if there is one. Servers answer nothing, so what there is to read is thrown away.
fn look(error: io::Result<Option<io::Error>>, stream: &mut impl Read) -> io::Result<()> {
    // After the end of the stream a reset shows only here.
    error?.map_or(Ok(()), Err)?;
    let mut scratch = [0; 512];
    // Not for ever, should it answer without end.
    for _ in 0..16 {
        match stream.read(&mut scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// A connected socket that never waits.
trait Socket: Send {
    /// Hands over some bytes, and says how many were taken: all of a datagram or none.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The error that came since the last call, if one did. `UnexpectedEof` if the other side has closed.
    fn check(&mut self) -> io::Result<()>;

    /// Whether who sends to the same name now would reach the same socket.
    fn is_current(&self) -> bool {
        true
    }

    /// How many bytes of a stream the other side's machine hasn't got yet, or the other side itself where that is known: as far
    /// as can be known, and maybe as it was before the last [`Socket::check`].
    fn unacknowledged(&self) -> usize {
        0
    }

    /// The longest datagram that certainly gets through in one piece, in bytes, if there is such a limit.
    fn longest(&self) -> usize {
        usize::MAX
    }

    /// Whether [`Socket::check`] right after [`Socket::send`] tells what became of that very datagram.
    fn tells_at_once(&self) -> bool;
}
