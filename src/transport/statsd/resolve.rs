//! Host names to addresses, without anybody waiting for it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

/// Looks up one host name, again and again. `getaddrinfo` can take as long as it likes, so each look-up has a thread of its
/// own, one at a time.
pub(super) struct Resolver {
    host: String,
    port: u16,
    pending: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16) -> Resolver {
        Resolver {
            host: host.to_owned(),
            port,
            pending: None,
        }
    }

    /// Begins a look-up, unless one is under way.
    pub(super) fn start(&mut self) {
        if self.pending.is_some() {
            return;
        }
        let (sender, receiver) = mpsc::channel();
        self.pending = Some(receiver);
        let (host, port) = (self.host.clone(), self.port);
        let failed = sender.clone();
        let look_up = move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Nobody waits any more if the link has gone.
            let _ = sender.send(found);
        };
        if let Err(why) = thread::Builder::new().name("metre-resolve".to_owned()).spawn(look_up) {
            let _ = failed.send(Err(why));
        }
    }

    /// What a look-up has found, once.
    pub(super) fn poll(&mut self) -> Option<io::Result<Vec<SocketAddr>>> {
        let result = match self.pending.as_ref()?.try_recv() {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(io::Error::other("the name has no address")),
            Ok(result) => result,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the look-up ended without an answer")),
        };
        self.pending = None;
        Some(result)
    }
}
