//! Messages from threads to the operator: only Prosody's own thread may log.

use super::bell::Bell;
use crate::sync::{Mutex, ThreadsMutex};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// More than this nobody would read; the oldest go first.
const MOST: usize = 100;

/// The levels of Prosody's logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the record.
    Info,
    /// Something the operator should look at.
    Warn,
    /// A fault in metre.
    Error,
}

impl Level {
    /// As Prosody's logger calls it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Messages on their way to Prosody's thread.
pub(super) struct Notices {
    queue: Mutex<VecDeque<(Level, String)>>,
    /// What has been logged of that which is logged only once: panics of threads.
    once: ThreadsMutex<HashSet<&'static str>>,
    bell: Arc<Bell>,
}

impl Notices {
    /// None yet; the bell is rung when there are some.
    pub(super) fn new(bell: &Arc<Bell>) -> Notices {
        Notices {
            queue: Mutex::default(),
            once: ThreadsMutex::default(),
            bell: Arc::clone(bell),
        }
    }

    /// Adds a message, and wakes whoever watches the bell.
    pub(super) fn add(&self, level: Level, message: String) {
        let mut queue = self.queue.lock();
        if queue.len() == MOST {
            queue.pop_front();
        }
        queue.push_back((level, message));
        drop(queue);
        self.bell.ring();
    }

    /// Adds a message, unless there was one about the same before. For metre's own threads.
    pub(super) fn add_once(&self, about: &'static str, level: Level, message: String) {
        if self.once.lock().insert(about) {
            self.add(level, message);
        }
    }

    /// Takes out all messages.
    pub(super) fn take(&self) -> Vec<(Level, String)> {
        self.queue.lock().drain(..).collect()
    }
}
