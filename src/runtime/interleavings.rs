//! A worker's thread and Prosody's, in every order of their steps, as `crate::interleavings` has them.

use super::bell::Bell;
use super::event_loop::EventLoop;
use super::notices::{Level, Notices};
use super::push::{Destination, Names, Wait, Worker, FLUSH};
use crate::interleavings::explore;
use crate::store::Store;
use loom::thread;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

static NAMES: Names = Names {
    thread: "model",
    worker: "the worker",
    late: "late",
    push: "a push",
    between: "between pushes",
};

/// What a destination has been asked to do, and where it is to panic.
#[derive(Clone, Default)]
struct Pushes {
    pushes: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    /// In this push, from 1.
    panics_in_push: usize,
    panics_outside: bool,
}

impl Destination for Pushes {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn greeting(&self) -> String {
        String::new()
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn collect_interval(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn retry_at(&self) -> Option<Instant> {
        None
    }

    fn problem(&self) -> Option<&str> {
        None
    }

    fn hurry(&mut self) {
        if self.panics_outside {
            resume_unwind(Box::new(()));
        }
    }

    fn between_pushes(&mut self) -> Option<Duration> {
        None
    }

    fn push(&mut self, wait: Wait<'_>) -> bool {
        if self.pushes.fetch_add(1, Relaxed) + 1 == self.panics_in_push {
            resume_unwind(Box::new(()));
        }
        wait(Duration::ZERO)
    }

    fn close(&mut self, complete: bool) {
        assert!(complete);
        self.closed.fetch_add(1, Relaxed);
    }
}

struct Parts {
    worker: Worker,
    notices: Arc<Notices>,
}

fn parts(pushes: &Pushes) -> Parts {
    let bell = Arc::new(Bell::default());
    let notices = Arc::new(Notices::new(&bell));
    let event_loop = Arc::new(EventLoop::new(&bell, &notices, &Store::new()));
    Parts {
        worker: Worker::new(Box::new(pushes.clone()), &notices, &event_loop),
        notices,
    }
}

fn flush(worker: &Worker) -> Result<(), String> {
    worker.end_flush(worker.begin_flush(), Instant::now() + FLUSH)
}

fn stop(worker: &Worker) {
    worker.begin_stop();
    worker.stop_by(Instant::now()).unwrap();
}

#[test]
fn a_flush_is_answered_and_the_end_is_the_end() {
    explore("a flush is answered", 3, || {
        let pushes = Pushes::default();
        let Parts { worker, .. } = parts(&pushes);
        worker.start().unwrap();
        worker.start().unwrap();
        flush(&worker).unwrap();
        assert!(pushes.pushes.load(Relaxed) >= 1);
        stop(&worker);
        assert_eq!(pushes.closed.load(Relaxed), 1);
        // Nobody waits for a thread that has ended.
        flush(&worker).unwrap();
        stop(&worker);
    });
}

#[test]
fn a_flush_that_meets_the_end_is_answered() {
    explore("a flush that meets the end is answered", 3, || {
        let pushes = Pushes::default();
        let Parts { worker, .. } = parts(&pushes);
        worker.start().unwrap();
        let worker = Arc::new(worker);
        let flushing = Arc::clone(&worker);
        let flush = thread::spawn(move || flush(&flushing).unwrap());
        worker.begin_stop();
        flush.join().unwrap();
        worker.stop_by(Instant::now()).unwrap();
        assert_eq!(pushes.closed.load(Relaxed), 1);
    });
}

#[test]
fn it_starts_again() {
    explore("it starts again", 2, || {
        let pushes = Pushes::default();
        let Parts { worker, .. } = parts(&pushes);
        for round in 1..3 {
            worker.start().unwrap();
            stop(&worker);
            assert_eq!(pushes.closed.load(Relaxed), round);
        }
    });
}

#[test]
fn a_panic_in_a_push_is_told_and_the_next_push_goes_on() {
    explore("a panic in a push", 3, || {
        let pushes = Pushes {
            panics_in_push: 1,
            ..Pushes::default()
        };
        let Parts { worker, notices } = parts(&pushes);
        worker.start().unwrap();
        flush(&worker).unwrap_err();
        flush(&worker).unwrap();
        stop(&worker);
        assert_eq!(pushes.closed.load(Relaxed), 1);
        assert_eq!(notices.take().len(), 1);
    });
}

#[test]
fn nobody_waits_for_a_thread_that_has_panicked() {
    explore("a panic outside of a push", 3, || {
        let pushes = Pushes {
            panics_outside: true,
            ..Pushes::default()
        };
        let Parts { worker, notices } = parts(&pushes);
        for _ in 0..2 {
            worker.start().unwrap();
            flush(&worker).unwrap_err();
            stop(&worker);
        }
        assert_eq!(notices.take().len(), 1);
    });
}

#[test]
fn a_notice_rings_until_it_is_heard() {
    explore("a notice rings until it is heard", 4, || {
        let bell = Arc::new(Bell::default());
        bell.open().unwrap();
        let notices = Arc::new(Notices::new(&bell));
        let of_thread = Arc::clone(&notices);
        let thread = thread::spawn(move || of_thread.add(Level::Info, "x".to_owned()));
        bell.heard();
        let taken = notices.take().len();
        thread.join().unwrap();
        assert!(taken == 1 || bell.is_rung());
    });
}
