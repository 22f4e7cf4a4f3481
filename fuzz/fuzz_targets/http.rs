//! Anything over a connection to the exporter, a real one: it never hangs, each answer is one, nobody gets a page without the token where
//! there is one, and the next client is served.
#![no_main]

use libfuzzer_sys::fuzz_target;
use metre::config::{settings, Value};
use metre::model::{Kind, LabelSet, Number};
use metre::policy::Policy;
use metre::runtime::Runtime;
use metre::store::{updates, FamilySpec, FamilyWriter, Store};
use metre_fuzz::http::{answers, pieces, TOKEN};
use metre_fuzz::input::Input;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Longer than any answer takes, also where many other things run.
const HANGS: Duration = Duration::from_secs(60);

/// One server for everybody, and one for those with the token.
struct Servers {
    open: PathBuf,
    closed: PathBuf,
    _running: [Runtime; 2],
    _writer: Mutex<FamilyWriter>,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let directory = metre_fuzz::directory();
        let store = Arc::new(Store::with(Policy::default(), None));
        let writer = fill(&store);
        let token = directory.join("token");
        std::fs::write(&token, TOKEN).expect("a file");
        let token = format!("bearer_token_file = {token:?}");
        let (open, closed) = (directory.join("open.sock"), directory.join("closed.sock"));
        Servers {
            _running: [serve(&store, &open, ""), serve(&store, &closed, &token)],
            _writer: Mutex::new(writer),
            open,
            closed,
        }
    })
}

fn fill(store: &Store) -> FamilyWriter {
    let spec = FamilySpec::new(Kind::Counter, "a").labels(&["l"]);
    let (mut writer, _) = store.register(spec).expect("room for a family");
    let mut labels = LabelSet::new();
    labels.push(b"HTTP/1.1 \"\r\n\r\n");
    let (at, _) = writer.find_or_create(labels.as_bytes()).expect("room for a series");
    updates::counter::add(writer.record(at), Number::Int(1)).expect("a step");
    writer
}

fn serve(store: &Arc<Store>, path: &Path, keys: &str) -> Runtime {
    let config = path.with_extension("toml");
    let text = format!(
        "process_metrics = false\n[exporter]\nlisten = \"unix:{}\"\nmax_connections = 8\n\
        header_timeout = 60\nidle_timeout = 60\nsend_timeout = 60\n{keys}\n",
        path.display()
    );
    std::fs::write(&config, text).expect("a file");
    let config = Value::String(config.to_string_lossy().into_owned());
    let settings = settings(Value::Table([("config_file".to_owned(), config)].into()), false);
    let runtime = Runtime::new(store, settings.expect("a configuration").runtime, "none");
    runtime.start().expect("threads");
    runtime
}

fn connect(path: &Path) -> UnixStream {
    let end = Instant::now() + HANGS;
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => {
                socket.set_read_timeout(Some(HANGS)).expect("a timeout");
                socket.set_write_timeout(Some(HANGS)).expect("a timeout");
                return socket;
            }
            // It is about to listen.
            Err(why) => assert!(Instant::now() < end, "{why}"),
        }
        std::thread::yield_now();
    }
}

/// What comes until the server closes the connection.
fn rest(mut socket: UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    match socket.read_to_end(&mut all) {
        Ok(_) => {}
        Err(why) => assert_eq!(why.kind(), ErrorKind::ConnectionReset, "it hangs"),
    }
    all
}

fuzz_target!(|bytes: &[u8]| {
    let input = &mut Input::new(bytes);
    let closed = input.any();
    let servers = servers();
    let path = if closed { &servers.closed } else { &servers.open };
    let all = match input.any() {
        true => pieces(input),
        false => vec![input.rest()],
    };
    let mut socket = connect(path);
    for piece in &all {
        // It may have had enough.
        if socket.write_all(piece).is_err() {
            break;
        }
    }
    let _ = socket.shutdown(Shutdown::Write);
    let sent = all.concat();
    let contains = |text: &str| sent.windows(text.len()).any(|window| window == text.as_bytes());
    let got = rest(socket);
    let got = answers(&got, contains("HEAD")).unwrap_or_else(|why| {
        panic!(
            "{why}\n{}\n{}",
            String::from_utf8_lossy(&sent),
            String::from_utf8_lossy(&got)
        )
    });
    for answer in &got {
        assert!(
            !closed || answer.status != 200 || contains(TOKEN),
            "a page without the token: {answer:?}"
        );
    }

    let mut socket = connect(path);
    let scrape = format!(
        "GET /metrics?name[]=a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(scrape.as_bytes()).expect("taken");
    let got = answers(&rest(socket), false).expect("an answer");
    assert_eq!((got.len(), got[0].status), (1, 200));
    assert!(
        got[0].body.ends_with(b"\"} 1\n"),
        "{}",
        String::from_utf8_lossy(&got[0].body)
    );
});
