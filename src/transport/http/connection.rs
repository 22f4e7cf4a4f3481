//! What each client is doing, since when, and what it holds meanwhile.

use super::body::Load;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// How long a request may take to arrive, from its first byte (the first one: from the connection) to the end of its head.
    pub header_time: Duration,
    /// How long a connection may stay without a request.
    pub idle_time: Duration,
    /// How long a client may take to fetch an answer, once all of it has been made.
    pub send_time: Duration,
    /// Memory for answers on their way, in bytes; the latest one may be larger.
    pub answers: usize,
}

/// Answers up to this, in bytes, don't count.
const SMALL: usize = 64 << 10;

/// Why a connection was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// No request for too long.
    Idle,
    /// A request took too long to arrive.
    SlowRequest,
    /// An answer took too long to be fetched.
    SlowAnswer,
    /// To make room for another one.
    Room,
}

impl Cut {
    /// All reasons.
    pub const ALL: [Cut; 4] = [Cut::Idle, Cut::SlowRequest, Cut::SlowAnswer, Cut::Room];

    /// Its name as a label value.
    pub fn name(self) -> &'static str {
        match self {
            Cut::Idle => "idle",
            Cut::SlowRequest => "slow_request",
            Cut::SlowAnswer => "slow_answer",
            Cut::Room => "room",
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Between two requests.
    Idle,
    /// In the middle of a request's head, or before the first one.
    Reading,
    /// We are at it; a part of the answer may be on its way.
    Answering,
    /// The client fetches the answer.
    Sending,
}

/// One connection.
pub(super) struct Connection {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// What the answer holds in memory that it was given.
    load: RefCell<Option<Load>>,
    /// Whether hyper has all of that answer.
    taken: Cell<bool>,
    /// Whether its address is allowed.
    wanted: bool,
    cut: Notify,
}

impl Connection {
    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// Something has been read.
    pub(super) fn reading(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Reading);
        }
    }

    /// A request has arrived.
    pub(super) fn answering(&self) {
        self.load.replace(None);
        self.taken.set(false);
        self.enter(Phase::Answering);
    }

    /// It has its answer, of which a part may still be made.
    pub(super) fn answered(&self, load: &Load) {
        self.load.replace(Some(load.clone()));
    }

    /// All of the answer that holds this has been made: from now on it is the client that takes time.
    pub(super) fn made(&self, load: &Load) {
        // Or it has been fetched already, and the next answer may be under way.
        let is_under_way = self.load.borrow().as_ref().is_some_and(|latest| latest.is(load));
        if self.phase.get() == Phase::Answering && is_under_way {
            self.enter(Phase::Sending);
        }
    }

    /// hyper has all of the answer.
    pub(super) fn taken(&self) {
        self.taken.set(true);
        if self.phase.get() != Phase::Sending {
            self.enter(Phase::Sending);
        }
    }

    /// The socket has taken all there was.
    pub(super) fn flushed(&self) {
        if self.phase.get() == Phase::Sending && self.taken.get() {
            self.load.replace(None);
            self.enter(Phase::Idle);
        }
    }

    /// Returns when the connection is to be ended.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}

/// A connection had to go for another one.
pub(super) struct Evicted {
    /// Whether we were at its answer.
    pub(super) was_busy: bool,
}

/// All connections.
pub(super) struct Connections {
    limits: Limits,
    all: RefCell<Vec<Rc<Connection>>>,
    gone: Notify,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Connections {
        Connections {
            limits,
            all: RefCell::default(),
            gone: Notify::new(),
        }
    }

    /// Takes in a new one. If there is no room, another one goes, which is told as the second: the one that has been waiting for its
    /// client longest, so that a newcomer has its time, or else the one that waits for us longest. An unwanted one takes the place
    /// of its like only, so there may be none for it.
    pub(super) fn admit(&self, wanted: bool) -> Option<(Rc<Connection>, Option<Evicted>)> {
        let mut evicted = None;
        if self.all.borrow().len() >= self.limits.connections {
            evicted = Some(self.evict(|other| wanted || !other.wanted)?);
        }
        let connection = Rc::new(Connection {
            phase: Cell::new(Phase::Reading),
            since: Cell::new(Instant::now()),
            load: RefCell::new(None),
            taken: Cell::new(false),
            wanted,
            cut: Notify::new(),
        });
        self.all.borrow_mut().push(Rc::clone(&connection));
        Some((connection, evicted))
    }

    /// Ends the connection that has been waiting for its client longest, if one is.
    pub(super) fn evict_waiting(&self) -> Option<Evicted> {
        self.evict(|connection| connection.phase.get() != Phase::Answering)
    }

    fn evict(&self, may_go: impl Fn(&Connection) -> bool) -> Option<Evicted> {
        let is_busy = |connection: &Connection| connection.phase.get() == Phase::Answering;
        let order = |connection: &&Rc<Connection>| (connection.wanted, is_busy(connection), connection.since.get());
        let all = self.all.borrow();
        let candidates = all.iter().filter(|connection| may_go(connection));
        let victim = Rc::clone(candidates.min_by_key(order)?);
        drop(all);
        let was_busy = is_busy(&victim);
        self.end(&victim);
        Some(Evicted { was_busy })
    }

    /// Ends all that wait for their clients' requests.
    pub(super) fn end_waiting(&self) {
        let waits = |connection: &&Rc<Connection>| matches!(connection.phase.get(), Phase::Idle | Phase::Reading);
        let waiting: Vec<_> = self.all.borrow().iter().filter(waits).cloned().collect();
        waiting.iter().for_each(|connection| self.end(connection));
    }

    /// Ends connections that fetch their answers longest until those on their way fit, but for the one of `latest`, whose answer
    /// has been made. Returns how many. A small answer needs no room made.
    pub(super) fn make_room_for(&self, latest: &Connection) -> usize {
        let mut ended = 0;
        let large = |connection: &Connection| {
            let load = connection.load.borrow();
            let load = load.as_ref().map(|load| (load.shared, load.bytes()));
            load.filter(|(_, bytes)| *bytes > SMALL)
        };
        let Some(answer) = large(latest) else {
            return ended;
        };
        loop {
            // Clients that asked together share an answer.
            let mut answers = HashMap::from([answer]);
            let mut oldest: Option<Rc<Connection>> = None;
            for connection in &*self.all.borrow() {
                let is_other = !std::ptr::eq(&raw const **connection, latest);
                let fetches = is_other && connection.phase.get() == Phase::Sending;
                let Some((shared, bytes)) = large(connection).filter(|_| fetches) else {
                    continue;
                };
                let most = answers.entry(shared).or_default();
                *most = bytes.max(*most);
                if oldest
                    .as_ref()
                    .is_none_or(|oldest| connection.since.get() < oldest.since.get())
                {
                    oldest = Some(Rc::clone(connection));
                }
            }
            match oldest {
                Some(oldest) if answers.values().sum::<usize>() > self.limits.answers => self.end(&oldest),
                _ => return ended,
            }
            ended += 1;
        }
    }

    /// Ends all that have taken too long, and says why.
    pub(super) fn end_overdue(&self) -> Vec<Cut> {
        let now = Instant::now();
        let overdue = |connection: &Rc<Connection>| {
            let (limit, why) = match connection.phase.get() {
                Phase::Idle => (self.limits.idle_time, Cut::Idle),
                Phase::Reading => (self.limits.header_time, Cut::SlowRequest),
                Phase::Sending => (self.limits.send_time, Cut::SlowAnswer),
                Phase::Answering => return None,
            };
            (now.duration_since(connection.since.get()) > limit).then(|| (Rc::clone(connection), why))
        };
        let overdue: Vec<_> = self.all.borrow().iter().filter_map(overdue).collect();
        overdue.iter().for_each(|(connection, _)| self.end(connection));
        overdue.into_iter().map(|(_, why)| why).collect()
    }

    fn end(&self, connection: &Rc<Connection>) {
        connection.cut.notify_one();
        self.remove(connection);
    }

    /// Forgets one that has ended.
    pub(super) fn remove(&self, connection: &Rc<Connection>) {
        self.all.borrow_mut().retain(|other| !Rc::ptr_eq(other, connection));
        self.gone.notify_one();
    }

    /// Whether this one is still there.
    pub(super) fn has(&self, connection: &Rc<Connection>) -> bool {
        self.all.borrow().iter().any(|other| Rc::ptr_eq(other, connection))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.borrow().len()
    }

    /// Returns when none is left.
    pub(super) async fn all_gone(&self) {
        while self.count() > 0 {
            self.gone.notified().await;
        }
    }
}
