//! Orders for pages, as the renderer's thread gets them.

use crate::encode::exposition::{Format, Only};
use crate::transport::http::{Bytes, Feed};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;
use tokio::sync::oneshot;

/// Which page: scrapes that wait for the same one get the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) format: Format,
    pub(super) gzip: bool,
    pub(super) only: Option<Only>,
}

/// How a client takes a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// As it is made.
    Pieces,
    /// Once its length is known: without that, clients that don't know chunks couldn't tell whether they have all.
    Whole,
    /// Its length alone.
    Length,
}

/// How a page begins, for a client.
pub(super) enum Begun {
    /// This is all of it.
    Short(Bytes),
    /// It comes in pieces. Clients with the same number share them. Its length in bytes, if all of it has been made.
    Long(u64, Option<usize>),
    /// It has so many bytes.
    Counted(usize),
}

/// Somebody waits for a page.
pub(super) struct Job {
    pub(super) wanted: Wanted,
    pub(super) take: Take,
    /// Where to say how the page begins, until that is said.
    pub(super) begun: Option<oneshot::Sender<Begun>>,
    /// What the page goes into, if it is more than a short one.
    pub(super) feed: Feed,
}

/// What is sent to the thread.
pub(super) enum Order {
    Page(Job),
    /// A client has taken a piece, or has gone, while the thread waits for that.
    Taken,
}

impl Job {
    /// Whether the client has gone meanwhile.
    pub(super) fn is_gone(&self) -> bool {
        match &self.begun {
            Some(begun) => begun.is_closed(),
            None => self.feed.is_gone(),
        }
    }
}

/// Where orders come in.
pub(super) struct Desk<'a> {
    incoming: &'a Receiver<Order>,
    waits: &'a AtomicBool,
    /// Those that wait for a page that has not begun.
    jobs: Vec<Job>,
}

impl Desk<'_> {
    /// One with no orders yet. `waits` is set while [`Desk::wait`] wants to hear of clients.
    pub(super) fn new<'a>(incoming: &'a Receiver<Order>, waits: &'a AtomicBool) -> Desk<'a> {
        Desk {
            incoming,
            waits,
            jobs: Vec::new(),
        }
    }

    /// Takes in what has come, and forgets those who have gone: clients may come and go as often as they like meanwhile.
    pub(super) fn tidy(&mut self) {
        while let Ok(order) = self.incoming.try_recv() {
            self.take(order);
        }
        self.jobs.retain(|job| !job.is_gone());
    }

    /// Waits for orders. The next page and the jobs for it, or `None` if nobody is left to give any.
    pub(super) fn next(&mut self) -> Option<(Wanted, Vec<Job>)> {
        loop {
            self.tidy();
            if let Some(first) = self.jobs.first() {
                let wanted = first.wanted.clone();
                let jobs = std::mem::take(&mut self.jobs);
                let (same, others) = jobs.into_iter().partition(|job| job.wanted == wanted);
                self.jobs = others;
                return Some((wanted, same));
            }
            let order = self.incoming.recv().ok()?;
            self.take(order);
        }
    }

    fn take(&mut self, order: Order) {
        if let Order::Page(job) = order {
            self.jobs.push(job);
        }
    }

    /// Waits until something is so that changes only when a client takes a piece or goes, until then, or until somebody else waits for
    /// a page.
    pub(super) fn wait(&mut self, until: Instant, is_so: impl Fn() -> bool) {
        self.waits.store(true, SeqCst);
        while self.jobs.is_empty() && !is_so() {
            let left = until.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        self.waits.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::http::Body;
    use std::sync::mpsc::channel;

    #[test]
    fn who_has_gone_is_forgotten_while_a_page_is_made() {
        let (orders, incoming) = channel();
        let waits = AtomicBool::new(false);
        let mut desk = Desk::new(&incoming, &waits);
        let mut here = Vec::new();
        for number in 0..100 {
            let (begun, client) = oneshot::channel();
            let job = Job {
                wanted: Wanted {
                    format: Format::Text0,
                    gzip: false,
                    only: None,
                },
                take: Take::Pieces,
                begun: Some(begun),
                feed: Body::in_pieces(|| ()).0,
            };
            orders.send(Order::Page(job)).unwrap();
            if number == 50 {
                here.push(client);
            }
        }
        desk.tidy();
        assert_eq!(desk.jobs.len(), here.len());
        assert_eq!(incoming.try_iter().count(), 0);
    }
}
