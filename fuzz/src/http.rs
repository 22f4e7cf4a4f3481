//! Requests that may be anything, and a strict reader of answers (RFC 9112).

use crate::exposition::{self, Dialect};
use crate::input::Input;
use std::io::Read;

const PATHS: &[&str] = &[
    "/metrics",
    "/",
    "/-/healthy",
    "/-/ready",
    "/metrics?name[]=a",
    "/metrics?name%5B%5D=%61&name[]=b_total",
    "/nothing",
    "*",
    "http://x/metrics",
    "/metrics?%",
    "//metrics",
    "/metrics/",
    "/metrics?name[]=%ff%00&&=",
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
    headers: Vec<(String, String)>,
    /// The body as it was before any compression; nothing for HEAD.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, which is there once at most.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All answers on a connection that has ended. `has_head` says that some requests may have asked for the head alone.
///
/// # Errors
/// What is not as HTTP wants it, or no page where there should be one.
pub fn answers(mut bytes: &[u8], has_head: bool) -> Result<Vec<Answer>, String> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (mut answer, rest) = head(bytes)?;
        bytes = rest;
        if answer.status == 100 {
            continue;
        }
        if answer.status == 204 {
            // It can have no content, and says none (RFC 9110, section 8.6).
            match (answer.header("content-length"), answer.header("allow")) {
                (None, Some("GET, HEAD, OPTIONS")) => all.push(answer),
                wrong => return Err(format!("an answer without content that has {wrong:?}")),
            }
            continue;
        }
        let length = answer.header("content-length").ok_or("no length")?;
        let length: usize = length.parse().map_err(|_| format!("a length of {length:?}"))?;
        let next = bytes.is_empty() || bytes.starts_with(b"HTTP/1.");
        if length > 0 && next && has_head {
            all.push(answer);
            continue;
        }
        let (body, rest) = bytes.split_at_checked(length).ok_or("a body that is too short")?;
        bytes = rest;
        answer.body = match answer.header("content-encoding") {
            None => body.to_vec(),
            Some("gzip") => {
                let mut text = Vec::new();
                let mut gzip = flate2::read::GzDecoder::new(body);
                gzip.read_to_end(&mut text).map_err(|why| why.to_string())?;
                text
            }
            Some(other) => return Err(format!("an encoding called {other}")),
        };
        check(&answer)?;
        all.push(answer);
    }
    Ok(all)
}

fn head(bytes: &[u8]) -> Result<(Answer, &[u8]), String> {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or("a head without an end")?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|why| why.to_string())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| {
        line.strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
    });
    let (status, reason) = status
        .and_then(|line| line.split_once(' '))
        .ok_or("no line with a status")?;
    let status: u16 = status.parse().map_err(|_| "a status that is no number")?;
    if ![100, 200, 204, 400, 401, 403, 404, 405, 413, 414, 431, 503, 505].contains(&status) || reason.is_empty() {
        return Err(format!("status {status} {reason}"));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("the header {line:?}"))?;
        let is_token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let name = name.to_ascii_lowercase();
        if !is_token || value.chars().any(char::is_control) || headers.iter().any(|(other, _)| *other == name) {
            return Err(format!("the header {line:?}"));
        }
        headers.push((name, value.to_owned()));
    }
    let answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    Ok((answer, &bytes[end + 4..]))
}

/// Whether it is what it says.
fn check(answer: &Answer) -> Result<(), String> {
    let content_type = answer.header("content-type").unwrap_or_default();
    if answer.status != 200 || answer.header("vary").is_none() {
        return Ok(());
    }
    let dialect = match content_type.split(';').next() {
        Some("application/openmetrics-text") => Dialect::OpenMetrics,
        Some("text/plain") => Dialect::Text,
        _ => return Err(format!("a page of type {content_type:?}")),
    };
    exposition::parse(&answer.body, dialect).map(drop)
}
