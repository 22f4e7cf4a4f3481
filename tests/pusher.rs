//! The pusher against real sockets on loopback: what arrives is what was counted, whatever the server does.

mod common;

use common::{add, create, family, free_port, idle_policy, provider_with, statsd_options, sweep, unhindered, SOON};
use metre::encode::exposition::{self, Format};
use metre::model::{Kind, LabelSet, Number};
use metre::policy::{Limits, Policy};
use metre::runtime::{Level, Runtime, StatsdOptions};
use metre::store::{updates, values, FamilyWriter, Store};
use nix::sys::socket::{setsockopt, sockopt};
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn provider(options: StatsdOptions) -> (Arc<Store>, Runtime) {
    provider_with(Policy::unlimited(), options)
}

/// A server that sums up what it gets.
enum Server {
    Udp(UdpSocket),
    Unix(UnixDatagram, PathBuf),
    Tcp(TcpListener, Option<BufReader<std::net::TcpStream>>),
}

/// What a server has got: by name the sum of a counter's steps, or a gauge's value.
type Totals = HashMap<String, f64>;

impl Server {
    fn udp(address: &str) -> Server {
        let socket = UdpSocket::bind(address).expect("a socket");
        // UDP waits for nobody, and this may be kept from reading for a while.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20));
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        Server::Udp(socket)
    }

    fn unix(path: &Path) -> Server {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        Server::Unix(socket, path.to_owned())
    }

    fn tcp(address: &str) -> Server {
        let listener = TcpListener::bind(address).expect("a listener");
        listener.set_nonblocking(true).expect("a mode");
        Server::Tcp(listener, None)
    }

    fn address(&self) -> String {
        match self {
            Server::Udp(socket) => format!("udp://{}", socket.local_addr().expect("an address")),
            Server::Unix(_, path) => format!("unixgram://{}", path.display()),
            Server::Tcp(listener, _) => format!("tcp://{}", listener.local_addr().expect("an address")),
        }
    }

    /// Takes what has arrived; false if that was nothing.
    fn take(&mut self, totals: &mut Totals) -> bool {
        let mut buffer = [0; 70_000];
        match self {
            Server::Udp(socket) => socket.recv(&mut buffer).is_ok_and(|n| count(&buffer[..n], totals)),
            Server::Unix(socket, _) => socket.recv(&mut buffer).is_ok_and(|n| count(&buffer[..n], totals)),
            Server::Tcp(listener, reader) => {
                if let Ok((stream, _)) = listener.accept() {
                    stream
                        .set_read_timeout(Some(Duration::from_millis(20)))
                        .expect("a timeout");
                    *reader = Some(BufReader::new(stream));
                }
                let mut line = Vec::new();
                match reader {
                    Some(open) => match open.read_until(b'\n', &mut line) {
                        Ok(0) => {
                            *reader = None;
                            false
                        }
                        Ok(_) => count(line.strip_suffix(b"\n").expect("a whole line"), totals),
                        Err(_) => false,
                    },
                    None => false,
                }
            }
        }
    }

    /// Takes what arrives until this is all there is.
    fn take_until(&mut self, totals: &mut Totals, name: &str, expected: f64) {
        let end = Instant::now() + SOON;
        while totals.get(name).copied().unwrap_or(0.0) != expected {
            assert!(
                Instant::now() < end,
                "{name}: {:?} instead of {expected}",
                totals.get(name)
            );
            self.take(totals);
        }
        while self.take(totals) {}
        assert_eq!(totals.get(name), Some(&expected));
    }
}

fn count(datagram: &[u8], totals: &mut Totals) -> bool {
    assert!(datagram.len() <= 1432, "{} bytes", datagram.len());
    for line in std::str::from_utf8(datagram).expect("text").split('\n') {
        let (name, rest) = line.split_once(':').expect(line);
        let (value, kind) = rest.split_once('|').expect(line);
        let number: f64 = value.parse().expect(line);
        let total = totals.entry(name.to_owned()).or_insert(0.0);
        match kind {
            "c" => *total += number,
            "g" if value.starts_with('-') => *total += number,
            "g" => *total = number,
            _ => panic!("{line}"),
        }
    }
    true
}

/// What there is to log, but for the greetings.
fn troubles(runtime: &Runtime) -> Vec<(Level, String)> {
    let mut notices = runtime.notices();
    notices.retain(|(_, message)| !message.starts_with("Pushing to the statsd server"));
    notices
}

fn within<T>(limit: Duration, what: &str, run: impl FnOnce() -> T) -> T {
    let (result, took) = unhindered(run);
    assert!(took < limit, "{what} took {took:?}");
    result
}

/// Has everything sent to a server that is there. A busy machine may take longer than a flush waits.
fn flush(runtime: &Runtime) {
    let end = Instant::now() + SOON;
    while let Err(why) = runtime.flush() {
        assert!(Instant::now() < end, "{why}");
    }
}

/// Counts before, while and after the server is away. `again` starts it again at the same address.
fn survives(server: Server, again: impl Fn(&str) -> Server) {
    let address = server.address();
    let (store, runtime) = provider(statsd_options(&address));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    let mut server = server;
    let mut totals = Totals::new();
    runtime.start().expect("a thread");

    let mut expected = 0;
    for _ in 0..3 {
        for step in 0..10_000 {
            add(&mut writer, ["a", "b"][step % 2], 1);
        }
        expected += 5_000;
        if matches!(server, Server::Tcp(..)) {
            // A flush needs somebody who accepts.
            while runtime.flush().is_err() {
                server.take(&mut totals);
            }
        } else {
            flush(&runtime);
        }
        server.take_until(&mut totals, "c.a", f64::from(expected));
        drop(server);

        let away = Instant::now();
        while away.elapsed() < Duration::from_millis(350) {
            add(&mut writer, "a", 1);
            add(&mut writer, "b", 1);
            expected += 1;
            std::thread::yield_now();
        }
        assert!(within(Duration::from_millis(1200), "flush", || runtime.flush()).is_err());
        server = again(&address);
        server.take_until(&mut totals, "c.a", f64::from(expected));
        assert_eq!(totals["c.b"], f64::from(expected));
    }
    let notices = troubles(&runtime);
    let levels: Vec<Level> = notices.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::Warn, Level::Info].repeat(3), "{notices:?}");
    assert!(
        notices[0]
            .1
            .starts_with(&format!("Cannot reach the statsd server {address}: ")),
        "{notices:?}"
    );
    within(Duration::from_secs(2), "stop", || runtime.stop());
}

#[test]
fn udp_server_away() {
    survives(Server::udp(&free_port().to_string()), |address| {
        Server::udp(address.strip_prefix("udp://").expect("udp"))
    });
}

#[test]
fn udp_server_away_on_ipv6() {
    survives(Server::udp("[::1]:0"), |address| {
        Server::udp(address.strip_prefix("udp://").expect("udp"))
    });
}

#[test]
fn unixgram_server_away() {
    let path = std::env::temp_dir().join(format!("metre-{}.sock", std::process::id()));
    survives(Server::unix(&path), |_| {
        // The file stays when the server goes, and then vanishes.
        Server::unix(&path)
    });
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_server_that_ends_each_connection_takes_nothing() {
    // A connection that lasts is trusted: so this must not have been held up, which a busy machine may do.
    let held_up = (0..60).all(|_| is_held_up_ending_each_connection());
    assert!(!held_up, "the machine is too busy");
}

/// Ends each connection as soon as it is there, and looks whether all counts arrive at the next server; unless this was held up
/// for so long that a connection has lasted.
fn is_held_up_ending_each_connection() -> bool {
    const LASTING: Duration = Duration::from_millis(100);
    let address = free_port().to_string();
    let listener = TcpListener::bind(&address).expect("a listener");
    let (store, runtime) = provider(statsd_options(&format!("tcp://{address}")));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    runtime.start().expect("a thread");
    listener.set_nonblocking(true).expect("a mode");
    let end = Instant::now() + Duration::from_secs(2);
    let (mut before, mut held_up) = (Instant::now(), false);
    while before < end {
        if let Ok((connection, _)) = listener.accept() {
            drop(connection);
        }
        add(&mut writer, "a", 1);
        std::thread::sleep(Duration::from_millis(1));
        let now = Instant::now();
        held_up |= now - before > LASTING;
        before = now;
    }
    let at = create(&mut writer, &["a"]);
    let counted = values::value(writer.record(at)).as_f64();
    drop(listener);
    if held_up || before.elapsed() > LASTING {
        return true;
    }
    let mut server = Server::tcp(&address);
    server.take_until(&mut Totals::new(), "c.a", counted);
    let levels: Vec<Level> = troubles(&runtime).iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::Warn, Level::Info]);
    false
}

#[test]
fn an_idle_connection_that_is_reset_costs_nothing() {
    let mut server = Server::tcp("127.0.0.1:0");
    let (store, runtime) = provider(statsd_options(&server.address()));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    let mut totals = Totals::new();
    runtime.start().expect("a thread");
    for round in 1..=3 {
        add(&mut writer, "a", 1);
        server.take_until(&mut totals, "c.a", f64::from(round));
        if let Server::Tcp(_, reader) = &mut server {
            *reader = None;
        }
    }
    // The last values go out although the connection has just been ended.
    add(&mut writer, "a", 1);
    runtime.stop();
    server.take_until(&mut totals, "c.a", 4.0);
    assert_eq!(troubles(&runtime), []);
}

#[test]
fn a_vanished_socket_file_is_a_server_away() {
    let path = std::env::temp_dir().join(format!("metre-vanished-{}.sock", std::process::id()));
    let mut old = Server::unix(&path);
    let (store, runtime) = provider(statsd_options(&old.address()));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    runtime.start().expect("a thread");
    add(&mut writer, "a", 1);
    flush(&runtime);
    old.take_until(&mut Totals::new(), "c.a", 1.0);
    // The old server is still there, but not where it was.
    std::fs::remove_file(&path).expect("a file");
    add(&mut writer, "a", 2);
    assert!(runtime.flush().is_err());
    let mut new = Server::unix(&path);
    new.take_until(&mut Totals::new(), "c.a", 2.0);
    assert!(!old.take(&mut Totals::new()));
    let levels: Vec<Level> = troubles(&runtime).iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::Warn, Level::Info]);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn the_server_is_tried_again_long_before_the_next_push() {
    let mut server = Server::udp(&free_port().to_string());
    let address = server.address();
    let mut slow = statsd_options(&address);
    slow.flush_interval = Duration::from_secs(3600);
    let (store, runtime) = provider(slow);
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    drop(server);
    runtime.start().expect("a thread");
    add(&mut writer, "a", 1);
    assert!(runtime.flush().is_err());
    server = Server::udp(address.strip_prefix("udp://").expect("udp"));
    server.take_until(&mut Totals::new(), "c.a", 1.0);
}

#[test]
fn tcp_server_away() {
    survives(Server::tcp(&free_port().to_string()), |address| {
        Server::tcp(address.strip_prefix("tcp://").expect("tcp"))
    });
}

#[test]
fn a_server_on_one_of_several_addresses_is_found() {
    // `localhost` is ::1 first on many machines, and servers often listen on 127.0.0.1 only.
    let mut server = Server::udp("127.0.0.1:0");
    let port = server.address().rsplit(':').next().map(str::to_owned).expect("a port");
    let (store, runtime) = provider(statsd_options(&format!("localhost:{port}")));
    add(&mut family(&store, Kind::Counter, "c", &["x"]), "a", 1);
    runtime.start().expect("a thread");
    flush(&runtime);
    server.take_until(&mut Totals::new(), "c.a", 1.0);
    assert_eq!(troubles(&runtime), []);
}

#[test]
fn a_name_that_never_resolves_holds_nobody_up() {
    let (store, runtime) = provider(statsd_options("statsd.invalid"));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    runtime.start().expect("a thread");
    add(&mut writer, "a", 1);
    assert!(within(Duration::from_millis(1500), "flush", || runtime.flush()).is_err());
    within(Duration::from_millis(2500), "stop", || runtime.stop());
    let (level, last) = runtime.notices().pop().expect("a notice");
    assert_eq!(level, Level::Warn);
    assert_eq!(
        last,
        "Stopped before everything was sent to the statsd server udp://statsd.invalid:8125; the rest is lost"
    );
}

#[test]
fn the_last_values_are_sent_at_the_end_and_a_restart_sends_nothing_twice() {
    let mut server = Server::udp("127.0.0.1:0");
    let mut slow = statsd_options(&server.address());
    slow.flush_interval = Duration::from_secs(3600);
    let (store, runtime) = provider(slow);
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    let mut totals = Totals::new();
    for round in 1..=20 {
        runtime.start().expect("a thread");
        add(&mut writer, "a", 3);
        within(Duration::from_secs(1), "stop", || runtime.stop());
        server.take_until(&mut totals, "c.a", f64::from(3 * round));
    }
    assert_eq!(troubles(&runtime), []);
}

#[test]
fn many_series_at_once_arrive_all() {
    let mut server = Server::udp("127.0.0.1:0");
    let (store, runtime) = provider(statsd_options(&server.address()));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    for number in 0..50_000 {
        add(&mut writer, &format!("a-name-of-some-length-{number}"), 1);
    }
    runtime.start().expect("a thread");
    let mut totals = Totals::new();
    let end = Instant::now() + SOON;
    while totals.len() < 50_000 && Instant::now() < end {
        server.take(&mut totals);
    }
    assert_eq!(totals.len(), 50_000);
}

#[test]
fn series_that_come_and_go_keep_their_names_and_lose_nothing() {
    let mut server = Server::udp("127.0.0.1:0");
    let (store, runtime) = provider_with(idle_policy(Limits::default()), statsd_options(&server.address()));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    runtime.start().expect("a thread");
    let mut random = fastrand::Rng::with_seed(5);
    let (mut totals, mut counted) = (Totals::new(), Totals::new());
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        for _ in 0..20 {
            let label = format!("{}", random.u32(0..50)).repeat(random.usize(1..3));
            add(&mut writer, &label, 2);
            *counted.entry(format!("c.{label}")).or_default() += 2.0;
        }
        store.clock().skip(Duration::from_secs(random.u64(1..40)));
        sweep(&mut writer);
        server.take(&mut totals);
        // The other tests need the processor, too: UDP waits for nobody.
        std::thread::sleep(Duration::from_millis(1));
    }
    runtime.stop();
    let end = Instant::now() + SOON;
    while totals != counted && Instant::now() < end {
        server.take(&mut totals);
    }
    assert_eq!(totals, counted);
    assert!(writer.family().expired() > 50);
}

#[test]
fn a_line_that_is_too_long_goes_alone() {
    let mut server = Server::udp("127.0.0.1:0");
    let (store, runtime) = provider(statsd_options(&server.address()));
    let mut writer = family(&store, Kind::Counter, "c", &["x"]);
    runtime.start().expect("a thread");
    for label in ["a", &"x".repeat(2000), "b"] {
        add(&mut writer, label, 1);
    }
    flush(&runtime);
    let mut totals = Totals::new();
    server.take_until(&mut totals, "c.b", 1.0);
    assert_eq!(totals.len(), 2);
    let mut page = Vec::new();
    exposition::page(&mut page, &store, Default::default(), Format::OPENMETRICS, None).expect("a page");
    let page = String::from_utf8(page).expect("text");
    assert!(
        page.contains("metre_statsd_dropped_lines_total{cause=\"too_long\"} 1\n"),
        "{page}"
    );
    assert!(page.contains("metre_statsd_datagrams_total 1\n"), "{page}");
    let (level, message) = troubles(&runtime).pop().expect("a notice");
    assert_eq!(level, Level::Warn);
    assert!(message.starts_with("Not sent to statsd: c.xxx"), "{message}");
    assert!(message.ends_with(
        "since it is longer than max_datagram; more of this kind are only counted, in metre_statsd_dropped_lines"
    ));
    assert!(message.len() < 250);
}

#[test]
fn gauges_are_told_to_a_server_that_was_away() {
    let mut server = Server::udp(&free_port().to_string());
    let address = server.address();
    let (store, runtime) = provider(statsd_options(&address));
    let mut gauges = family(&store, Kind::Gauge, "g", &[]);
    let mut counters = family(&store, Kind::Counter, "c", &["x"]);
    let (at, _) = gauges.find_or_create(&[]).expect("a series");
    updates::gauge::set(gauges.record(at), Number::Int(-7), &gauges.family().cork);
    runtime.start().expect("a thread");
    flush(&runtime);
    server.take_until(&mut Totals::new(), "g", -7.0);
    drop(server);
    add(&mut counters, "a", 1);
    assert_eq!(runtime.flush(), Err("Connection refused (os error 111)".to_owned()));
    server = Server::udp(address.strip_prefix("udp://").expect("udp"));
    server.take_until(&mut Totals::new(), "g", -7.0);
}

/// What Prosody's own pusher would have sent, for random operations on two counters.
#[derive(Clone, Debug)]
enum Operation {
    Add(usize, i64),
    Set(usize, i64),
    Reset(usize),
    Replace,
    Flush,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..2_usize, 0..50_i64).prop_map(|(which, step)| Operation::Add(which, step)),
        2 => (0..2_usize, 0..50_i64).prop_map(|(which, to)| Operation::Set(which, to)),
        1 => (0..2_usize).prop_map(Operation::Reset),
        1 => Just(Operation::Replace),
        2 => Just(Operation::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn totals_are_what_was_counted(operations in prop::collection::vec(operation(), 1..60)) {
        let mut server = Server::udp("127.0.0.1:0");
        let (store, runtime) = provider(statsd_options(&server.address()));
        runtime.start().expect("a thread");
        let mut values = [0; 2];
        let mut counted = [0; 2];
        let mut writers: Vec<FamilyWriter> = vec![family(&store, Kind::Counter, "c", &["x"])];
        for operation in operations {
            let writer = writers.last_mut().expect("a writer");
            let at = |writer: &mut FamilyWriter, which: usize| {
                let mut set = LabelSet::new();
                set.push(["a", "b"][which].as_bytes());
                writer.find_or_create(set.as_bytes()).expect("a series").0
            };
            match operation {
                Operation::Add(which, step) => {
                    let at = at(writer, which);
                    updates::counter::add(writer.record(at), Number::Int(step)).expect("a step");
                    values[which] += step;
                    counted[which] += step;
                }
                Operation::Set(which, to) => {
                    let at = at(writer, which);
                    updates::counter::set(writer.record(at), Number::Int(to), writer.family()).expect("a total");
                    counted[which] += if to < values[which] { to } else { to - values[which] };
                    values[which] = to;
                }
                Operation::Reset(which) => {
                    let at = at(writer, which);
                    updates::counter::reset(writer.record(at), writer.family());
                    values[which] = 0;
                }
                // Another label key: the family that was there is replaced.
                Operation::Replace => {
                    let key = ["x", "y"][writers.len() % 2];
                    writers.push(family(&store, Kind::Counter, "c", &[key]));
                    values = [0; 2];
                }
                Operation::Flush => flush(&runtime),
            }
        }
        runtime.stop();
        let mut totals = Totals::new();
        while server.take(&mut totals) {}
        for (name, counted) in ["c.a", "c.b"].into_iter().zip(counted) {
            prop_assert_eq!(totals.get(name).copied().unwrap_or(0.0), counted as f64);
        }
        prop_assert!(totals.len() <= 2, "{totals:?}");
    }
}
