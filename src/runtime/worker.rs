//! The pusher's thread: when it works, and how Prosody's thread talks to it.

use super::event_loop::EventLoop;
use super::notices::Notices;
use super::panics;
use super::pusher::{Pusher, Wait};
use super::thread::Thread;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the last push may take.
const LAST_PUSH: Duration = in_time(1400);

/// How long [`Worker::flush`] takes at most.
const FLUSH: Duration = in_time(1000);

/// How often samples are taken out of their ring.
const TICK: Duration = Duration::from_millis(100);

/// Until the next try after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// So many milliseconds; in a model, where no time passes, longer than the machine may take for it.
const fn in_time(milliseconds: u64) -> Duration {
    Duration::from_millis(if cfg!(feature = "model") { 1 << 30 } else { milliseconds })
}

/// What the thread has to do.
pub(super) trait Push: Send + 'static {
    /// The time between two pushes.
    fn interval(&self) -> Duration;
    /// How old the last collection may be before Prosody is asked for one, should it wait for that.
    fn collect_interval(&self) -> Duration;
    /// When the next try is due, while the server can't be reached.
    fn retry_at(&self) -> Option<Instant>;
    /// Why the server can't be reached, if that is so.
    fn problem(&self) -> Option<&str>;
    /// Doesn't wait for the next try to be due.
    fn hurry(&mut self);
    /// Whether there are samples to be taken out of the ring.
    fn has_samples(&self) -> bool;
    /// Takes the samples out of the ring.
    fn take_samples(&mut self);
    /// Sends all that is new; true if the socket has taken everything.
    fn push(&mut self, wait: Wait<'_>) -> bool;
    /// Closes the socket, and tells the operator if there was more to send.
    fn close(&mut self, complete: bool);
}

/// A pusher and, once started, the thread it works on.
pub(super) struct Worker<P = Pusher> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    control: Mutex<Control<P>>,
    changed: Condvar,
    notices: Arc<Notices>,
    event_loop: Arc<EventLoop>,
}

struct Control<P> {
    /// While there is no thread.
    pusher: Option<P>,
    running: bool,
    thread: Option<Thread>,
    /// Set to end the thread: the time by which it has to.
    stop_by: Option<Instant>,
    /// How many flushes were asked for, how many of them are done, and why the last one didn't send everything, if so.
    asked: u64,
    answered: u64,
    problem: Option<String>,
}

impl<P: Push> Worker<P> {
    pub(super) fn new(pusher: P, notices: &Arc<Notices>, event_loop: &Arc<EventLoop>) -> Worker<P> {
        let control = Control {
            pusher: Some(pusher),
            running: false,
            thread: None,
            stop_by: None,
            asked: 0,
            answered: 0,
            problem: None,
        };
        Worker {
            shared: Arc::new(Shared {
                control: Mutex::new(control),
                changed: Condvar::new(),
                notices: Arc::clone(notices),
                event_loop: Arc::clone(event_loop),
            }),
        }
    }

    /// Starts the thread, unless it runs.
    ///
    /// # Errors
    /// When no thread can be had, or the last one hasn't ended yet. It can be started again later.
    pub(super) fn start(&self) -> Result<(), String> {
        let mut control = self.shared.control.lock();
        if control.running {
            return match control.stop_by {
                Some(_) => Err("the statsd pusher has not stopped yet".to_owned()),
                None => Ok(()),
            };
        }
        control.stop_by = None;
        let shared = Arc::clone(&self.shared);
        control.thread = Some(Thread::start("metre-statsd", move || shared.run())?);
        control.running = true;
        Ok(())
    }

    /// Asks the thread to send the last values and to end.
    pub(super) fn begin_stop(&self) {
        let mut control = self.shared.control.lock();
        control.stop_by.get_or_insert(Instant::now() + LAST_PUSH);
        self.shared.changed.notify_all();
    }

    /// Waits for its end. False if it hasn't ended by then: it will as soon as the system lets it.
    pub(super) fn stop_by(&self, limit: Instant) -> bool {
        let thread = self.shared.control.lock().thread.take();
        thread.is_none_or(|thread| thread.join_by(limit))
    }

    /// Has everything sent, in a second at most.
    ///
    /// # Errors
    /// When the server can't be reached, or that was too short.
    pub(super) fn flush(&self) -> Result<(), String> {
        let mut control = self.shared.control.lock();
        control.asked += 1;
        let mine = control.asked;
        self.shared.changed.notify_all();
        let limit = Instant::now() + FLUSH;
        while control.running && control.answered < mine {
            if Instant::now() >= limit {
                return Err("not everything could be sent within a second".to_owned());
            }
            control = self.shared.changed.wait_until(control, limit);
        }
        match control.problem.clone() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }
}

impl<P: Push> Shared<P> {
    /// The thread. Whatever becomes of it, nobody waits for one that has ended.
    fn run(&self) {
        let _ = self.contain("the statsd pusher", || self.work());
        let mut control = self.control.lock();
        control.running = false;
        if control.pusher.is_none() {
            control.problem = Some("the statsd pusher has ended, by an internal error".to_owned());
        }
        self.changed.notify_all();
    }

    fn work(&self) {
        let Some(mut pusher) = self.control.lock().pusher.take() else {
            return;
        };
        let mut due = Instant::now() + pusher.interval();
        let mut earliest = Instant::now();
        loop {
            let next = pusher.retry_at().map_or(due, |retry| retry.min(due));
            let (stop, asked) = self.sleep(&mut pusher, next.max(earliest));
            if stop || asked.is_some() {
                pusher.hurry();
            }
            // Should it panic, the next one goes on from there.
            let pushed = self.contain("a statsd push", || pusher.push(&mut |pause| self.wait(pause)));
            let complete = pushed.unwrap_or(false);
            let now = Instant::now();
            if pushed.is_none() {
                earliest = now + AFTER_PANIC;
            }
            if now >= due {
                due = (due + pusher.interval()).max(now);
            }
            if stop {
                pusher.close(complete);
            }
            let mut control = self.control.lock();
            control.problem =
                (!complete).then(|| pusher.problem().unwrap_or("not everything could be sent").to_owned());
            control.answered = asked.unwrap_or(control.answered);
            self.changed.notify_all();
            if stop {
                control.pusher = Some(pusher);
                return;
            }
        }
    }

    /// Sleeps until a push (or another try) is due, asked for, or the last. Returns whether it is the last, and the number of the flush
    /// that it answers.
    fn sleep(&self, pusher: &mut P, due: Instant) -> (bool, Option<u64>) {
        loop {
            let next = self.contain("the statsd pusher's samples", || {
                self.event_loop.tick();
                let next = self.event_loop.collect_each(pusher.collect_interval());
                if pusher.has_samples() {
                    pusher.take_samples();
                }
                next.min(self.event_loop.next_tick())
            });
            let control = self.control.lock();
            let asked = (control.asked > control.answered).then_some(control.asked);
            if control.stop_by.is_some() || asked.is_some() || Instant::now() >= due {
                return (control.stop_by.is_some(), asked);
            }
            let pause = match pusher.has_samples() {
                true => TICK,
                false => next.unwrap_or(TICK),
            };
            let until = due.min(Instant::now() + pause);
            drop(self.changed.wait_until(control, until));
        }
    }

    /// Runs `work`; `None` if it panics, which is counted and logged.
    fn contain<T>(&self, place: &'static str, work: impl FnOnce() -> T) -> Option<T> {
        let done = panics::contain(place, work);
        done.map_err(|caught| panics::tell(&caught, &self.notices)).ok()
    }

    /// Waits in the middle of a push. False if there is no time left.
    fn wait(&self, pause: Duration) -> bool {
        let mut control = self.control.lock();
        let end = Instant::now() + pause;
        loop {
            let now = Instant::now();
            if control.stop_by.is_some_and(|limit| limit <= now) {
                return false;
            }
            if now >= end {
                return true;
            }
            let until = control.stop_by.map_or(end, |limit| limit.min(end));
            control = self.changed.wait_until(control, until);
        }
    }
}
