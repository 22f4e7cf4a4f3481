//! What load balancers, kubelets and impatient scrapers get of the exporter, over real sockets.

mod common;

use common::free_port;
use common::http::{ask, connect, eventually, get, options, rest, runtime, value};
use metre::policy::Policy;
use metre::runtime::{Probes, Runtime};
use metre::store::Store;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const READY: &str = "HTTP/1.1 200 OK\r\n";
const TOKENS: &str = "old\nnew\n";

/// A file of tokens that is gone when this is.
struct TokenFile(PathBuf);

impl TokenFile {
    fn with(name: &str, text: &str) -> TokenFile {
        let path = std::env::temp_dir().join(format!("metre-probes-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("a file");
        TokenFile(path)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn store() -> Arc<Store> {
    Arc::new(Store::with(Policy::unlimited(), None))
}

fn request(at: SocketAddr, method: &str, path: &str, headers: &str) -> String {
    ask(
        at,
        &format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n"),
    )
}

/// The status of an answer.
fn status(at: SocketAddr, path: &str, headers: &str) -> String {
    let answer = request(at, "GET", path, headers);
    answer.get(9..12).unwrap_or_default().to_owned()
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

/// Somebody who does what Prosody's thread does, until told to stand still; `answered` is when it last did.
fn prosody(
    runtime: &Arc<Runtime>,
    stands_still: &Arc<AtomicBool>,
    end: &Arc<AtomicBool>,
    answered: &Arc<Mutex<Instant>>,
) -> std::thread::JoinHandle<()> {
    let (runtime, stands_still, end) = (Arc::clone(runtime), Arc::clone(stands_still), Arc::clone(end));
    let answered = Arc::clone(answered);
    std::thread::spawn(move || {
        while !end.load(Relaxed) {
            let before = Instant::now();
            if !stands_still.load(Relaxed) {
                if runtime.answer() {
                    runtime.collected(true);
                }
                *answered.lock().expect("no panic") = before;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

#[test]
fn readiness_is_that_the_loop_answers() {
    let at = free_port();
    let runtime = Arc::new(runtime(&store(), options(at)));
    runtime.start().expect("a start");
    assert_eq!(body(&get(at, "/-/healthy")), "200 OK\n");
    let answer = get(at, "/-/ready");
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert_eq!(
        body(&answer),
        "Prosody's event loop does not run yet, or no longer\n",
        "nothing but that line"
    );
    runtime.is_watched(true);
    let (stands_still, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let answered = Arc::new(Mutex::new(Instant::now()));
    let thread = prosody(&runtime, &stands_still, &end, &answered);
    eventually("the first answer", || get(at, "/-/ready").starts_with(READY));
    assert_eq!(body(&get(at, "/-/ready")), "200 OK\n");

    stands_still.store(true, Relaxed);
    eventually("not ready", || !get(at, "/-/ready").starts_with(READY));
    let since = answered.lock().expect("no panic").elapsed();
    assert!(since >= Duration::from_secs(5), "{since:?}");
    let answer = get(at, "/-/ready");
    let told = body(&answer).strip_prefix("Prosody's event loop has not answered for ");
    let seconds = told.and_then(|told| told.strip_suffix(" s\n")).expect("for how long");
    assert!(seconds.parse::<f64>().expect("a number") >= 5.0, "{answer}");
    let head = request(at, "HEAD", "/-/ready", "");
    assert!(head.starts_with("HTTP/1.1 503 ") && body(&head).is_empty(), "{head}");
    assert_eq!(body(&get(at, "/-/healthy")), "200 OK\n");

    stands_still.store(false, Relaxed);
    eventually("ready again", || get(at, "/-/ready").starts_with(READY));
    // Nobody was refused anything by that.
    let page = get(at, "/metrics?name[]=metre_scrapes");
    assert!(!page.contains("code=\"503\""), "{page}");
    end.store(true, Relaxed);
    thread.join().expect("no panic");
    runtime.stop();
}

#[test]
fn probes_are_for_whom_the_operator_says() {
    let file = TokenFile::with("who", TOKENS);
    let token = "Authorization: Bearer new\r\n";
    for (probes, is_allowed, without, with) in [
        (Probes::Guarded, true, "401", "200"),
        (Probes::Guarded, false, "403", "403"),
        (Probes::Allow, true, "200", "200"),
        (Probes::Allow, false, "403", "403"),
        (Probes::All, true, "200", "200"),
        (Probes::All, false, "200", "200"),
    ] {
        let at = free_port();
        let mut options = options(at);
        options.probes = probes;
        options.http.access.token_file = Some(file.0.clone());
        if !is_allowed {
            options.http.access.allow = vec!["192.0.2.1/32".parse().expect("a range")];
        }
        let runtime = runtime(&store(), options);
        runtime.start().expect("a start");
        let what = format!("{probes:?}, allowed: {is_allowed}");
        assert_eq!(status(at, "/-/healthy", ""), without, "{what}");
        assert_eq!(status(at, "/-/healthy", token), with, "{what}");
        // A wrong one is none.
        assert_eq!(
            status(at, "/-/healthy", "Authorization: Bearer x\r\n"),
            without,
            "{what}"
        );
        // Nobody watches the loop here.
        let ready = if without == "200" { "503" } else { without };
        assert_eq!(status(at, "/-/ready", ""), ready, "{what}");
        // All else is as it was.
        let (shut, open) = if is_allowed { ("401", "200") } else { ("403", "403") };
        for path in ["/metrics", "/", "/metrics?/-/healthy", "http://x/metrics"] {
            assert_eq!(status(at, path, ""), shut, "{what}: {path}");
            assert_eq!(status(at, path, token), open, "{what}: {path}");
        }
        assert_eq!(status(at, "/-/nowhere", ""), shut, "{what}");
        let options = request(at, "OPTIONS", "*", "");
        assert_eq!(options.get(9..12), Some(shut), "{what}");
        runtime.stop();
    }
}

#[test]
fn options_are_told() {
    let at = free_port();
    let runtime = runtime(&store(), options(at));
    runtime.start().expect("a start");
    for path in ["*", "/", "/metrics", "/metrics?name[]=x", "/-/healthy", "/-/ready"] {
        let answer = request(at, "OPTIONS", path, "");
        assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{path}: {answer}");
        assert_eq!(header(&answer, "allow"), Some("GET, HEAD, OPTIONS"), "{path}");
        assert_eq!(header(&answer, "content-length"), None, "{path}");
        assert_eq!(body(&answer), "", "{path}");
        // No page elsewhere may read what is here.
        assert!(!answer.contains("access-control"), "{answer}");
    }
    for (method, path, status) in [
        ("OPTIONS", "/nowhere", "404"),
        ("GET", "*", "404"),
        ("GET", "/-/", "404"),
        ("GET", "/-/ready/", "404"),
        ("POST", "/-/ready", "405"),
        ("DELETE", "/metrics", "405"),
        ("TRACE", "/", "405"),
        ("PROPFIND", "/", "405"),
    ] {
        let answer = request(at, method, path, "");
        assert_eq!(answer.get(9..12), Some(status), "{method} {path}: {answer}");
        let allow = (status == "405").then_some("GET, HEAD, OPTIONS");
        assert_eq!(header(&answer, "allow"), allow, "{method} {path}");
    }
    // On a connection that stays the next answer is where it belongs.
    let mut socket = connect(at);
    socket
        .write_all(
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS /metrics HTTP/1.1\r\nHost: x\r\n\r\n\
              GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .expect("taken");
    let answers = rest(socket);
    assert_eq!(answers.matches("HTTP/1.1 204 No Content\r\n").count(), 2, "{answers}");
    assert!(answers.ends_with("\r\n\r\n200 OK\n"), "{answers}");
    // It takes no body either.
    let with_body = ask(at, "OPTIONS / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert!(with_body.starts_with("HTTP/1.1 413 "), "{with_body}");
    runtime.stop();
}

#[test]
fn an_old_and_a_new_token_hold_for_a_while() {
    let file = TokenFile::with("two", TOKENS);
    let at = free_port();
    let mut options = options(at);
    options.http.access.token_file = Some(file.0.clone());
    let runtime = runtime(&store(), options);
    runtime.start().expect("a start");
    let gets = |token: &str| status(at, "/metrics", &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!((gets("old").as_str(), gets("new").as_str()), ("200", "200"));
    for wrong in ["", "ol", "oldnew", "old new", "other"] {
        assert_eq!(gets(wrong), "401", "{wrong}");
    }
    let logged = || -> Vec<String> { runtime.notices().into_iter().map(|(_, line)| line).collect() };
    logged();
    // The old one goes.
    std::fs::write(&file.0, "new\n").expect("written");
    assert_eq!((gets("old").as_str(), gets("new").as_str()), ("401", "200"));
    logged();
    // What should be mended is told once, and holds.
    std::fs::write(&file.0, "\u{feff}new\r\n\r\nnewer\r\n").expect("written");
    for token in ["new", "newer", "new"] {
        assert_eq!(gets(token), "200");
    }
    assert_eq!(gets(""), "401", "a blank line is no token");
    let path = file.0.display();
    assert_eq!(
        logged(),
        [format!(
            "The file in 'exporter.bearer_token_file' should be mended: {path}: line 1 begins with a byte order mark; save the file \
             without one; line 1 ends as lines do on Windows (CRLF); save the file with LF alone; line 2 is blank; remove it; its \
             tokens hold"
        )]
    );
    // What can't be used lets nobody in, and each reason is told.
    for (text, why) in [
        (
            "new\nnewer\nnewest\n",
            "line 3 has a third token; keep two at most, the old one and the new one",
        ),
        ("", "it is empty; write a token on its first line"),
        (
            "new \u{fc}",
            "line 1 has a character that is not ASCII; make a token of letters and digits",
        ),
    ] {
        std::fs::write(&file.0, text).expect("written");
        assert_eq!((gets("new").as_str(), gets("").as_str()), ("401", "401"), "{text:?}");
        assert_eq!(
            logged(),
            [format!(
                "Nobody gets metrics, since 'exporter.bearer_token_file' has no token that can be used: {path}: {why}"
            )]
        );
    }
    runtime.stop();
}

#[test]
fn a_scraper_that_waits_for_less_gets_its_page_in_time() {
    let at = free_port();
    let mut options = options(at);
    // Longer than anybody waits here.
    options.collecting.timeout = Duration::from_secs(600);
    let runtime = runtime(&store(), options);
    runtime.start().expect("a start");
    // Prosody's thread stands still.
    runtime.is_watched(true);
    let since = Instant::now();
    let answer = request(at, "GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 1\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:.100}");
    assert!(since.elapsed() >= Duration::from_millis(800), "{:?}", since.elapsed());
    assert_eq!(value(&answer, "metre_collections_total{result=\"late\"}"), 1.0);
    // One that waits for no time at all still gets what there is.
    let answer = request(at, "GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 0.001\r\n");
    assert_eq!(value(&answer, "metre_collections_total{result=\"late\"}"), 2.0);
    runtime.stop();
}
