//! The thread that drives a destination: when it works, and how Prosody's thread talks to it.

use super::{Destination, Names};
use crate::runtime::event_loop::EventLoop;
use crate::runtime::notices::Notices;
use crate::runtime::panics;
use crate::runtime::thread::Thread;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the last push may take.
const LAST_PUSH: Duration = in_time(1400);

/// How long a flush takes at most.
pub(in crate::runtime) const FLUSH: Duration = in_time(1000);

/// Until the next look at what can't wait for a push, after a panic there.
const TICK: Duration = Duration::from_millis(100);

/// Until the next try after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// So many milliseconds; in a model, where no time passes, longer than the machine may take for it.
const fn in_time(milliseconds: u64) -> Duration {
    Duration::from_millis(if cfg!(feature = "model") { 1 << 30 } else { milliseconds })
}

/// A destination and, once started, the thread that drives it.
///
/// Prosody's thread and the worker's share one [`Control`] and one condition. While the thread runs it has the destination;
/// while it doesn't, the destination lies in the control. Prosody's thread asks for a flush by a number or for the end by a
/// time limit, and wakes the thread; the thread looks at both whenever it wakes, also in the middle of a push that waits for
/// its socket, and answers a flush by the number that it has come to. A panic ends one turn: the destination, which is kept
/// outside of it, goes on from there.
pub(in crate::runtime) struct Worker {
    driver: Arc<Driver>,
}

struct Driver {
    names: &'static Names,
    control: Mutex<Control>,
    changed: Condvar,
    notices: Arc<Notices>,
    event_loop: Arc<EventLoop>,
}

struct Control {
    /// While there is no thread.
    destination: Option<Box<dyn Destination>>,
    running: bool,
    thread: Option<Thread>,
    /// Set to end the thread: the time by which it has to.
    stop_by: Option<Instant>,
    /// How many flushes were asked for, how many of them are done, and why the last one didn't send everything, if so.
    asked: u64,
    answered: u64,
    problem: Option<String>,
}

impl Worker {
    pub(in crate::runtime) fn new(
        destination: Box<dyn Destination>,
        notices: &Arc<Notices>,
        event_loop: &Arc<EventLoop>,
    ) -> Worker {
        let names = destination.names();
        let control = Control {
            destination: Some(destination),
            running: false,
            thread: None,
            stop_by: None,
            asked: 0,
            answered: 0,
            problem: None,
        };
        Worker {
            driver: Arc::new(Driver {
                names,
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
    pub(in crate::runtime) fn start(&self) -> Result<(), String> {
        let mut control = self.driver.control.lock();
        if control.running {
            return match control.stop_by {
                Some(_) => Err(format!("{} has not stopped yet", self.driver.names.worker)),
                None => Ok(()),
            };
        }
        control.stop_by = None;
        let driver = Arc::clone(&self.driver);
        control.thread = Some(Thread::start(self.driver.names.thread, move || driver.run())?);
        control.running = true;
        Ok(())
    }

    /// Asks the thread to send the last values and to end.
    pub(in crate::runtime) fn begin_stop(&self) {
        let mut control = self.driver.control.lock();
        control.stop_by.get_or_insert(Instant::now() + LAST_PUSH);
        self.driver.changed.notify_all();
    }

    /// Waits for the thread's end.
    ///
    /// # Errors
    /// What to log if it hasn't ended by `limit`: it will as soon as the system lets it.
    pub(in crate::runtime) fn stop_by(&self, limit: Instant) -> Result<(), String> {
        let thread = self.driver.control.lock().thread.take();
        match thread.is_none_or(|thread| thread.join_by(limit)) {
            true => Ok(()),
            false => Err(self.driver.names.late.to_owned()),
        }
    }

    /// Asks the thread to send everything. Returns the number of this flush, for [`Worker::end_flush`].
    pub(in crate::runtime) fn begin_flush(&self) -> u64 {
        let mut control = self.driver.control.lock();
        control.asked += 1;
        self.driver.changed.notify_all();
        control.asked
    }

    /// Waits until a flush is done.
    ///
    /// # Errors
    /// When the server can't be reached, or not everything was sent by `limit`.
    pub(in crate::runtime) fn end_flush(&self, number: u64, limit: Instant) -> Result<(), String> {
        let mut control = self.driver.control.lock();
        while control.running && control.answered < number {
            if Instant::now() >= limit {
                return Err("not everything could be sent within a second".to_owned());
            }
            control = self.driver.changed.wait_until(control, limit);
        }
        match control.problem.clone() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    /// What is answered to those who want a flush in a process in which the thread doesn't run.
    pub(in crate::runtime) fn does_not_run(&self) -> String {
        format!("{} does not run in this process", self.driver.names.worker)
    }
}

impl Driver {
    /// The thread. Whatever becomes of it, nobody waits for one that has ended.
    fn run(&self) {
        let _ = self.contain(self.names.worker, || self.work());
        let mut control = self.control.lock();
        control.running = false;
        if control.destination.is_none() {
            control.problem = Some(format!("{} has ended, by an internal error", self.names.worker));
        }
        self.changed.notify_all();
    }

    fn work(&self) {
        let Some(mut destination) = self.control.lock().destination.take() else {
            return;
        };
        let mut due = Instant::now() + destination.interval();
        let mut earliest = Instant::now();
        loop {
            let next = destination.retry_at().map_or(due, |retry| retry.min(due));
            let (stop, asked) = self.sleep(&mut *destination, next.max(earliest));
            if stop || asked.is_some() {
                destination.hurry();
            }
            // Should it panic, the next one goes on from there.
            let pushed = self.contain(self.names.push, || destination.push(&mut |pause| self.wait(pause)));
            let complete = pushed.unwrap_or(false);
            let now = Instant::now();
            if pushed.is_none() {
                earliest = now + AFTER_PANIC;
            }
            if now >= due {
                due = (due + destination.interval()).max(now);
            }
            if stop {
                destination.close(complete);
            }
            let mut control = self.control.lock();
            control.problem = (!complete).then(|| {
                destination
                    .problem()
                    .unwrap_or("not everything could be sent")
                    .to_owned()
            });
            control.answered = asked.unwrap_or(control.answered);
            self.changed.notify_all();
            if stop {
                control.destination = Some(destination);
                return;
            }
        }
    }

    /// Sleeps until a push (or another try) is due, asked for, or the last. Returns whether it is the last, and the number of the flush
    /// that it answers.
    fn sleep(&self, destination: &mut dyn Destination, due: Instant) -> (bool, Option<u64>) {
        loop {
            let next = self.contain(self.names.between, || {
                self.event_loop.tick();
                let next = self.event_loop.collect_each(destination.collect_interval());
                let again = destination.between_pushes().unwrap_or(next);
                again.min(next).min(self.event_loop.next_tick())
            });
            let control = self.control.lock();
            let asked = (control.asked > control.answered).then_some(control.asked);
            if control.stop_by.is_some() || asked.is_some() || Instant::now() >= due {
                return (control.stop_by.is_some(), asked);
            }
            let until = due.min(Instant::now() + next.unwrap_or(TICK));
            drop(self.changed.wait_until(control, until));
        }
    }

    /// Runs `work`; `None` if it panics, which is counted and logged.
    fn contain<T>(&self, site: &'static str, work: impl FnOnce() -> T) -> Option<T> {
        let done = panics::contain(site, work);
        done.map_err(|caught| panics::log(&caught, &self.notices)).ok()
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
