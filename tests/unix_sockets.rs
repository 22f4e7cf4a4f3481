//! The pusher over Unix sockets, as Datadog's agent has them: packets in a stream, each of which arrives whole and once, whatever
//! the server does; and the other spellings.

mod common;

use common::{add, family, provider_with, statsd_options, unhindered, SOON};
use metre::encode::exposition;
use metre::model::Kind;
use metre::policy::Policy;
use metre::runtime::{Level, Runtime};
use metre::store::{FamilyWriter, Store};
use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);
const LONGEST: usize = 1432;

fn provider(server: &str) -> (Arc<Store>, Runtime, FamilyWriter) {
    let (store, runtime) = provider_with(Policy::unlimited(), statsd_options(server));
    let writer = family(&store, Kind::Counter, "c", &["x"]);
    (store, runtime, writer)
}

/// A path for a socket, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("metre-unix-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Place(path)
    }

    fn server(&self, scheme: &str) -> String {
        format!("{scheme}{}", self.0.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "{what} has not come about");
        std::thread::sleep(PAUSE);
    }
}

/// What a server has got: by name the sum of a counter's steps.
type Totals = HashMap<String, f64>;

fn count(packet: &[u8], totals: &mut Totals) {
    assert!(packet.len() <= LONGEST, "{} bytes", packet.len());
    for line in std::str::from_utf8(packet).expect("text").split('\n') {
        let (name, rest) = line.split_once(':').expect(line);
        let step: f64 = rest.strip_suffix("|c").expect(line).parse().expect(line);
        *totals.entry(name.to_owned()).or_insert(0.0) += step;
    }
}

/// Reads packets as Datadog's agent does: four bytes of length, then that many.
struct Server {
    listener: UnixListener,
    connections: Vec<(UnixStream, Vec<u8>)>,
}

impl Server {
    fn new(path: &Path) -> Server {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket");
        listener.set_nonblocking(true).expect("a mode");
        Server {
            listener,
            connections: Vec::new(),
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).expect("a mode");
            self.connections.push((stream, Vec::new()));
        }
    }

    /// Reads at most that many bytes of each connection.
    fn read(&mut self, most: usize) {
        self.accept();
        for (stream, buffer) in &mut self.connections {
            let mut part = vec![0; most];
            match stream.read(&mut part) {
                Ok(length) => buffer.extend_from_slice(&part[..length]),
                Err(why) => assert_eq!(why.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    /// Takes the whole packets out of what has been read.
    fn take(&mut self, totals: &mut Totals) {
        self.read(4096);
        for (_, buffer) in &mut self.connections {
            while let Some(header) = buffer.first_chunk() {
                let length = u32::from_le_bytes(*header) as usize;
                assert!((1..=LONGEST).contains(&length), "a packet of {length} bytes");
                if buffer.len() < 4 + length {
                    break;
                }
                count(&buffer[4..4 + length], totals);
                buffer.drain(..4 + length);
            }
        }
    }

    fn take_until(&mut self, totals: &mut Totals, name: &str, expected: f64) {
        wait_until(name, || {
            self.take(totals);
            totals.get(name).copied().unwrap_or(0.0) >= expected
        });
        assert_eq!(totals.get(name), Some(&expected), "{name}");
    }
}

fn levels(runtime: &Runtime) -> Vec<Level> {
    let mut notices = runtime.notices();
    notices.retain(|(_, message)| !message.starts_with("Pushing to the statsd server"));
    notices.into_iter().map(|(level, _)| level).collect()
}

#[test]
fn nothing_is_lost_while_a_stream_server_is_away() {
    let place = Place::new("away");
    let (_store, runtime, mut writer) = provider(&place.server("unixstream://"));
    let mut server = Server::new(&place.0);
    let mut totals = Totals::new();
    runtime.start().expect("a thread");
    let mut expected = 0;
    for _ in 0..3 {
        for step in 0..10_000 {
            add(&mut writer, ["a", "b"][step % 2], 1);
        }
        expected += 5_000;
        server.take_until(&mut totals, "c.a", f64::from(expected));
        // All has been read, so nothing of it comes again.
        drop(server);
        add(&mut writer, "a", 1);
        add(&mut writer, "b", 1);
        expected += 1;
        wait_until("the line", || levels(&runtime) == [Level::Warn]);
        server = Server::new(&place.0);
        server.take_until(&mut totals, "c.a", f64::from(expected));
        server.take_until(&mut totals, "c.b", f64::from(expected));
        wait_until("the line", || levels(&runtime) == [Level::Info]);
    }
    runtime.stop();
}

#[test]
fn what_a_stream_server_had_not_read_is_sent_again() {
    let place = Place::new("unread");
    let (store, runtime, mut writer) = provider(&place.server("unixstream:"));
    let mut server = Server::new(&place.0);
    runtime.start().expect("a thread");
    for round in 1..=3 {
        add(&mut writer, "a", 1);
        // It accepts, and reads nothing.
        wait_until("a push", || sent(&store) >= round);
        server.accept();
    }
    // Far longer than it takes for a connection to be trusted.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(server.connections.len(), 1);
    drop(server);
    let mut server = Server::new(&place.0);
    server.take_until(&mut Totals::new(), "c.a", 3.0);
    runtime.stop();
}

/// How many packets the socket has taken.
fn sent(store: &Store) -> u32 {
    let mut page = Vec::new();
    exposition::page(
        &mut page,
        store,
        Default::default(),
        exposition::Format::OPENMETRICS,
        None,
    )
    .expect("a page");
    let page = String::from_utf8(page).expect("text");
    let count = page
        .lines()
        .find_map(|line| line.strip_prefix("metre_statsd_datagrams_total "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[test]
fn no_packet_is_parted_by_a_new_connection() {
    let place = Place::new("parted");
    let (_store, runtime, mut writer) = provider(&place.server("unixstream://"));
    let mut server = Server::new(&place.0);
    // More than fits into the socket.
    let label = |number: u32| format!("a-name-of-some-length-{number}-{}", "x".repeat(60));
    for number in 0..8_000 {
        add(&mut writer, &label(number), 1);
    }
    runtime.start().expect("a thread");
    wait_until("a connection", || {
        server.accept();
        !server.connections.is_empty()
    });
    // The reader goes in the middle of a packet, again and again, and what it has read whole counts.
    let mut totals = Totals::new();
    for round in 0..5 {
        wait_until("some bytes", || {
            server.read(5000 + 137 * round);
            server.connections.iter().any(|(_, buffer)| buffer.len() > 4000)
        });
        server.take(&mut totals);
        server.connections.clear();
        wait_until("a new connection", || {
            server.accept();
            !server.connections.is_empty()
        });
    }
    wait_until("all names", || {
        server.take(&mut totals);
        totals.len() == 8_000
    });
    // What was read of the packets that were resent may have come twice; that is a part of what was on its way.
    runtime.stop();
    server.take(&mut totals);
    assert!(totals.values().all(|total| *total >= 1.0));
    let twice = totals.values().filter(|total| **total > 1.0).count();
    assert!(twice < 4_000, "{twice} twice");
}

#[test]
fn a_stream_server_that_hangs_is_told() {
    let place = Place::new("hangs");
    // Nothing is ever accepted.
    let _listener = UnixListener::bind(&place.0).expect("a socket");
    let (_store, runtime, mut writer) = provider(&place.server("unixstream://"));
    for number in 0..20_000 {
        add(&mut writer, &format!("a-name-of-some-length-{number}"), 1);
    }
    runtime.start().expect("a thread");
    wait_until("the line", || levels(&runtime) == [Level::Warn]);
    let (_, took) = unhindered(|| runtime.stop());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn datagrams_go_to_each_spelling() {
    for (name, scheme) in [("one", "unix:"), ("three", "unix://"), ("gram", "unixgram:")] {
        let place = Place::new(name);
        let socket = UnixDatagram::bind(&place.0).expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        let (_store, runtime, mut writer) = provider(&place.server(scheme));
        runtime.start().expect("a thread");
        add(&mut writer, "a", 2);
        let mut buffer = [0; LONGEST];
        let length = socket.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], b"c.a:2|c", "{scheme}");
    }
}

#[test]
fn the_wrong_kind_of_socket_is_told() {
    let place = Place::new("kind");
    let told = |scheme: &str| {
        let (_store, runtime, mut writer) = provider(&place.server(scheme));
        runtime.start().expect("a thread");
        add(&mut writer, "a", 2);
        let mut found = String::new();
        wait_until("the line", || {
            let notices = runtime.notices();
            let line = notices.into_iter().find(|(_, text)| text.starts_with("Cannot reach"));
            line.map(|(_, text)| found = text).is_some()
        });
        found
    };
    let path = place.0.display();
    let _stream = UnixListener::bind(&place.0).expect("a socket");
    let line = told("unix:");
    assert!(
        line.contains(&format!("it is a stream socket, for which write unixstream://{path};")),
        "{line}"
    );
    std::fs::remove_file(&place.0).expect("a file");
    let _datagrams = UnixDatagram::bind(&place.0).expect("a socket");
    let line = told("unixstream:");
    assert!(
        line.contains(&format!("it is a datagram socket, for which write unix://{path};")),
        "{line}"
    );
}
