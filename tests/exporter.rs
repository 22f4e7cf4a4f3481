//! The exporter against real sockets on loopback: who is served what, and what clients can't take.

mod common;

use common::http::{answer, ask, connect, eventually, get, options, rest, runtime, send, value, whole};
use common::{create, family, free_port, unhindered};
use flate2::read::GzDecoder;
use metre::encode::exposition::{self, Format};
use metre::model::{Kind, Number};
use metre::policy::Policy;
use metre::store::{updates, FamilyWriter, Store};
use metre::transport::http::{self, Address, Audience, Body, Event, Head, Response, Site};
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::LocalSet;

/// A family with so many series, each of some 200 bytes on a page.
fn fill(store: &Store, name: &str, count: usize) -> FamilyWriter {
    let mut writer = family(store, Kind::Counter, name, &["number"]);
    for number in 0..count {
        create(&mut writer, &[&format!("{number:0180}")]);
    }
    writer
}

fn entries(path: &str) -> usize {
    std::fs::read_dir(path).expect("a directory").count()
}

#[test]
fn the_rules_of_http_are_kept() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let _writer = fill(&store, "x", 1);
    let at = free_port();
    let runtime = runtime(&store, options(at));
    runtime.start().expect("a start");

    // Several requests on a connection, one after the other and at once.
    let mut socket = connect(at);
    for _ in 0..2 {
        send(&mut socket, "/metrics");
        assert!(answer(&mut socket).0.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("taken");
    assert!(answer(&mut socket).0.contains("text/html"));
    assert!(answer(&mut socket).0.contains("text/plain"));

    // HEAD has the length and no body.
    let head = ask(
        at,
        "HEAD /metrics?name[]=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    let page = get(at, "/metrics?name[]=x");
    let (page_head, page_body) = page.split_once("\r\n\r\n").expect("a head");
    let length = format!("content-length: {}", page_body.len());
    assert!(
        head.ends_with("\r\n\r\n") && head.contains(&length) && page_head.contains(&length),
        "{head}"
    );

    // A client that has sent its request and says that it is done.
    let mut socket = connect(at);
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("taken");
    socket.shutdown(std::net::Shutdown::Write).expect("closed");
    assert!(rest(socket).contains("metre_build_info"));
    // An old client.
    assert!(ask(at, "GET /metrics HTTP/1.0\r\n\r\n").contains("metre_build_info"));
    // Without a body there is a length all the same.
    let empty = ask(
        at,
        "HEAD /metrics?name[]=nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(empty.contains("content-length: 0\r\n"), "{empty}");

    for (request, status) in [
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404"),
        (
            "DELETE /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "405",
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "405"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "413"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "413",
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "400",
        ),
        ("garbage\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        (&format!("GET /?{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)), "4"),
        (&format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100_000)), "431"),
        (&format!("GET / HTTP/1.1\r\n{}\r\n", "A: x\r\n".repeat(1000)), "431"),
    ] {
        let answer = ask(at, request);
        let expected = format!("HTTP/1.1 {status}");
        // A client that has more to say than is read may see the connection end first.
        assert!(
            answer.starts_with(&expected) || (answer.is_empty() && request.len() > 90_000),
            "{request:.80}: {answer}"
        );
    }
    // A client that speaks TLS.
    let mut socket = connect(at);
    socket
        .write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])
        .expect("taken");
    rest(socket);
    let page = get(at, "/metrics");
    assert!(value(&page, "metre_scrapes_total{code=\"400\",format=\"none\"}") >= 3.0);
    assert!(value(&page, "metre_scrapes_total{code=\"431\",format=\"none\"}") >= 1.0);
    assert_eq!(value(&page, "metre_scrapes_total{code=\"405\",format=\"none\"}"), 2.0);
    assert_eq!(value(&page, "metre_series{type=\"histogram\"}"), 2.0);
    runtime.stop();
}

#[test]
fn a_long_page_comes_whole_to_everybody() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let _counters = fill(&store, "x", 20_000);
    let mut gauges = family(&store, Kind::Gauge, "y", &["number"]);
    for number in 0..20_000 {
        let at = create(&mut gauges, &[&number.to_string()]);
        updates::gauge::set(gauges.record(at), Number::Int(number), &gauges.family().cork);
    }
    let mut expected = Vec::new();
    let only = exposition::only(&store, ["x", "y"]);
    let (page, format) = (exposition::Options::default(), Format::Text0);
    exposition::page(&mut expected, &store, page, format, Some(&only)).expect("a Vec takes everything");
    assert!(expected.len() > 4_000_000);
    let shown: HashMap<&str, &str> = std::str::from_utf8(&expected)
        .expect("UTF-8")
        .lines()
        .filter_map(|line| line.strip_prefix("y{number=\"")?.split_once("\"} "))
        .collect();
    assert_eq!(shown.len(), 20_000);
    assert!(shown.iter().all(|(label, value)| label == value), "another one's label");

    let at = free_port();
    let runtime = runtime(&store, options(at));
    runtime.start().expect("a start");
    let fetch = |method: &str, version: &str, fields: &str| {
        let mut socket = connect(at);
        let request = format!("{method} /metrics?name[]=x&name[]=y HTTP/{version}\r\nHost: x\r\n{fields}\r\n");
        socket.write_all(request.as_bytes()).expect("taken");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("an answer");
        answer
    };
    let closes = "Connection: close\r\n";
    let (head, body) = whole(&fetch("GET", "1.1", closes));
    assert!(body == expected && head.contains("chunked"), "{head}");
    // This client knows no chunks.
    let (head, body) = whole(&fetch("GET", "1.0", ""));
    assert!(body == expected && !head.contains("chunked"), "{head}");
    let head = String::from_utf8(fetch("HEAD", "1.1", closes)).expect("UTF-8");
    let length = format!("content-length: {}\r\n", expected.len());
    assert!(head.contains(&length) && head.ends_with("\r\n\r\n"), "{head}");

    // What can't be made smaller is long when it is packed, too.
    let mut noise = family(&store, Kind::Counter, "z", &["number"]);
    for _ in 0..40_000 {
        create(
            &mut noise,
            &[&format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..))],
        );
    }
    expected.clear();
    let only = exposition::only(&store, ["z"]);
    exposition::page(&mut expected, &store, page, format, Some(&only)).expect("a Vec takes everything");
    let mut socket = connect(at);
    for _ in 0..2 {
        socket
            .write_all(b"GET /metrics?name[]=z HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
            .expect("taken");
    }
    socket.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut answers = Vec::new();
    socket.read_to_end(&mut answers).expect("answers");
    // The connection is good for another one.
    let start = b"HTTP/1.1 200 OK\r\n";
    let second = answers[1..]
        .windows(start.len())
        .position(|bytes| bytes == start)
        .expect("an answer");
    for answer in [&answers[..=second], &answers[second + 1..]] {
        let (head, packed) = whole(answer);
        assert!(head.contains("chunked") && packed.len() > 1 << 20, "{head}");
        let mut body = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut body).expect("gzip");
        assert!(body == expected);
    }
    runtime.stop();
}

/// Has answers that end before their end.
struct Half;

impl Site for Half {
    fn audience(&self, _: &Head) -> Audience {
        Audience::Everybody
    }

    async fn answer(&self, _: &Head) -> Response<Body> {
        let (feed, body) = Body::in_pieces(|| {});
        // So much that it is sent before more is asked for.
        feed.push(vec![b'x'; 100_000].into());
        Response::new(body)
    }

    fn note(&self, _: Event<'_>) {}

    fn tick(&self) {}
}

#[test]
fn half_an_answer_does_not_look_whole() {
    let at = free_port();
    let (stop, stopping) = watch::channel(false);
    let server = std::thread::spawn(move || {
        let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let serve = http::serve(options(at).http, Rc::new(Half), stopping);
        LocalSet::new().block_on(&reactor.expect("an event loop"), serve);
    });
    let answer = ask(at, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        answer.contains("chunked") && answer.ends_with("xxx\r\n"),
        "{answer:.200}"
    );
    stop.send_replace(true);
    server.join().expect("no panic");
}

#[test]
fn slow_clients_keep_nobody_out_and_take_no_descriptors() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let at = free_port();
    let runtime = runtime(&store, options(at));
    runtime.start().expect("a start");
    get(at, "/-/healthy");
    let mut trusted = connect(at);
    send(&mut trusted, "/");
    answer(&mut trusted);

    let before = entries("/proc/self/fd");
    let mut slow: Vec<TcpStream> = Vec::new();
    for number in 0..300 {
        let mut socket = connect(at);
        match number % 3 {
            0 => {}
            1 => socket.write_all(b"GET /metr").expect("taken"),
            _ => socket.write_all(b"GET /metrics HTTP/1.1\r\nA: b\r\n").expect("taken"),
        }
        slow.push(socket);
        if number % 50 == 49 {
            assert!(get(at, "/metrics").starts_with("HTTP/1.1 200 OK"));
        }
    }
    // Theirs are 300; ours no more than are allowed.
    eventually("few descriptors", || {
        entries("/proc/self/fd") <= before + slow.len() + 8
    });
    let page = get(at, "/metrics");
    assert!(value(&page, "metre_cut_connections_total{reason=\"room\"}") >= 280.0);
    runtime.stop();
}

#[test]
fn unwanted_clients_take_no_place_of_others() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let at = free_port();
    let mut options = options(at);
    options.http.access.allow = vec!["127.0.0.1/32".parse().expect("a range")];
    let runtime = runtime(&store, options);
    runtime.start().expect("a start");
    let mut wanted: Vec<TcpStream> = (0..8).map(|_| connect(at)).collect();
    for socket in &mut wanted {
        send(socket, "/");
        assert!(answer(socket).0.starts_with("HTTP/1.1 200"));
    }
    // Another address of this machine.
    let unwanted = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let from: SocketAddr = "127.0.0.2:0".parse().expect("an address");
        socket.bind(&from.into()).expect("bound");
        socket.connect(&at.into()).expect("connected");
        TcpStream::from(socket)
    };
    for _ in 0..50 {
        let mut socket = unwanted();
        // It may have been closed already.
        let _ = socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(rest(socket), "");
    }
    for socket in &mut wanted {
        send(socket, "/");
        assert!(answer(socket).0.starts_with("HTTP/1.1 200"));
    }
    // With room they are told why.
    drop(wanted.pop());
    eventually("a refusal", || {
        let mut socket = unwanted();
        let _ = socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        rest(socket).starts_with("HTTP/1.1 403 Forbidden\r\n")
    });
    runtime.stop();
}

#[test]
fn clients_that_have_gone_keep_nobody_out() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let _writer = fill(&store, "x", 20_000);
    let at = free_port();
    let runtime = runtime(&store, options(at));
    runtime.start().expect("a start");
    let page = get(at, "/metrics").len();
    let watched = |manual| runtime.is_watched(manual);
    // Nobody collects, so each scrape takes a second before it is rendered.
    watched(true);
    for number in 0..30 {
        let mut socket = connect(at);
        send(
            &mut socket,
            &format!("/metrics?name[]=x&name[]=metre_series&name[]=x{number}"),
        );
    }
    watched(false);
    assert!(get(at, "/metrics").len() >= page);
    let renders = value(
        &get(at, "/metrics?name[]=metre_render_seconds"),
        "metre_render_seconds_count",
    );
    assert!(renders < 10.0, "{renders} pages were made for nobody");
    runtime.stop();
}

#[test]
fn a_newcomer_has_its_time_among_idle_clients() {
    let at = free_port();
    let runtime = runtime(&Arc::new(Store::with(Policy::unlimited(), None)), options(at));
    runtime.start().expect("a start");
    let mut idle: Vec<TcpStream> = (0..8).map(|_| connect(at)).collect();
    for socket in &mut idle {
        send(socket, "/-/healthy");
        answer(socket);
    }
    let mut newcomer = connect(at);
    // Others come before it says what it wants.
    let others: Vec<TcpStream> = (0..6).map(|_| connect(at)).collect();
    send(&mut newcomer, "/-/healthy");
    assert!(answer(&mut newcomer).0.starts_with("HTTP/1.1 200"));
    drop(others);
    runtime.stop();
}

#[test]
fn small_answers_end_no_large_ones() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let _writer = fill(&store, "x", 100_000);
    let at = free_port();
    let runtime = runtime(&store, options(at));
    runtime.start().expect("a start");
    let mut socket = connect(at);
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("taken");
    let mut first = [0];
    socket.read_exact(&mut first).expect("a first byte");
    assert!(get(at, "/-/healthy").contains("200 OK"));
    assert!(get(at, "/nowhere").contains("404"));
    assert!(get(at, "/metrics?name[]=metre_series").contains("200 OK"));
    assert!(rest(socket).len() > 18_000_000);
    runtime.stop();
}

#[test]
fn half_a_request_does_not_hold_up_the_end() {
    let at = free_port();
    let runtime = runtime(&Arc::new(Store::with(Policy::unlimited(), None)), options(at));
    runtime.start().expect("a start");
    let mut socket = connect(at);
    socket.write_all(b"G").expect("taken");
    get(at, "/-/healthy");
    let (_, took) = unhindered(|| runtime.stop());
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert_eq!(rest(socket), "");
}

#[test]
fn slow_clients_have_their_time() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let _writer = fill(&store, "x", 50_000);
    let at = free_port();
    let mut options = options(at);
    options.http.limits.header_time = Duration::from_millis(10);
    options.http.limits.idle_time = Duration::from_millis(10);
    options.http.limits.send_time = Duration::from_millis(10);
    let runtime = runtime(&store, options);
    runtime.start().expect("a start");
    assert_eq!(rest(connect(at)), "");
    let mut socket = connect(at);
    socket.write_all(b"GET /metr").expect("taken");
    assert_eq!(rest(socket), "");
    // One that doesn't read on gets a part of its page, with chunks or without.
    let cut = "metre_cut_connections_total{reason=\"slow_answer\"}";
    for (cuts, version) in [(1.0, "1.1"), (2.0, "1.0")] {
        let mut socket = connect(at);
        let request = format!("GET /metrics HTTP/{version}\r\nHost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("taken");
        eventually("a cut", || {
            value(&get(at, "/metrics?name[]=metre_cut_connections"), cut) >= cuts
        });
        assert!(rest(socket).len() < 9_000_000);
    }
    runtime.stop();
}

#[test]
fn pages_on_their_way_do_not_pile_up() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let _writer = fill(&store, "x", 100_000);
    let at = free_port();
    let runtime = runtime(&store, options(at));
    runtime.start().expect("a start");
    let whole = get(at, "/metrics").len();
    assert!(
        whole > 19_000_000,
        "two of them are more than are kept, without what sockets take"
    );
    // Each gets a page of its own, since they don't ask together; none of them reads it.
    let cut = "metre_cut_connections_total{reason=\"room\"}";
    let mut slow = Vec::new();
    for number in 0..5 {
        let mut socket = connect(at);
        send(&mut socket, "/metrics");
        let mut first = [0];
        socket.read_exact(&mut first).expect("a first byte");
        slow.push(socket);
        eventually("room for the next one", || {
            value(&get(at, "/metrics?name[]=metre_cut_connections"), cut) >= f64::from(number)
        });
    }
    // The last one may still have it all.
    let last = comes(slow.pop().expect("a client"), 19_000_000);
    assert!(last >= 19_000_000, "{last}");
    runtime.stop();
}

/// How many bytes come of a page, as soon as it is clear that it has this many.
fn comes(mut socket: TcpStream, enough: usize) -> usize {
    let (mut all, mut part) = (0, vec![0; 1 << 16]);
    while all < enough {
        match socket.read(&mut part).expect("more in time") {
            0 => break,
            bytes => all += bytes,
        }
    }
    all
}

#[test]
fn pages_stay_whole_while_everything_changes() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let at = free_port();
    let runtime = runtime(&store, options(at));
    runtime.start().expect("a start");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut gauges = ["a", "b"].map(|name| family(&store, Kind::Gauge, name, &[]));
            let mut histogram = family(&store, Kind::Histogram, "h", &[]);
            let places = gauges
                .each_mut()
                .map(|gauge| gauge.find_or_create(&[]).expect("a series").0);
            let place = histogram.find_or_create(&[]).expect("a series").0;
            let mut rounds = 0;
            while !stop.load(Relaxed) {
                rounds += 1;
                store.cork();
                for (gauge, at) in gauges.iter().zip(places) {
                    updates::gauge::set(gauge.record(at), Number::ZERO, &gauge.family().cork);
                }
                for _ in 0..5 {
                    for (gauge, at) in gauges.iter().zip(places) {
                        updates::gauge::add(gauge.record(at), Number::Int(1), &gauge.family().cork);
                    }
                }
                store.uncork();
                store.cork();
                for (gauge, at) in gauges.iter().zip(places) {
                    updates::gauge::set(gauge.record(at), Number::Int(rounds), &gauge.family().cork);
                }
                store.uncork();
                for sample in [0, 5, 50] {
                    let sample = Number::Int(sample);
                    updates::samples::histogram(histogram.record(place), sample, histogram.family()).expect("a sample");
                }
                // Readers give up on somebody who corks without a pause; this is still thousands of times a second.
                std::thread::sleep(Duration::from_micros(50));
            }
        })
    };
    eventually("gauges", || get(at, "/metrics?name[]=h").contains("h_count"));
    for _ in 0..500 {
        let page = get(at, "/metrics?name[]=a&name[]=b&name[]=h");
        assert_eq!(value(&page, "a"), value(&page, "b"), "{page}");
        assert_eq!(value(&page, "h_count"), value(&page, "h_bucket{le=\"+Inf\"}"), "{page}");
        assert!(
            value(&page, "h_bucket{le=\"1\"}") <= value(&page, "h_bucket{le=\"10\"}"),
            "{page}"
        );
    }
    stop.store(true, Relaxed);
    writer.join().expect("no panic");
    runtime.stop();
}

#[test]
fn starts_and_stops_leave_nothing_behind() {
    let store = Arc::new(Store::with(Policy::unlimited(), None));
    let at = free_port();
    let path = std::env::temp_dir().join(format!("metre-exporter-{}", std::process::id()));
    let mut options = options(at);
    options.http.listen.push(Address::Unix(path.clone()));
    let runtime = runtime(&store, options);
    let round = || {
        runtime.start().expect("a start");
        eventually("a socket", || path.exists());
        let mut kept = connect(at);
        send(&mut kept, "/");
        answer(&mut kept);
        let (_, took) = unhindered(|| runtime.stop());
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(!path.exists());
        assert_eq!(rest(kept), "");
        assert!(TcpStream::connect(at).is_err());
    };
    round();
    // Other tests in this process come and go, so not more than they have; each round has two threads and some ten descriptors.
    let (threads, descriptors) = (entries("/proc/self/task"), entries("/proc/self/fd"));
    (0..200).for_each(|_| round());
    eventually("no more threads", || entries("/proc/self/task") < threads + 100);
    eventually("no more descriptors", || entries("/proc/self/fd") < descriptors + 400);
}
