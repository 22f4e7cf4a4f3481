//! A page while it is made: to whom it goes, and in which pieces.

use super::desk::{Begun, Desk, Job, Take};
use crate::runtime::panics;
use crate::transport::http::Bytes;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// A page up to this many bytes goes out whole, with its length.
const SHORT: usize = 1 << 20;

/// The pieces of a longer one, in bytes: what the heap has at hand again at once.
pub(super) const PIECE: usize = 64 << 10;

/// From how many bytes on that no client has taken yet clients are waited for, and down to how many.
pub(super) const MUCH: usize = 4 << 20;
const LITTLE: usize = 2 << 20;

/// Faults are made here for tests.
const BEGUN: &str = "a page that has begun";

/// A page for those who wait for it.
pub(super) struct Page<'a, 'b> {
    number: u64,
    jobs: Vec<Job>,
    desk: &'a mut Desk<'b>,
    /// What nobody has got yet.
    rest: Vec<u8>,
    /// How many bytes have been handed out before.
    handed: usize,
    /// How long clients may still be waited for, and how long they have been.
    patience: Duration,
    waited: Duration,
}

impl<'a, 'b> Page<'a, 'b> {
    /// An empty page. Its clients may be waited for so long in all.
    pub(super) fn new(number: u64, jobs: Vec<Job>, desk: &'a mut Desk<'b>, patience: Duration) -> Self {
        Page {
            number,
            jobs,
            desk,
            rest: Vec::new(),
            handed: 0,
            patience,
            waited: Duration::ZERO,
        }
    }

    /// How many bytes there are so far.
    pub(super) fn length(&self) -> usize {
        self.handed + self.rest.len()
    }

    /// How long clients have been waited for.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// That was all.
    pub(super) fn finish(mut self) {
        let length = self.length();
        let is_short = self.handed == 0;
        self.rest.shrink_to_fit();
        let rest = Bytes::from(std::mem::take(&mut self.rest));
        for Job { take, begun, feed, .. } in self.jobs {
            if let Some(begun) = begun {
                // A client that has gone needs nothing.
                let _ = begun.send(match take {
                    Take::Length => Begun::Counted(length),
                    Take::Pieces | Take::Whole if is_short => Begun::Short(rest.clone()),
                    Take::Pieces | Take::Whole => Begun::Long(self.number, Some(length)),
                });
            }
            if !is_short {
                feed.push(rest.clone());
                feed.finish();
            }
        }
    }

    /// Hands what there is to those who want it.
    fn hand_out(&mut self) -> io::Result<()> {
        let is_kept = |job: &Job| job.take != Take::Length;
        self.handed += self.rest.len();
        if self.jobs.iter().any(is_kept) {
            let piece = Bytes::from(std::mem::replace(&mut self.rest, Vec::with_capacity(PIECE)));
            for job in self.jobs.iter_mut().filter(|job| is_kept(job)) {
                job.feed.push(piece.clone());
                if job.take == Take::Pieces {
                    if let Some(begun) = job.begun.take() {
                        let _ = begun.send(Begun::Long(self.number, None));
                    }
                }
            }
        } else {
            self.rest.clear();
        }
        panics::inject(BEGUN);
        self.desk.tidy();
        self.wait();
        self.jobs.retain(|job| !job.is_gone());
        match self.jobs.is_empty() {
            true => Err(ErrorKind::BrokenPipe.into()),
            false => Ok(()),
        }
    }

    /// Waits until the fastest client has taken most of what there is, for a while at most, and not if somebody else waits for a page.
    fn wait(&mut self) {
        let jobs = &self.jobs;
        let fetching = || jobs.iter().filter(|job| job.take == Take::Pieces && !job.is_gone());
        let is_below = |limit| fetching().map(|job| job.feed.queued()).min().unwrap_or(0) <= limit;
        let left = self.patience.saturating_sub(self.waited);
        if is_below(MUCH) || left.is_zero() {
            return;
        }
        let start = Instant::now();
        self.desk.wait(start + left, || is_below(LITTLE));
        self.waited += start.elapsed();
    }
}

impl Write for Page<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::thread::panicking() {
            // A writer around this one hands on what it has left when it is dropped.
            return Err(ErrorKind::Other.into());
        }
        let limit = if self.handed == 0 { SHORT } else { PIECE };
        let taken = bytes.len().min(limit - self.rest.len());
        self.rest.extend_from_slice(&bytes[..taken]);
        if self.rest.len() == limit {
            self.hand_out()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
