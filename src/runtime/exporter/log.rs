//! What the operator hears of the exporter.

use crate::runtime::notices::{Level, Notices};
use crate::runtime::panics;
use crate::transport::http::{Address, Denied, Event};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Until the same is logged again, where clients could have it logged as often as they like.
const AGAIN: Duration = Duration::from_secs(3600);

/// Where requests are answered, for faults.
pub(super) const ANSWER: &str = "an answer to a scrape";

/// How many addresses that are refused are logged in that time.
const MOST_ADDRESSES: usize = 20;

/// The log, as far as the exporter's thread writes to it.
pub(super) struct Log {
    notices: Arc<Notices>,
    addresses: RefCell<HashMap<IpAddr, Instant>>,
    file: LastLogged,
    no_token: LastText,
    token_flaws: LastText,
    token_again: LastLogged,
    token: LastLogged,
    full: LastLogged,
    accept: LastLogged,
}

type LastLogged = Cell<Option<Instant>>;
type LastText = RefCell<Option<(String, Instant)>>;

impl Log {
    pub(super) fn new(notices: Arc<Notices>) -> Log {
        Log {
            notices,
            addresses: RefCell::default(),
            file: Cell::default(),
            no_token: RefCell::default(),
            token_flaws: RefCell::default(),
            token_again: Cell::default(),
            token: Cell::default(),
            full: Cell::default(),
            accept: Cell::default(),
        }
    }

    /// Logs an event, if it is one for the log and wasn't just logged.
    pub(super) fn note(&self, event: &Event<'_>) {
        let (level, message) = match event {
            Event::Listening(Address::Tcp(address)) => {
                (Level::Info, format!("Serving metrics at http://{address}/metrics"))
            }
            Event::Listening(address) => (Level::Info, format!("Serving metrics at {address}")),
            Event::CannotListen(address, why) => {
                let remedy = remedy(address, why.kind());
                let message = format!("Cannot serve metrics at {address}: {why}{remedy}; tried again until it works");
                (Level::Warn, message)
            }
            Event::FileGone(path) if is_time(&self.file) => {
                let path = path.display();
                let message = format!("The socket for metrics {path} has been removed; it is made again");
                (Level::Warn, message)
            }
            Event::NoToken(file, why) => {
                let message = no_token(file, why);
                if !is_news(&self.no_token, &message) {
                    return;
                }
                (Level::Warn, message)
            }
            Event::TokenFlaws(file, flaws) => {
                let file = file.display();
                let message = format!(
                    "The file in 'exporter.bearer_token_file' should be mended: {file}: {flaws}; its tokens hold"
                );
                if !is_news(&self.token_flaws, &message) {
                    return;
                }
                (Level::Warn, message)
            }
            Event::Token(file) if is_time(&self.token_again) => {
                let message = format!("There is a token for metrics again: {}", file.display());
                (Level::Info, message)
            }
            Event::Denied(Denied::Address(address)) => {
                if !self.is_new(*address) {
                    return;
                }
                let message = format!("Refused metrics to {address}, which is not in 'exporter.allow'");
                (Level::Warn, message)
            }
            Event::Denied(Denied::Token) if is_time(&self.token) => {
                let message = "Refused metrics to a request without the token in 'exporter.bearer_token_file'";
                (Level::Warn, message.to_owned())
            }
            Event::CannotAccept(why) if is_time(&self.accept) => {
                (Level::Warn, format!("Cannot accept connections for metrics: {why}"))
            }
            Event::Full if is_time(&self.full) => {
                let message = "More clients want metrics at a time than 'exporter.max_connections' allows";
                (Level::Warn, message.to_owned())
            }
            Event::Panicked => return panics::log(&panics::caught(ANSWER), &self.notices),
            _ => return,
        };
        self.notices.add(level, message);
    }

    /// Whether an address that is refused is to be logged.
    fn is_new(&self, address: IpAddr) -> bool {
        let mut logged = self.addresses.borrow_mut();
        logged.retain(|_, last| last.elapsed() < AGAIN);
        let is_new = logged.len() < MOST_ADDRESSES && !logged.contains_key(&address);
        if is_new {
            logged.insert(address, Instant::now());
        }
        is_new
    }
}

/// Whether it is time to log something again, which is noted.
fn is_time(logged: &LastLogged) -> bool {
    let now = Instant::now();
    let is_time = logged.get().is_none_or(|last| now.duration_since(last) >= AGAIN);
    if is_time {
        logged.set(Some(now));
    }
    is_time
}

/// Whether this is something else than what was logged last, or it is time to log it again; which is noted.
fn is_news(logged: &LastText, text: &str) -> bool {
    let now = Instant::now();
    let mut logged = logged.borrow_mut();
    let was_logged = |(last, at): &(String, Instant)| last == text && now.duration_since(*at) < AGAIN;
    let is_news = !logged.as_ref().is_some_and(was_logged);
    if is_news {
        *logged = Some((text.to_owned(), now));
    }
    is_news
}

/// Why nobody gets in.
fn no_token(file: &Path, why: &io::Error) -> String {
    let file = file.display();
    match why.kind() {
        ErrorKind::InvalidData => {
            format!("Nobody gets metrics, since 'exporter.bearer_token_file' has no token that can be used: {file}: {why}")
        }
        _ => format!(
            "Nobody gets metrics, since 'exporter.bearer_token_file' cannot be read: {file}: {why}; Prosody's user has to be able to \
             read a token there"
        ),
    }
}

/// What the operator can do about an address that can't be listened on.
fn remedy(address: &Address, why: ErrorKind) -> &'static str {
    match (address, why) {
        (Address::Tcp(_), ErrorKind::AddrInUse) => ": another program, or Prosody itself, listens there",
        (Address::Tcp(_), ErrorKind::AddrNotAvailable) => ": this machine does not have that address",
        (Address::Tcp(at), ErrorKind::PermissionDenied) if at.port() < 1024 => ": ports below 1024 are for root",
        (Address::Unix(_), ErrorKind::NotFound) => ": its directory does not exist",
        (Address::Unix(_), ErrorKind::PermissionDenied) => ": Prosody's user may not write to its directory",
        _ => "",
    }
}
