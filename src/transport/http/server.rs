//! Listening, accepting, and one conversation for each connection.

use super::access::{Audience, Denied};
use super::address::Listener;
use super::body::Load;
use super::connection::{Connection, Connections, Cut, Evicted};
use super::token::TokenFile;
use super::watched::{Answer, Watched};
use super::{plain, Event, Head, Options, Site};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderValue, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{spawn_local, yield_now, JoinSet};
use tokio::time::{interval, sleep, timeout, MissedTickBehavior};

/// Until a port that is taken is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Until another connection is accepted when the system couldn't.
const PAUSE: Duration = Duration::from_millis(200);

/// What the system says if there are no descriptors left for this process, or at all.
const NO_DESCRIPTORS: i32 = Errno::EMFILE as i32;
const NONE_IN_SYSTEM: i32 = Errno::ENFILE as i32;

/// How often it is seen to that a socket's file is still there.
const LOOK: Duration = Duration::from_secs(5);

/// How often connections are looked at, and the site's [`Site::tick`] is called.
const TICK: Duration = Duration::from_secs(1);

/// How long answers under way may take when the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The longest head of a request, in bytes, and its most fields.
const LONGEST_HEAD: usize = 16 << 10;
const MOST_FIELDS: usize = 64;

/// Serves until `stop` turns true, and a second at most beyond that. Runs in a `LocalSet`.
pub async fn serve<S: Site>(options: Options, site: Rc<S>, mut stop: watch::Receiver<bool>) {
    let server = Rc::new(Server {
        connections: Connections::new(options.limits),
        site,
        token: options.access.token_file.as_deref().map(TokenFile::new),
        token_missing: Cell::new(false),
        token_remark: RefCell::new(None),
        options,
        stop: stop.clone(),
    });
    if let Some(token) = &server.token {
        // So that the operator hears of it before a scraper does.
        server.knows(token);
    }
    let mut tasks = JoinSet::new();
    for number in 0..server.options.listen.len() {
        tasks.spawn_local(Rc::clone(&server).listen(number));
    }
    tasks.spawn_local(Rc::clone(&server).tick());
    loop {
        tokio::select! {
            // An error would mean that nobody can ask for the end any more, which is a reason to end.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = tasks.join_next() => {
                // They don't end by themselves. Who called this has to know.
                if let Some(panic) = ended.err().and_then(|ended| ended.try_into_panic().ok()) {
                    resume_unwind(panic);
                }
            }
        }
    }
    tasks.shutdown().await;
    server.connections.end_waiting();
    let _ = timeout(LAST_ANSWERS, server.connections.all_gone()).await;
}

/// A server: tasks of one thread, which take turns and share this without locks.
///
/// A task for each address listens there and accepts ([`Server::listen`]). Each connection has a task that converses with
/// its client ([`Server::converse`]): hyper reads requests from a socket that notes what it does ([`Watched`]), and has them
/// answered ([`Server::answer`]) after who asks has been checked. What each client is doing stands in `connections`, for
/// those who end connections: one more task ticks each second and cuts who has taken too long, and a connection that is
/// accepted when there are too many has another one cut. A task that is cut ends by itself.
struct Server<S> {
    options: Options,
    /// What is served, and who learns of what happens.
    site: Rc<S>,
    /// The file with the tokens, if requests need one.
    token: Option<TokenFile>,
    /// Whether that file couldn't be used when it was last looked at.
    token_missing: Cell<bool>,
    /// What was last found wrong with it.
    token_remark: RefCell<Option<String>>,
    /// All clients, and what each is doing.
    connections: Connections,
    /// Becomes true when the server is to end: then answers under way are finished, and no request is read any more.
    stop: watch::Receiver<bool>,
}

impl<S: Site> Server<S> {
    async fn tick(self: Rc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for why in self.connections.end_overdue() {
                self.site.note(Event::Cut(why));
            }
            self.site.tick();
        }
    }

    async fn listen(self: Rc<Self>, number: usize) {
        let address = &self.options.listen[number];
        let mut reported = None;
        loop {
            match address.listen(self.options.socket_mode) {
                Ok(listener) => {
                    reported = None;
                    self.site.note(Event::Listening(address));
                    self.accept(&listener).await;
                }
                Err(why) if reported == Some(why.kind()) => {}
                Err(why) => {
                    reported = Some(why.kind());
                    self.site.note(Event::CannotListen(address, why));
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Accepts connections, as long as there is a way to the socket.
    async fn accept(self: &Rc<Self>, listener: &Listener) {
        loop {
            let accepted = match listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(socket, peer)| {
                    // Answers are written at once; if this fails, they may come a little later.
                    let _ = socket.set_nodelay(true);
                    self.admit(socket, Some(peer.ip()));
                }),
                Listener::Unix(file, listener) => match timeout(LOOK, listener.accept()).await {
                    Ok(accepted) => accepted.map(|(socket, _)| self.admit(socket, None)),
                    Err(_) if file.is_in_place() => continue,
                    Err(_) => return self.site.note(Event::FileGone(&file.path)),
                },
            };
            match accepted {
                Ok(()) => {}
                // The client has gone again.
                Err(why) if why.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(why) => {
                    let is_full = matches!(why.raw_os_error(), Some(NO_DESCRIPTORS | NONE_IN_SYSTEM));
                    self.site.note(Event::CannotAccept(why));
                    match is_full.then(|| self.connections.evict_waiting()).flatten() {
                        Some(evicted) => self.evicted(&evicted),
                        None => sleep(PAUSE).await,
                    }
                }
            }
            // So that the new one's request is read, and the old one is gone, before the next one comes.
            yield_now().await;
        }
    }

    fn admit<C: AsyncRead + AsyncWrite + Unpin + 'static>(self: &Rc<Self>, socket: C, peer: Option<IpAddr>) {
        let wanted = self.options.access.check_address(peer).is_ok();
        let Some((connection, evicted)) = self.connections.admit(wanted) else {
            return self.site.note(Event::Cut(Cut::Room));
        };
        if let Some(evicted) = evicted {
            self.evicted(&evicted);
        }
        self.site.note(Event::Connections(self.connections.count()));
        let ends = Ends {
            server: Rc::clone(self),
            connection,
        };
        spawn_local(async move { ends.server.converse(&ends.connection, socket, peer).await });
    }

    fn evicted(&self, evicted: &Evicted) {
        self.site.note(Event::Cut(Cut::Room));
        if evicted.was_busy {
            self.site.note(Event::Full);
        }
    }

    /// Serves one connection to its end.
    async fn converse<C>(self: &Rc<Self>, connection: &Rc<Connection>, socket: C, peer: Option<IpAddr>)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let socket = Watched {
            socket,
            connection: Rc::clone(connection),
        };
        let answer = |request| async move { Ok::<_, Infallible>(self.answer(connection, peer, request).await) };
        let mut http = http1::Builder::new();
        // Times are looked after by `Connections`.
        http.header_read_timeout(None)
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_FIELDS)
            .half_close(true);
        let mut serving = pin!(http.serve_connection(TokioIo::new(socket), service_fn(answer)));
        let mut stop = self.stop.clone();
        let mut stopping = pin!(stop.wait_for(|stop| *stop));
        let mut is_stopping = false;
        let result = loop {
            tokio::select! {
                result = &mut serving => break result,
                () = connection.is_cut() => return,
                _ = &mut stopping, if !is_stopping => {
                    is_stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(why) = result {
            if why.is_parse_too_large() {
                self.site
                    .note(Event::Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
            } else if why.is_parse() {
                self.site.note(Event::Refused(StatusCode::BAD_REQUEST));
            }
        }
    }

    async fn answer(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        peer: Option<IpAddr>,
        request: Request<Incoming>,
    ) -> Response<Answer> {
        connection.answering();
        let has_body = !request.body().is_end_stream();
        let (head, _) = request.into_parts();
        let mut closes = has_body;
        let mut response = match self.check(peer, &head) {
            Err(denied) => {
                let status = denied.status();
                closes = true;
                self.site.note(Event::Denied(denied));
                plain(status)
            }
            Ok(()) => match misshapen(&head, has_body) {
                Some(status) => {
                    self.site.note(Event::Refused(status));
                    plain(status)
                }
                None => self.site.answer(&head).await,
            },
        };
        // hyper leaves it out of an answer to HEAD if it is 0. Where there can't be content it has no place (RFC 9110, section 8.6).
        let length = response.body().length();
        if let Some(length) = length.filter(|_| response.status() != StatusCode::NO_CONTENT) {
            let length = HeaderValue::from(length);
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        if closes {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let load = response.body().load().clone();
        connection.answered(&load);
        match response.body_mut().made() {
            None => self.made(connection, &load),
            Some(made) => {
                let (server, connection) = (Rc::clone(self), Rc::clone(connection));
                spawn_local(async move {
                    // One that couldn't be made to its end takes no more room either.
                    let _ = made.await;
                    if server.connections.has(&connection) {
                        server.made(&connection, &load);
                    }
                });
            }
        }
        response.map(|body| Answer::new(body, Rc::clone(connection)))
    }

    /// All of an answer has been made, which needs room until its client has fetched it.
    fn made(&self, connection: &Connection, load: &Load) {
        connection.made(load);
        for _ in 0..self.connections.make_room_for(connection) {
            self.site.note(Event::Cut(Cut::Room));
        }
    }

    fn check(&self, peer: Option<IpAddr>, head: &Head) -> Result<(), Denied> {
        let audience = self.site.audience(head);
        if audience == Audience::Everybody {
            return Ok(());
        }
        self.options.access.check_address(peer)?;
        let authorization = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        match &self.token {
            Some(token) if audience == Audience::Trusted => {
                match self.knows(token) && token.is_brought(authorization) {
                    true => Ok(()),
                    false => Err(Denied::Token),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a token that could be brought.
    fn knows(&self, token: &TokenFile) -> bool {
        let result = token.refresh();
        let was_missing = self.token_missing.replace(result.is_err());
        if was_missing && result.is_ok() {
            self.site.note(Event::Token(token.path()));
        }
        let remark = match &result {
            Ok(()) => token.flaws(),
            Err(why) => Some(why.to_string()),
        };
        let last = self.token_remark.replace(remark.clone());
        match (&result, &remark) {
            _ if remark == last => {}
            (Ok(()), Some(flaws)) => self.site.note(Event::TokenFlaws(token.path(), flaws)),
            (Err(why), _) => self.site.note(Event::NoToken(token.path(), why)),
            _ => {}
        }
        result.is_ok()
    }
}

/// What is wrong with the form of a request, if something is.
fn misshapen(head: &Head, has_body: bool) -> Option<StatusCode> {
    // "A server MUST respond with a 400 status code to any HTTP/1.1 request message that lacks a Host header field" (RFC 9112,
    // section 3.2).
    if head.version == Version::HTTP_11 && head.headers.get_all(HOST).iter().count() != 1 {
        return Some(StatusCode::BAD_REQUEST);
    }
    // Other methods aren't allowed anyway.
    let takes_none = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method);
    (has_body && takes_none).then_some(StatusCode::PAYLOAD_TOO_LARGE)
}

/// Forgets a connection when it has ended, however it did.
struct Ends<S: Site> {
    server: Rc<Server<S>>,
    connection: Rc<Connection>,
}

impl<S: Site> Drop for Ends<S> {
    fn drop(&mut self) {
        self.server.connections.remove(&self.connection);
        self.server
            .site
            .note(Event::Connections(self.server.connections.count()));
        if std::thread::panicking() {
            self.server.site.note(Event::Panicked);
        }
    }
}
