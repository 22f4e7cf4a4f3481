//! What each client is doing, since when, and what it holds meanwhile.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
    /// How long a client may take to fetch an answer.
    pub send_time: Duration,
    /// Memory for answers on their way, in bytes; the latest one may be larger.
    pub answers: usize,
}

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
    /// We are at it.
    Answering,
    /// The client fetches the answer: so many bytes at this address.
    Sending(usize, usize),
}

/// What is known of a client; the least goes first when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// Its address is not allowed.
    Unwanted,
    /// It hasn't sent a request yet.
    Unknown,
    /// It has passed the access check.
    Known,
}

/// One connection.
pub(super) struct Connection {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    trust: Cell<Trust>,
    /// Whether something of the next request has come already.
    early: Cell<bool>,
    cut: Notify,
}

impl Connection {
    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// A request has arrived.
    pub(super) fn answering(&self) {
        self.enter(Phase::Answering);
    }

    /// A request has passed the access check.
    pub(super) fn trust(&self) {
        self.trust.set(Trust::Known);
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

    /// Takes in a new one. If there is no room, another one goes, which is told as the second. An unwanted one takes the place of its
    /// like only, so there may be none for it.
    pub(super) fn admit(&self, trust: Trust) -> Option<(Rc<Connection>, Option<Evicted>)> {
        let mut evicted = None;
        if self.all.borrow().len() >= self.limits.connections {
            let most = if trust == Trust::Unwanted { trust } else { Trust::Known };
            evicted = Some(self.evict(most)?);
        }
        let connection = Rc::new(Connection {
            phase: Cell::new(Phase::Reading),
            since: Cell::new(Instant::now()),
            trust: Cell::new(trust),
            early: Cell::new(false),
            cut: Notify::new(),
        });
        self.all.borrow_mut().push(Rc::clone(&connection));
        Some((connection, evicted))
    }

    /// Ends the connection that has been waiting for its client longest, among those trusted least and no more than that; if there is
    /// none, the one that waits for us longest.
    pub(super) fn evict(&self, most: Trust) -> Option<Evicted> {
        let is_busy = |connection: &Connection| connection.phase.get() == Phase::Answering;
        let order =
            |connection: &&Rc<Connection>| (is_busy(connection), connection.trust.get(), connection.since.get());
        let all = self.all.borrow();
        let victim = all
            .iter()
            .filter(|connection| connection.trust.get() <= most)
            .min_by_key(order)?;
        let (victim, was_busy) = (Rc::clone(victim), is_busy(victim));
        drop(all);
        self.end(&victim);
        Some(Evicted { was_busy })
    }

    /// Ends all that wait for their clients' requests.
    pub(super) fn end_waiting(&self) {
        let waits = |connection: &&Rc<Connection>| matches!(connection.phase.get(), Phase::Idle | Phase::Reading);
        let waiting: Vec<_> = self.all.borrow().iter().filter(waits).cloned().collect();
        waiting.iter().for_each(|connection| self.end(connection));
    }

    /// Ends connections that fetch their answers longest until those on their way fit, but for the one of `latest`. Returns how
    /// many.
    pub(super) fn make_room_for(&self, latest: &Connection, answer: &Bytes) -> usize {
        let mut ended = 0;
        loop {
            // Clients that asked together share an answer.
            let mut answers = HashMap::from([(answer.as_ptr() as usize, answer.len())]);
            let mut oldest: Option<Rc<Connection>> = None;
            for connection in &*self.all.borrow() {
                if let (Phase::Sending(at, length), false) =
                    (connection.phase.get(), std::ptr::eq(&raw const **connection, latest))
                {
                    answers.insert(at, length);
                    if oldest
                        .as_ref()
                        .is_none_or(|oldest| connection.since.get() < oldest.since.get())
                    {
                        oldest = Some(Rc::clone(connection));
                    }
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
                Phase::Sending(..) => (self.limits.send_time, Cut::SlowAnswer),
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

/// A client's socket, which tells its connection what happens.
pub(super) struct Watched<S> {
    pub(super) socket: S,
    pub(super) connection: Rc<Connection>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, out))?;
        if out.filled().len() > before {
            match self.connection.phase.get() {
                Phase::Idle => self.connection.enter(Phase::Reading),
                Phase::Reading => {}
                Phase::Answering | Phase::Sending(..) => self.connection.early.set(true),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    /// hyper asks for this only when the socket has taken everything.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        if matches!(self.connection.phase.get(), Phase::Sending(..)) {
            let early = self.connection.early.take();
            self.connection.enter(if early { Phase::Reading } else { Phase::Idle });
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// An answer's body.
pub(super) struct Answer {
    bytes: Bytes,
    taken: bool,
    connection: Rc<Connection>,
}

impl Answer {
    pub(super) fn new(bytes: Bytes, connection: Rc<Connection>) -> Answer {
        Answer {
            taken: bytes.is_empty(),
            bytes,
            connection,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match std::mem::replace(&mut self.taken, true) {
            false => Poll::Ready(Some(Ok(Frame::data(self.bytes.clone())))),
            true => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

impl Drop for Answer {
    /// hyper has it in its buffer by now, or doesn't need it (HEAD).
    fn drop(&mut self) {
        let (at, length) = (self.bytes.as_ptr() as usize, self.bytes.len());
        self.connection.enter(Phase::Sending(at, length));
    }
}
