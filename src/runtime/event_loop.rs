//! Prosody's event loop as the other threads see it: whether it answers, and how it is asked for a collection.

use super::bell::Bell;
use super::collections::{Collected, Collecting, Collections};
use super::metrics::{self, OwnFamily};
use super::notices::{Level, Notices};
use crate::store::Store;
use crate::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the loop is asked whether it is there.
const BEAT: Duration = Duration::from_secs(1);

/// Who ticks each second, too, may come that much early.
const SLACK: Duration = Duration::from_millis(50);

/// A silence that is logged, and until the next one is.
const SILENCE: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_secs(60);

/// Whoever is silent for that long doesn't serve.
const NOT_READY: Duration = Duration::from_secs(5);

/// The event loop.
pub(super) struct EventLoop {
    bell: Arc<Bell>,
    notices: Arc<Notices>,
    /// Whether the loop watches the bell.
    watched: AtomicBool,
    /// Whether collections are run only when somebody asks.
    manual: AtomicBool,
    /// Times below are counted from here.
    start: Instant,
    /// When the loop was asked whether it is there, in microseconds; 0 once it has answered.
    asked: AtomicU64,
    /// Whether it has ever answered since it watches the bell.
    answers: AtomicBool,
    /// When it may be asked again, in microseconds.
    next: AtomicU64,
    /// How late the answers were. Prosody's thread alone locks this.
    lag: Mutex<OwnFamily>,
    /// When a silence was logged; likewise.
    logged: Mutex<Option<Instant>>,
    collections: Collections,
}

impl EventLoop {
    pub(super) fn new(bell: &Arc<Bell>, notices: &Arc<Notices>, store: &Store) -> EventLoop {
        EventLoop {
            bell: Arc::clone(bell),
            notices: Arc::clone(notices),
            logged: Mutex::new(None),
            watched: AtomicBool::new(false),
            manual: AtomicBool::new(false),
            start: Instant::now(),
            asked: AtomicU64::new(0),
            answers: AtomicBool::new(false),
            next: AtomicU64::new(0),
            lag: Mutex::new(metrics::event_loop_lag(store)),
            collections: Collections::default(),
        }
    }

    /// From now on the loop watches the bell. With `manual` it runs collections only when somebody asks.
    pub(super) fn is_watched(&self, manual: bool) {
        self.manual.store(manual, Relaxed);
        self.asked.store(0, Relaxed);
        self.answers.store(false, Relaxed);
        self.watched.store(true, Relaxed);
    }

    /// From now on nobody watches the bell; who waits for a collection needn't any longer.
    pub(super) fn is_unwatched(&self) {
        self.watched.store(false, Relaxed);
        self.asked.store(0, Relaxed);
        self.collections.end();
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Asks the loop whether it is there, unless it has been asked within the last second or hasn't answered yet. Any
    /// thread may call this at any time.
    pub(super) fn tick(&self) {
        let (now, due) = (self.now(), self.next.load(Relaxed));
        if now + (SLACK.as_micros() as u64) < due || !self.watched.load(Relaxed) || self.asked.load(Relaxed) != 0 {
            return;
        }
        let next = now + BEAT.as_micros() as u64;
        if self.next.compare_exchange(due, next, Relaxed, Relaxed).is_ok() {
            self.asked.store(now.max(1), Relaxed);
            self.bell.ring();
        }
    }

    /// How long from now [`EventLoop::tick`] has something to do.
    pub(super) fn next_tick(&self) -> Duration {
        let left = Duration::from_micros(self.next.load(Relaxed).saturating_sub(self.now()));
        match left.is_zero() {
            // It waits for an answer, or nobody watches.
            true => BEAT,
            false => left,
        }
    }

    /// How long the loop has not answered.
    pub(super) fn blocked(&self) -> Duration {
        match self.asked.load(Relaxed) {
            0 => Duration::ZERO,
            asked => Duration::from_micros(self.now().saturating_sub(asked)),
        }
    }

    /// Whether the loop has answered within the last five seconds, as far as it was asked.
    ///
    /// # Errors
    /// If it has not; why, for those who asked.
    pub(super) fn is_ready(&self) -> Result<(), String> {
        let blocked = self.blocked();
        if !self.watched.load(Relaxed) {
            Err("Prosody's event loop does not run yet, or no longer".to_owned())
        } else if blocked >= NOT_READY || !self.answers.load(Relaxed) {
            let seconds = blocked.as_secs_f64();
            Err(format!("Prosody's event loop has not answered for {seconds:.1} s"))
        } else {
            Ok(())
        }
    }

    /// When the last collection ended, in seconds since the epoch.
    pub(super) fn last_collection(&self) -> Option<f64> {
        self.collections.last_success()
    }

    /// The loop has heard the bell. Whether it has to run a collection. For Prosody's thread.
    pub(super) fn answer(&self) -> bool {
        self.bell.heard();
        let asked = self.asked.swap(0, Relaxed);
        if asked != 0 {
            self.answers.store(true, Relaxed);
            let lag = Duration::from_micros(self.now().saturating_sub(asked));
            self.lag.lock().sample(&[], lag.as_secs_f64());
            self.log_silence(lag);
        }
        self.collections.begin()
    }

    /// Has a long silence logged.
    fn log_silence(&self, lag: Duration) {
        let mut logged = self.logged.lock();
        if lag >= SILENCE && logged.is_none_or(|last| last.elapsed() >= QUIET) {
            *logged = Some(Instant::now());
            let message = format!("Prosody's event loop has not answered for {:.1} s", lag.as_secs_f64());
            self.notices.add(Level::Warn, message);
        }
    }

    /// A collection has ended, whoever wanted it. For Prosody's thread.
    pub(super) fn collected(&self, succeeded: bool) {
        self.collections.ended(succeeded);
    }

    /// Whether somebody has to ask for collections, and there is somebody to be asked.
    fn collects_when_asked(&self) -> bool {
        self.manual.load(Relaxed) && self.watched.load(Relaxed)
    }

    /// Has the values collected, if somebody has to ask for that and the last collection, whoever wanted it, is older than
    /// `interval`. Waits for nothing, and asks once, however long it takes. Returns after which time to call again. Any thread
    /// may call this at any time.
    pub(super) fn collect_each(&self, interval: Duration) -> Duration {
        if !self.collects_when_asked() {
            return BEAT;
        }
        let left = self.collections.time_left(interval);
        if !left.is_zero() {
            return left;
        }
        if self.collections.want() {
            self.bell.ring();
        }
        BEAT
    }

    /// Has the values collected, if somebody has to ask for that, and waits for it.
    pub(super) async fn refresh(&self, collecting: Collecting) -> Collected {
        if !self.collects_when_asked() {
            return Collected::NotAsked;
        }
        self.collections.refresh(collecting, || self.bell.ring()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLECTING: Collecting = Collecting {
        timeout: Duration::from_millis(50),
        min_interval: Duration::from_secs(60),
    };

    fn new(bell: &Arc<Bell>, store: &Store) -> EventLoop {
        EventLoop::new(bell, &Arc::new(Notices::new(bell)), store)
    }

    fn run<T>(future: impl std::future::Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn scrapes_share_a_collection() {
        let bell = Arc::new(Bell::default());
        let event_loop = new(&bell, &Store::new());
        let _descriptor = bell.open().unwrap();
        assert_eq!(run(event_loop.refresh(COLLECTING)), Collected::NotAsked);
        event_loop.is_watched(false);
        assert_eq!(run(event_loop.refresh(COLLECTING)), Collected::NotAsked);
        event_loop.is_watched(true);
        // Nobody is there.
        assert_eq!(run(event_loop.refresh(COLLECTING)), Collected::Late);
        // The wish stays, and is fulfilled once.
        assert!(event_loop.answer());
        // A scrape that comes meanwhile is served by that one.
        let (outcome, ()) =
            run(async { tokio::join!(event_loop.refresh(COLLECTING), async { event_loop.collected(true) }) });
        assert_eq!(outcome, Collected::Shared);
        assert!(!event_loop.answer());
        assert_eq!(run(event_loop.refresh(COLLECTING)), Collected::Shared);
        assert!(!event_loop.answer());
        assert!(event_loop.last_collection().unwrap() > 1.7e9);
        let at_once = Collecting {
            min_interval: Duration::ZERO,
            ..COLLECTING
        };
        let (first, second, ()) = run(async {
            tokio::join!(event_loop.refresh(at_once), event_loop.refresh(at_once), async {
                assert!(event_loop.answer());
                event_loop.collected(true);
            })
        });
        assert_eq!((first, second), (Collected::Run, Collected::Shared));
        assert!(!event_loop.answer());
    }

    #[test]
    fn a_pusher_shares_collections_and_asks_once() {
        let bell = Arc::new(Bell::default());
        let event_loop = new(&bell, &Store::new());
        let _descriptor = bell.open().unwrap();
        let hour = Duration::from_secs(3600);
        // Nobody is there yet, or Prosody collects by itself.
        assert_eq!(event_loop.collect_each(hour), BEAT);
        event_loop.is_watched(false);
        assert_eq!(event_loop.collect_each(hour), BEAT);
        assert!(!event_loop.answer());
        event_loop.is_watched(true);
        // However often it asks while nobody answers.
        for _ in 0..1000 {
            assert_eq!(event_loop.collect_each(Duration::ZERO), BEAT);
        }
        assert!(event_loop.answer());
        // One that has begun will do, also for a scrape that comes meanwhile.
        assert_eq!(event_loop.collect_each(hour), BEAT);
        let (outcome, ()) =
            run(async { tokio::join!(event_loop.refresh(COLLECTING), async { event_loop.collected(true) }) });
        assert_eq!(outcome, Collected::Shared);
        assert!(!event_loop.answer());
        let left = event_loop.collect_each(hour);
        assert!(left > hour / 2 && left <= hour, "{left:?}");
        assert_eq!(run(event_loop.refresh(COLLECTING)), Collected::Shared);
        assert!(!event_loop.answer());
        // A module that fails does so once an interval.
        event_loop.collected(false);
        assert!(event_loop.collect_each(hour) > hour / 2);
        assert!(!event_loop.answer());
        event_loop.collect_each(Duration::ZERO);
        event_loop.is_unwatched();
        assert_eq!(event_loop.collect_each(Duration::ZERO), BEAT);
        assert!(!event_loop.answer());
    }

    #[test]
    fn failures_and_the_end_keep_nobody_waiting() {
        let bell = Arc::new(Bell::default());
        let event_loop = new(&bell, &Store::new());
        let patient = Collecting {
            timeout: Duration::from_secs(60),
            ..COLLECTING
        };
        event_loop.is_watched(true);
        let (outcome, ()) =
            run(async { tokio::join!(event_loop.refresh(patient), async { event_loop.collected(false) }) });
        assert_eq!(outcome, Collected::Failed);
        // Nor does each scrape have the module fail again.
        assert_eq!(run(event_loop.refresh(patient)), Collected::Failed);
        assert!(!event_loop.answer());
        let patient = Collecting {
            min_interval: Duration::ZERO,
            ..patient
        };
        let (outcome, ()) =
            run(async { tokio::join!(event_loop.refresh(patient), async { event_loop.is_unwatched() }) });
        assert_eq!(outcome, Collected::Failed);
    }

    #[test]
    fn silence_is_measured() {
        let store = Store::new();
        let event_loop = new(&Arc::new(Bell::default()), &store);
        event_loop.tick();
        assert_eq!(event_loop.blocked(), Duration::ZERO);
        event_loop.is_watched(false);
        event_loop.tick();
        std::thread::sleep(Duration::from_millis(2));
        assert!(event_loop.blocked() >= Duration::from_millis(2));
        event_loop.answer();
        assert_eq!(event_loop.blocked(), Duration::ZERO);
        // Not again within a second.
        event_loop.tick();
        assert_eq!(event_loop.blocked(), Duration::ZERO);
        assert!(event_loop.next_tick() > Duration::from_millis(500));
        assert_eq!(store.families()["metre_event_loop_lag_seconds"].series_count(), 1);
    }

    #[test]
    fn it_is_ready_while_it_answers() {
        let mut event_loop = new(&Arc::new(Bell::default()), &Store::new());
        event_loop.start -= Duration::from_secs(60);
        let never = Err("Prosody's event loop does not run yet, or no longer".to_owned());
        assert_eq!(event_loop.is_ready(), never);
        event_loop.is_watched(false);
        assert!(event_loop
            .is_ready()
            .unwrap_err()
            .contains("has not answered for 0.0 s"));
        // A bell that somebody else has rung is no question.
        event_loop.answer();
        assert!(event_loop.is_ready().is_err());
        event_loop.tick();
        assert!(event_loop.is_ready().is_err());
        event_loop.answer();
        assert_eq!(event_loop.is_ready(), Ok(()));
        // A question under way.
        event_loop.asked.store(event_loop.now() - 4_000_000, Relaxed);
        assert_eq!(event_loop.is_ready(), Ok(()));
        event_loop.asked.store(event_loop.now() - 7_000_000, Relaxed);
        let told = event_loop.is_ready().unwrap_err();
        assert!(
            told.starts_with("Prosody's event loop has not answered for 7."),
            "{told}"
        );
        event_loop.answer();
        assert_eq!(event_loop.is_ready(), Ok(()));
        event_loop.is_unwatched();
        assert_eq!(event_loop.is_ready(), never);
        event_loop.is_watched(false);
        assert!(event_loop.is_ready().is_err());
    }
}
