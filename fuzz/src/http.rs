//! Requests that may be anything, and what an answer to one has to be.

use crate::exposition::{self, Dialect};
use crate::input::Input;
use httparse::Status;
use std::collections::BTreeMap;
use std::io::Read;

const PATHS: &[&str] = &[
    "/metrics", "/", "/-/healthy", "/-/ready", "/metrics?name[]=a", "/metrics?name%5B%5D=%61&name[]=b_total",
    "/nothing", "*", "http://x/metrics", "/metrics?%", "//metrics", "/metrics/", "/metrics?name[]=%ff%00&&=",
];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "PRI", "get", ""];
const HEADERS: &[&str] = &[
    "Host: x",
    "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1",
    "Accept: text/plain;version=1.0.0;escaping=dots",
    "Accept: application/openmetrics-text; version=0.0.1; q=\"0.5\", text/plain;q=nan",
    "Accept-Encoding: gzip",
    "Accept-Encoding: *;q=0.5, gzip;q=0",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: upgrade",
    "Content-Length: 3",
    "Content-Length: 18446744073709551616",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity, chunked",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "Authorization: Bearer letmein",
    "Authorization: Bearer letmei",
    "Authorization: Basic letmein",
    "X-Forwarded-For: 127.0.0.1",
    " folded",
    ": x",
    "Host: y",
    "Cookie: a=b",
    "X-Prometheus-Scrape-Timeout-Seconds: 0.2",
    "X-Prometheus-Scrape-Timeout-Seconds: -1e999",
];

/// The token that one of the servers wants.
pub const TOKEN: &str = "letmein";

/// What goes over a connection, and where it is cut.
pub fn pieces(input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    while !input.is_over() && pieces.len() < 40 {
        let text: Vec<u8> = match input.below(12) {
            0..=3 => request(input),
            4 => format!("{} {} HTTP/1.1\r\n", input.of(METHODS), input.of(PATHS)).into_bytes(),
            5 => format!("{}\r\n", input.of(HEADERS)).into_bytes(),
            6 => b"\r\n".to_vec(),
            7 => b"\n".to_vec(),
            8 => b"3\r\nabc\r\n0\r\n\r\n".to_vec(),
            9 => input.bytes(),
            10 => format!("X: {}\r\n", "y".repeat(input.below(20_000))).into_bytes(),
            _ => {
                // What comes next is sent by itself.
                pieces.push(Vec::new());
                continue;
            }
        };
        let cut = input.one_in(4).then(|| input.below(text.len()));
        let (start, end) = text.split_at(cut.unwrap_or(0));
        pieces.last_mut().expect("one at least").extend_from_slice(start);
        if cut.is_some() {
            pieces.push(Vec::new());
        }
        pieces.last_mut().expect("one at least").extend_from_slice(end);
    }
    pieces
}

/// A request that has the form of one, mostly.
fn request(input: &mut Input<'_>) -> Vec<u8> {
    let method = if input.any() { "GET" } else { input.of(METHODS) };
    let path = if input.any() {
        "/metrics?name[]=a"
    } else {
        input.of(PATHS)
    };
    let version = input.of(&["1.1", "1.1", "1.0", "2.0", "1.11"]);
    let mut text = format!("{method} {path} HTTP/{version}\r\nHost: x\r\n").into_bytes();
    for _ in 0..input.below(5) {
        match input.one_in(4) {
            true => text.extend([b"Accept: ".as_slice(), &input.bytes(), b"\r\n"].concat()),
            false => text.extend(format!("{}\r\n", input.of(HEADERS)).bytes()),
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The body as it was before any compression; nothing for HEAD.
    pub body: Vec<u8>,
}

/// All answers on a connection that has ended. `has_head` says that some requests may have asked for the head alone.
///
/// # Errors
/// What is not as HTTP wants it, or no page where there should be one.
pub fn answers(mut bytes: &[u8], has_head: bool) -> Result<Vec<Answer>, String> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let mut room = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut room);
        let Status::Complete(end) = head.parse(bytes).map_err(|why| why.to_string())? else {
            return Err("a head without an end".to_owned());
        };
        bytes = &bytes[end..];
        let (version, status) = (head.version, head.code.unwrap_or_default());
        if ![100, 200, 204, 400, 401, 403, 404, 405, 413, 414, 431, 503, 505].contains(&status) {
            return Err(format!("status {status}"));
        }
        let mut headers = BTreeMap::new();
        for header in head.headers {
            let value = std::str::from_utf8(header.value).map_err(|why| why.to_string())?;
            if headers.insert(header.name.to_ascii_lowercase(), value).is_some() {
                return Err(format!("two headers {}", header.name));
            }
        }
        let header = |name| headers.get(name).copied();
        let next = bytes.is_empty() || bytes.starts_with(b"HTTP/1.");
        let length = header("content-length").map(str::parse::<usize>);
        let (body, rest) = match (length, header("transfer-encoding")) {
            (None, None) if status == 100 => continue,
            // It can have no content, and says none (RFC 9110, section 8.6).
            (None, None) if status == 204 && header("allow") == Some("GET, HEAD, OPTIONS") => (Vec::new(), bytes),
            wrong if [100, 204].contains(&status) => return Err(format!("{status} with {wrong:?} and {headers:?}")),
            (None | Some(Ok(1..)), _) if has_head && next => {
                let body = Vec::new();
                all.push(Answer { status, body });
                continue;
            }
            (Some(Ok(length)), None) => {
                let (body, rest) = bytes.split_at_checked(length).ok_or("a body that is too short")?;
                (body.to_vec(), rest)
            }
            (None, Some("chunked")) => joined(bytes).ok_or("a body whose chunks are wrong or too few")?,
            // It ends with the connection.
            (None, None) if version == Some(0) => (bytes.to_vec(), &[][..]),
            wrong => return Err(format!("a length and a coding of {wrong:?}")),
        };
        bytes = rest;
        let body = match header("content-encoding") {
            None => body,
            Some("gzip") => {
                let mut text = Vec::new();
                let mut gzip = flate2::read::GzDecoder::new(&*body);
                gzip.read_to_end(&mut text).map_err(|why| why.to_string())?;
                text
            }
            Some(other) => return Err(format!("an encoding called {other}")),
        };
        if status == 200 && headers.contains_key("vary") {
            let content_type = header("content-type").unwrap_or_default();
            let dialect = match content_type.split(';').next() {
                Some("application/openmetrics-text") => Dialect::OpenMetrics,
                Some("text/plain") => Dialect::Text,
                _ => return Err(format!("a page of type {content_type:?}")),
            };
            exposition::parse(&body, dialect)?;
        }
        all.push(Answer { status, body });
    }
    Ok(all)
}

/// A body that came in chunks, and what follows it.
fn joined(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let Ok(Status::Complete((start, size))) = httparse::parse_chunk_size(bytes) else {
            return None;
        };
        let (chunk, rest) = bytes[start..].split_at_checked(size.try_into().ok()?)?;
        bytes = rest.strip_prefix(b"\r\n")?;
        if chunk.is_empty() {
            return Some((body, bytes));
        }
        body.extend_from_slice(chunk);
    }
}
