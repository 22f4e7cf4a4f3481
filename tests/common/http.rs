//! An exporter, and clients for it.

use super::SOON;
use metre::runtime::{Collecting, ExportOptions, Options, Probes, Runtime};
use metre::store::Store;
use metre::transport::http::{Access, Address, Limits, Options as HttpOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An exporter there, for this machine, that asks for collections.
pub fn options(at: SocketAddr) -> ExportOptions {
    ExportOptions {
        http: HttpOptions {
            listen: vec![Address::Tcp(at)],
            socket_mode: 0o600,
            access: Access {
                allow: vec!["127.0.0.0/8".parse().expect("a range")],
                token_file: None,
            },
            limits: Limits {
                connections: 8,
                header_time: Duration::from_secs(60),
                idle_time: Duration::from_secs(60),
                send_time: Duration::from_secs(60),
                answers: 15_000_000,
            },
        },
        collecting: Collecting {
            timeout: Duration::from_secs(1),
            min_interval: Duration::from_secs(1),
        },
        probes: Probes::Guarded,
    }
}

/// A provider with that exporter, not started.
pub fn runtime(store: &Arc<Store>, export: ExportOptions) -> Runtime {
    let options = Options {
        export: Some(export),
        self_metrics: true,
        process_metrics: true,
        ..Options::default()
    };
    Runtime::new(store, options, "none")
}

/// A connection, once somebody listens.
pub fn connect(at: SocketAddr) -> TcpStream {
    let end = Instant::now() + SOON;
    loop {
        match TcpStream::connect(at) {
            Ok(socket) => {
                socket.set_read_timeout(Some(SOON)).expect("a timeout");
                return socket;
            }
            Err(why) => assert!(Instant::now() < end, "{why}"),
        }
        std::thread::yield_now();
    }
}

/// What comes until the other side closes; nothing if it does so at once.
pub fn rest(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    match socket.read_to_end(&mut text) {
        Ok(_) => {}
        Err(why) => assert_eq!(why.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8(text).expect("UTF-8")
}

/// The answer to a request of its own, head and body.
pub fn ask(at: SocketAddr, request: &str) -> String {
    let mut socket = connect(at);
    socket.write_all(request.as_bytes()).expect("taken");
    rest(socket)
}

/// The same, for a path.
pub fn get(at: SocketAddr, path: &str) -> String {
    ask(
        at,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// Asks on a connection that stays.
pub fn send(socket: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("taken");
}

/// One answer of a connection that stays.
pub fn answer(socket: &mut TcpStream) -> (String, usize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("UTF-8");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.expect("a length").parse().expect("a number");
    let mut body = vec![0; length];
    socket.read_exact(&mut body).expect("a body");
    (head, length)
}

/// The body of an answer that a client has read to its end: by its length, or from its chunks. Panics if it isn't whole.
pub fn whole(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let (head, mut rest) = answer.split_at(end);
    let head = String::from_utf8(head.to_vec()).expect("UTF-8");
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        assert_eq!(rest.len().to_string(), length);
        return (head, rest.to_vec());
    }
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|bytes| bytes == b"\r\n").expect("a chunk");
        let length = std::str::from_utf8(&rest[..line]).expect("UTF-8");
        let length = usize::from_str_radix(length, 16).expect("a length");
        let chunk = &rest[line + 2..][..length + 2];
        assert!(chunk.ends_with(b"\r\n"));
        body.extend_from_slice(&chunk[..length]);
        rest = &rest[line + 4 + length..];
        if length == 0 {
            assert!(rest.is_empty());
            return (head, body);
        }
    }
}

/// The value of a series on a page.
pub fn value(page: &str, series: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} in {page}"))
        .parse()
        .expect("a number")
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}
