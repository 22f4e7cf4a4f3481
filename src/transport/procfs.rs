//! What Linux tells of a TCP connection in `/proc/net/tcp` (`proc(5)`).

use std::net::SocketAddr;

/// How many bytes sent from `local` to `peer` haven't been acknowledged; 0 if that can't be known.
pub(super) fn unacknowledged(local: SocketAddr, peer: SocketAddr) -> usize {
    let path = match local {
        SocketAddr::V4(_) => "/proc/net/tcp",
        SocketAddr::V6(_) => "/proc/net/tcp6",
    };
    let table = std::fs::read_to_string(path).unwrap_or_default();
    find(&table, local, peer).unwrap_or(0)
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
    fn a_real_queue_fills_and_empties() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = stream.write(&[0; 65_536]) {
            sent += count;
        }
        let queue = || unacknowledged(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
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
