//! Collections: Prosody asks all modules to set their gauges. Scrapes and workers share them.

use crate::model::clock;
use crate::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// When scrapes ask for collections, and how long they wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Collecting {
    /// How long a scrape waits for its collection.
    pub timeout: Duration,
    /// How old the last collection may be for a scrape to share it.
    pub min_interval: Duration,
}

/// What came of a scrape's wish for fresh values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collected {
    /// They are collected regularly, or nobody can be asked.
    NotAsked,
    /// A collection was run.
    Run,
    /// Somebody else's collection did.
    Shared,
    /// The loop didn't answer in time.
    Late,
    /// A module raised an error.
    Failed,
}

impl Collected {
    /// Its name as a label value.
    pub(super) fn name(self) -> &'static str {
        match self {
            Collected::NotAsked => "not_asked",
            Collected::Run => "run",
            Collected::Shared => "shared",
            Collected::Late => "late",
            Collected::Failed => "failed",
        }
    }
}

/// Which collections were wanted, run and ended.
pub(super) struct Collections {
    state: Mutex<State>,
    /// Changes with the end of each collection; whether it succeeded.
    ends: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// When the last one ended, and whether it succeeded.
    last: Option<(Instant, bool)>,
    /// When the last one that succeeded ended, in seconds since the epoch.
    succeeded: Option<f64>,
    /// A scrape or a worker wants one that has not begun.
    wanted: bool,
    /// One that they wanted has begun.
    running: bool,
}

impl State {
    /// Wants a collection, unless one is on its way. True if nobody has wanted that one yet.
    fn want(&mut self) -> bool {
        let first = !self.wanted && !self.running;
        self.wanted |= first;
        first
    }
}

impl Default for Collections {
    fn default() -> Collections {
        Collections {
            state: Mutex::default(),
            ends: watch::Sender::new(true),
        }
    }
}

impl Collections {
    /// When the last one that succeeded ended, in seconds since the epoch.
    pub(super) fn last_success(&self) -> Option<f64> {
        self.state.lock().succeeded
    }

    /// Wants a collection, unless one is on its way. True if Prosody has to be asked for it.
    pub(super) fn want(&self) -> bool {
        self.state.lock().want()
    }

    /// How long the last one is still younger than `interval`.
    pub(super) fn time_left(&self, interval: Duration) -> Duration {
        let age = self.state.lock().last.map(|(last, _)| last.elapsed());
        age.map_or(Duration::ZERO, |age| interval.saturating_sub(age))
    }

    /// Whether a collection has to be run now. For Prosody's thread.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        state.running |= std::mem::take(&mut state.wanted);
        state.running
    }

    /// One has ended, whoever wanted it. For Prosody's thread.
    pub(super) fn ended(&self, succeeded: bool) {
        let mut state = self.state.lock();
        state.last = Some((Instant::now(), succeeded));
        if succeeded {
            state.succeeded = Some(clock::now());
        }
        state.wanted = false;
        state.running = false;
        self.ends.send_replace(succeeded);
    }

    /// There will be none any more; who waits for one needn't any longer.
    pub(super) fn end(&self) {
        *self.state.lock() = State::default();
        self.ends.send_replace(false);
    }

    /// Waits for a collection that is new enough. `ask` asks Prosody for one.
    pub(super) async fn refresh(&self, collecting: Collecting, ask: impl FnOnce()) -> Collected {
        let (mut ends, first) = {
            let mut state = self.state.lock();
            match state.last {
                Some((last, succeeded)) if last.elapsed() < collecting.min_interval => {
                    return match succeeded {
                        true => Collected::Shared,
                        false => Collected::Failed,
                    };
                }
                _ => {}
            }
            // Before anybody can end it.
            (self.ends.subscribe(), state.want())
        };
        if first {
            ask();
        }
        match timeout(collecting.timeout, ends.changed()).await {
            Err(_) => Collected::Late,
            Ok(_) if !*ends.borrow() => Collected::Failed,
            Ok(_) if first => Collected::Run,
            Ok(_) => Collected::Shared,
        }
    }
}
