//! Host names to addresses, without anybody waiting for it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::Arc;
use std::thread;

/// What a look-up comes to.
type Addresses = io::Result<Vec<SocketAddr>>;

/// Looks up one host name, again and again. `getaddrinfo` can take as long as it likes, so each look-up has a thread of its
/// own, one at a time.
pub(super) struct Resolver {
    /// One look-up; it may take any time.
    look_up: Arc<dyn Fn() -> Addresses + Send + Sync>,
    /// Where the thread that is at it leaves its result.
    pending: Option<Receiver<Addresses>>,
}

impl Resolver {
    /// One that asks the system.
    pub(super) fn new(host: &str, port: u16) -> Resolver {
        let host = host.to_owned();
        Resolver::with(move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect))
    }

    /// One that looks up like this.
    pub(super) fn with(look_up: impl Fn() -> Addresses + Send + Sync + 'static) -> Resolver {
        Resolver {
            look_up: Arc::new(look_up),
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
        let look_up = Arc::clone(&self.look_up);
        let failed = sender.clone();
        let run = move || {
            // Nobody waits any more if the link has gone.
            let _ = sender.send(look_up());
        };
        if let Err(why) = thread::Builder::new().name("metre-resolve".to_owned()).spawn(run) {
            let _ = failed.send(Err(why));
        }
    }

    /// Whether a look-up is under way, or its result still to be taken.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    /// What a look-up has found, once.
    pub(super) fn poll(&mut self) -> Option<Addresses> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    fn result(resolver: &mut Resolver) -> Addresses {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(result) = resolver.poll() {
                return result;
            }
            assert!(Instant::now() < end, "no result");
            thread::yield_now();
        }
    }

    #[test]
    fn there_is_one_look_up_at_a_time_and_nobody_waits_for_it() {
        let (answer, answers) = mpsc::channel();
        let (answers, asked) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&asked);
        let mut resolver = Resolver::with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            answers.lock().unwrap().recv().unwrap()
        });
        assert!(resolver.poll().is_none());
        for port in 1..=3 {
            resolver.start();
            resolver.start();
            assert!(resolver.poll().is_none());
            let addresses = vec![SocketAddr::from(([192, 0, 2, 1], port))];
            answer.send(Ok(addresses.clone())).unwrap();
            assert_eq!(result(&mut resolver).unwrap(), addresses);
            assert!(resolver.poll().is_none(), "it is told once");
            assert_eq!(asked.load(Ordering::Relaxed), usize::from(port));
        }
    }

    #[test]
    fn a_name_without_an_address_is_an_error() {
        let mut resolver = Resolver::with(|| Ok(Vec::new()));
        resolver.start();
        assert_eq!(
            result(&mut resolver).unwrap_err().to_string(),
            "the name has no address"
        );
    }

    #[test]
    fn a_look_up_that_dies_is_an_error_and_the_next_one_can_follow() {
        let mut resolver = Resolver::with(|| panic!("as this test wants"));
        for _ in 0..2 {
            resolver.start();
            let why = result(&mut resolver).unwrap_err().to_string();
            assert_eq!(why, "the look-up ended without an answer");
        }
    }

    #[test]
    fn an_address_is_its_own_name() {
        let mut resolver = Resolver::new("192.0.2.1", 8125);
        resolver.start();
        assert_eq!(
            result(&mut resolver).unwrap(),
            [SocketAddr::from(([192, 0, 2, 1], 8125))]
        );
    }
}
