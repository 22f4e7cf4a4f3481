//! Datagrams over UDP.

use super::Socket;
use nix::sys::socket::{getsockopt, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What every IPv6 link carries, 1280 bytes (RFC 8200, section 5), less two headers.
const LONGEST_OVER_IPV6: usize = 1280 - 40 - 8;

/// A connected UDP socket.
pub(super) struct Udp {
    socket: UdpSocket,
    local: bool,
}

impl Udp {
    pub(super) fn connect(peer: SocketAddr) -> io::Result<Udp> {
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(peer)?;
        Ok(Udp {
            local: peer.ip().to_canonical().is_loopback(),
            socket,
        })
    }
}

impl Socket for Udp {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(bytes)
    }

    fn check(&mut self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Routers tell that a datagram was too long after they have thrown it away.
    fn longest(&self) -> usize {
        let headers = 20 + 8;
        let mtu = getsockopt(&self.socket, sockopt::IpMtu).ok();
        mtu.and_then(|mtu| usize::try_from(mtu - headers).ok())
            .unwrap_or(LONGEST_OVER_IPV6)
    }

    /// From another host it takes the time of a round trip until a refusal is back.
    fn tells_at_once(&self) -> bool {
        self.local
    }
}
