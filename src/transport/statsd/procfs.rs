//! What Linux tells of a TCP connection in `/proc/net/tcp` (`proc(5)`).

use std::fs::File;
use std::io::ErrorKind::{NotFound, PermissionDenied};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;

/// The kernel's table of connections. It stays open: when one is needed to look into it, there may be no descriptor left.
pub(super) struct Queues(Option<File>);

impl Queues {
    /// The table in which the connections from such an address are.
    ///
    /// # Errors
    /// When there are no descriptors left. A system that doesn't show the table is no error.
    pub(super) fn open(local: SocketAddr) -> io::Result<Queues> {
        Queues::open_in("/proc/net", local)
    }

    fn open_in(directory: &str, local: SocketAddr) -> io::Result<Queues> {
        let name = if local.is_ipv4() { "tcp" } else { "tcp6" };
        match File::open(format!("{directory}/{name}")) {
            Ok(file) => Ok(Queues(Some(file))),
            Err(why) if matches!(why.kind(), NotFound | PermissionDenied) => Ok(Queues(None)),
            Err(why) => Err(why),
        }
    }

    /// How many bytes sent from `local` to `peer` haven't been acknowledged; 0 where the table isn't shown. All there may be, if the
    /// connection isn't there any more: after its end that is what a reset does, and that may come right after the end.
    pub(super) fn unacknowledged(&self, local: SocketAddr, peer: SocketAddr) -> usize {
        let Some(mut file) = self.0.as_ref() else {
            return 0;
        };
        let mut table = String::new();
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_string(&mut table));
        // Better twice than lost.
        read.ok().and_then(|_| find(&table, local, peer)).unwrap_or(usize::MAX)
    }
}

/// Lines are `sl local_address rem_address st tx_queue:rx_queue …`. Two ports and the peer's address, whose bytes are in an
/// order of their own, are compared by the ports alone: a local port is used once to a peer's port, but for clashes that do
/// no harm.
fn find(table: &str, local: SocketAddr, peer: SocketAddr) -> Option<usize> {
    let (local, peer) = (format!(":{:04X}", local.port()), format!(":{:04X}", peer.port()));
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ours = fields.next()?.ends_with(&local) && fields.next()?.ends_with(&peer);
        let queues = fields.nth(1)?;
        let (sending, _) = queues.split_once(':')?;
        ours.then(|| usize::from_str_radix(sending, 16).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_queue_of_the_connection_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000\n   \
            1: 0100007F:1F91 0100007F:1F90 01 000000FF:00000001 00:00000000\n";
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(find(table, address(0x1f91), address(0x1f90)), Some(255));
        assert_eq!(find(table, address(0x1f92), address(0x1f90)), None);
        assert_eq!(find("", address(1), address(2)), None);
    }

    #[test]
    fn only_a_table_that_is_not_shown_is_done_without() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        // No directory, which stands for any other failure.
        assert!(Queues::open_in("/proc/version", address).is_err());
        let none = Queues::open_in("/nonexistent", address).unwrap();
        assert_eq!(none.unacknowledged(address, address), 0);
    }

    #[test]
    fn a_real_queue_fills_and_empties() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = stream.write(&[0; 65_536]) {
            sent += count;
        }
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let queues = Queues::open(local).unwrap();
        let queue = || queues.unacknowledged(local, peer);
        assert!(queue() > 0 && queue() <= sent);
        let mut rest = vec![0; sent];
        server.read_exact(&mut rest).unwrap();
        // The last acknowledgement may be some milliseconds late.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while queue() > 0 && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(queue(), 0);
    }
}
