//! What the exporter serves.

use super::desk::{Take, Wanted};
use super::log::{self, Log};
use super::patience::patience;
use super::renderer::Renderer;
use super::routes::{self, Asked, Content, Probes};
use crate::encode::exposition::format::thousandths;
use crate::encode::exposition::{self, Format, Only};
use crate::runtime::collections::Collecting;
use crate::runtime::event_loop::EventLoop;
use crate::runtime::metrics::{ExporterMetrics, OwnMetrics};
use crate::runtime::panics;
use crate::store::Store;
use crate::transport::http::header::{HeaderMap, HeaderName, HeaderValue};
use crate::transport::http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use crate::transport::http::{plain, Audience, Body, Bytes, Event, Head, Method, Response, Site, StatusCode, Version};
use std::sync::Arc;

const INDEX: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>metre</title></head>\n<body>\n",
    "<h1>metre ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>Statistics of a Prosody XMPP server.</p>\n<ul>\n",
    "<li><a href=\"/metrics\">Metrics</a>; <code>?name[]=…</code> limits them to families</li>\n",
    "<li><a href=\"/-/healthy\">Health</a>: whether this runs</li>\n",
    "<li><a href=\"/-/ready\">Readiness</a>: whether Prosody's event loop answers</li>\n</ul>\n</body>\n</html>\n",
);

/// The pages of one exporter.
pub(super) struct Pages {
    pub(super) renderer: Renderer,
    pub(super) store: Arc<Store>,
    pub(super) event_loop: Arc<EventLoop>,
    pub(super) own_metrics: Arc<OwnMetrics>,
    pub(super) collecting: Collecting,
    pub(super) probes: Probes,
    pub(super) metrics: Arc<ExporterMetrics>,
    pub(super) log: Log,
}

impl Site for Pages {
    fn audience(&self, request: &Head) -> Audience {
        routes::audience(request.uri.path(), self.probes)
    }

    async fn answer(&self, request: &Head) -> Response<Body> {
        match routes::find(&request.method, request.uri.path()) {
            Ok(Asked::Content(Content::Index)) => typed("text/html; charset=utf-8", INDEX.into()),
            Ok(Asked::Content(Content::Metrics)) => self.metrics(request).await,
            Ok(Asked::Content(Content::Healthy)) => plain(StatusCode::OK),
            Ok(Asked::Content(Content::Ready)) => self.ready(),
            Ok(Asked::Methods) => with_methods(empty(StatusCode::NO_CONTENT)),
            Err(StatusCode::METHOD_NOT_ALLOWED) => with_methods(self.refuse(StatusCode::METHOD_NOT_ALLOWED)),
            Err(code) => self.refuse(code),
        }
    }

    fn note(&self, event: Event<'_>) {
        match &event {
            Event::Connections(count) => self.metrics.connections(*count),
            Event::Denied(denied) => self.metrics.scraped(denied.status(), None),
            Event::Refused(code) => self.metrics.scraped(*code, None),
            Event::Cut(why) => self.metrics.cut(*why),
            _ => {}
        }
        self.log.note(&event);
    }

    fn tick(&self) {
        self.event_loop.tick();
        self.own_metrics.tick();
    }
}

impl Pages {
    async fn metrics(&self, request: &Head) -> Response<Body> {
        panics::inject(log::ANSWER);
        let collecting = Collecting {
            timeout: patience(&request.headers, self.collecting.timeout),
            ..self.collecting
        };
        self.metrics.collected(self.event_loop.refresh(collecting).await);
        let wanted = Wanted {
            format: Format::negotiate(&joined(&request.headers, ACCEPT)),
            gzip: takes_gzip(&joined(&request.headers, ACCEPT_ENCODING)),
            only: self.only(request.uri.query().unwrap_or_default()),
        };
        let (format, gzip) = (wanted.format, wanted.gzip);
        let Some(page) = self.renderer.render(wanted, take(request)).await else {
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

    /// Whether Prosody serves: what is known by the question that its loop gets each second anyway.
    fn ready(&self) -> Response<Body> {
        match self.event_loop.is_ready() {
            Ok(()) => plain(StatusCode::OK),
            Err(why) => {
                let mut response = typed("text/plain; charset=utf-8", (why + "\n").into());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }
        }
    }

    fn refuse(&self, code: StatusCode) -> Response<Body> {
        self.metrics.scraped(code, None);
        plain(code)
    }
}

/// How the client takes a page.
fn take(request: &Head) -> Take {
    match (&request.method, request.version) {
        (&Method::HEAD, _) => Take::Length,
        // It knows no chunks.
        (_, Version::HTTP_09 | Version::HTTP_10) => Take::Whole,
        _ => Take::Pieces,
    }
}

fn typed(content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(body.into());
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = status;
    response
}

/// The same, with what may be asked for.
fn with_methods(mut response: Response<Body>) -> Response<Body> {
    let methods = HeaderValue::from_static(routes::METHODS);
    response.headers_mut().insert(ALLOW, methods);
    response
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
