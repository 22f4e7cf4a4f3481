//! What the exporter serves.

use super::metrics::ExportMetrics;
use super::renderer::{Renderer, Wanted};
use crate::encode::exposition::format::thousandths;
use crate::encode::exposition::{self, Format, Only};
use crate::runtime::event_loop::{Collecting, EventLoop};
use crate::runtime::notices::{Level, Notices};
use crate::store::Store;
use crate::transport::http::header::{HeaderMap, HeaderName, HeaderValue};
use crate::transport::http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use crate::transport::http::{plain, Address, Bytes, Denied, Event, Head, Method, Response, Site, StatusCode};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const INDEX: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>metre</title></head>\n<body>\n",
    "<h1>metre ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>Statistics of a Prosody XMPP server.</p>\n<ul>\n",
    "<li><a href=\"/metrics\">Metrics</a>; <code>?name[]=…</code> limits them to families</li>\n",
    "<li><a href=\"/-/healthy\">Health</a></li>\n</ul>\n</body>\n</html>\n",
);

/// Until the same is logged again.
const AGAIN: Duration = Duration::from_secs(3600);

/// The pages of one exporter.
pub(super) struct Exporter {
    pub(super) renderer: Renderer,
    pub(super) store: Arc<Store>,
    pub(super) event_loop: Arc<EventLoop>,
    pub(super) collecting: Collecting,
    pub(super) metrics: Arc<ExportMetrics>,
    pub(super) notices: Arc<Notices>,
    pub(super) told: Told,
}

/// How many addresses that are refused are logged in that time.
const MOST_ADDRESSES: usize = 20;

/// When something was logged that isn't again for an hour.
#[derive(Default)]
pub(super) struct Told {
    addresses: RefCell<HashMap<IpAddr, Instant>>,
    token: LastTold,
    full: LastTold,
    accept: LastTold,
    panicked: LastTold,
}

type LastTold = Cell<Option<Instant>>;

impl Site for Exporter {
    async fn answer(&self, request: &Head) -> Response<Bytes> {
        let path = request.uri.path();
        if !["/metrics", "/", "/-/healthy"].contains(&path) {
            return self.refuse(StatusCode::NOT_FOUND);
        }
        if ![Method::GET, Method::HEAD].contains(&request.method) {
            let mut response = self.refuse(StatusCode::METHOD_NOT_ALLOWED);
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => self.metrics(request).await,
            "/" => {
                let mut response = Response::new(Bytes::from_static(INDEX.as_bytes()));
                let content_type = HeaderValue::from_static("text/html; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                response
            }
            _ => plain(StatusCode::OK),
        }
    }

    fn note(&self, event: Event<'_>) {
        match event {
            Event::Listening(address) => {
                let at = match address {
                    Address::Tcp(address) => format!("http://{address}/metrics"),
                    Address::Unix(_) => address.to_string(),
                };
                self.notices.add(Level::Info, format!("Serving metrics at {at}"));
            }
            Event::CannotListen(address, why) => self.warn(format!(
                "Cannot serve metrics at {address}: {why}{}; tried again until it works",
                remedy(address, why.kind())
            )),
            Event::Connections(count) => self.metrics.connections(count),
            Event::NoToken(file, why) => self.warn(format!(
                "Nobody gets metrics, since 'exporter.bearer_token_file' cannot be read: {}: {why}; Prosody's user has to be \
                 able to read a token there",
                file.display()
            )),
            Event::Token(file) => {
                let message = format!("There is a token for metrics again: {}", file.display());
                self.notices.add(Level::Info, message);
            }
            Event::FileGone(path) => self.warn(format!(
                "The socket for metrics {} has been removed; it is made again",
                path.display()
            )),
            Event::CannotAccept(why) => self.warn_hourly(
                &self.told.accept,
                format!("Cannot accept connections for metrics: {why}"),
            ),
            Event::Denied(denied, code) => {
                self.metrics.scraped(code, None);
                self.tell_denied(&denied);
            }
            Event::Refused(code) => self.metrics.scraped(code, None),
            Event::Cut(why) => self.metrics.cut(why),
            Event::Full => self.warn_hourly(
                &self.told.full,
                "More clients want metrics at a time than 'exporter.max_connections' allows".to_owned(),
            ),
            Event::Panicked => self.panicked(),
        }
    }

    fn tick(&self) {
        self.event_loop.tick();
    }
}

impl Exporter {
    async fn metrics(&self, request: &Head) -> Response<Bytes> {
        self.metrics.collected(self.event_loop.refresh(self.collecting).await);
        let wanted = Wanted {
            format: Format::negotiate(&joined(&request.headers, ACCEPT)),
            gzip: takes_gzip(&joined(&request.headers, ACCEPT_ENCODING)),
            only: self.only(request.uri.query().unwrap_or_default()),
        };
        let (format, gzip) = (wanted.format, wanted.gzip);
        let Some(page) = self.renderer.render(wanted).await else {
            self.panicked();
            return self.refuse(StatusCode::INTERNAL_SERVER_ERROR);
        };
        self.metrics.scraped(StatusCode::OK, Some(format));
        let mut response = Response::new(page);
        let headers = response.headers_mut();
        if let Ok(content_type) = format.content_type().parse() {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        response
    }

    /// The families that `?name[]=…` limits the page to, if it does.
    fn only(&self, query: &str) -> Option<Only> {
        let names = names(query);
        (!names.is_empty()).then(|| exposition::only(&self.store, names.iter().map(String::as_str)))
    }

    fn refuse(&self, code: StatusCode) -> Response<Bytes> {
        self.metrics.scraped(code, None);
        plain(code)
    }

    fn tell_denied(&self, denied: &Denied) {
        match denied {
            Denied::Address(address) => {
                let mut told = self.told.addresses.borrow_mut();
                told.retain(|_, last| last.elapsed() < AGAIN);
                if told.len() < MOST_ADDRESSES && !told.contains_key(address) {
                    told.insert(*address, Instant::now());
                    let message = format!("Refused metrics to {address}, which is not in 'exporter.allow'");
                    self.warn(message);
                }
            }
            Denied::Token => self.warn_hourly(
                &self.told.token,
                "Refused metrics to a request without the token in 'exporter.bearer_token_file'".to_owned(),
            ),
        }
    }

    fn panicked(&self) {
        if is_time(&self.told.panicked) {
            let message = "Please report: internal error while serving metrics".to_owned();
            self.notices.add(Level::Error, message);
        }
    }

    fn warn(&self, message: String) {
        self.notices.add(Level::Warn, message);
    }

    fn warn_hourly(&self, told: &LastTold, message: String) {
        if is_time(told) {
            self.warn(message);
        }
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

/// Whether it is time to log something again, which is noted.
fn is_time(told: &LastTold) -> bool {
    let now = Instant::now();
    let is_time = told.get().is_none_or(|last| now.duration_since(last) >= AGAIN);
    if is_time {
        told.set(Some(now));
    }
    is_time
}

/// All values of a header as one list (RFC 9110, section 5.3).
fn joined(headers: &HeaderMap, name: HeaderName) -> String {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

/// Whether somebody who sends this `Accept-Encoding` gets gzip: if they want it at least as much as no encoding (RFC 9110,
/// section 12.5.3).
fn takes_gzip(accept_encoding: &str) -> bool {
    let quality = |name: &str| {
        accept_encoding.split(',').find_map(|coding| {
            let (coding, parameters) = coding.split_once(';').unwrap_or((coding, "q=1"));
            let value = parameters.trim().strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
            coding.trim().eq_ignore_ascii_case(name).then(|| thousandths(value))
        })
    };
    let gzip = quality("gzip").or_else(|| quality("x-gzip")).or_else(|| quality("*"));
    gzip.is_some_and(|gzip| gzip > 0 && gzip >= quality("identity").unwrap_or(0))
}

/// The names in `?name[]=…`.
fn names(query: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .filter(|(key, _)| key == "name[]")
        .map(|(_, name)| name.into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_goes_to_those_who_want_it() {
        for wants in [
            "gzip",
            "GZIP",
            "deflate, gzip;q=0.5",
            "gzip;q=1.0, identity;q=0.5",
            "*",
            "x-gzip",
            "br , gzip",
        ] {
            assert!(takes_gzip(wants), "{wants}");
        }
        for wants in [
            "",
            "identity",
            "gzip;q=0",
            "gzip;q=0.0, *",
            "gzip;q=0.1, identity",
            "deflate",
            "gzipped",
            "gzip;q=x",
        ] {
            assert!(!takes_gzip(wants), "{wants}");
        }
    }

    #[test]
    fn names_are_decoded() {
        assert!(names("").is_empty());
        assert!(names("name=a&x=y").is_empty());
        assert_eq!(names("name[]=a"), ["a"]);
        assert_eq!(names("name%5B%5D=a%3Ab&name[]=c"), ["a:b", "c"]);
        assert_eq!(names("name[]="), [""]);
    }
}
