//! Anything over a connection to the exporter, a real one: it never hangs, each answer is one, nobody gets a page without the token where
//! there is one, and the next client is served.
#![no_main]

use libfuzzer_sys::fuzz_target;
use metre::encode::exposition;
use metre::model::{Kind, LabelSet, Number};
use metre::policy::Policy;
use metre::runtime::{Collecting, ExportOptions, Options, Probes, Runtime};
use metre::store::{updates, FamilySpec, FamilyWriter, Store};
use metre::transport::http::{Access, Address, Limits, Options as HttpOptions};
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
        let (open, closed) = (directory.join("open.sock"), directory.join("closed.sock"));
        Servers {
            _running: [serve(&store, &open, None), serve(&store, &closed, Some(token))],
            _writer: Mutex::new(writer),
            open,
            closed,
        }
    })
}

fn fill(store: &Store) -> FamilyWriter {
    let spec = FamilySpec {
        kind: Kind::Counter,
        name: b"a".to_vec(),
        unit: Vec::new(),
        help: Vec::new(),
        label_keys: vec![b"l".to_vec()],
        thresholds: Vec::new(),
    };
    let (mut writer, _) = store.register(spec).expect("room for a family");
    let mut labels = LabelSet::new();
    labels.push(b"HTTP/1.1 \"\r\n\r\n");
    let (at, _) = writer.find_or_create(labels.as_bytes()).expect("room for a series");
    updates::counter::add(writer.record(at), Number::Int(1)).expect("a step");
    writer
}

fn serve(store: &Arc<Store>, path: &Path, token_file: Option<PathBuf>) -> Runtime {
    let export = ExportOptions {
        http: HttpOptions {
            listen: vec![Address::Unix(path.to_owned())],
            socket_mode: 0o600,
            access: Access {
                allow: Vec::new(),
                token_file,
            },
            limits: Limits {
                connections: 8,
                header_time: Duration::from_secs(60),
                idle_time: Duration::from_secs(60),
                send_time: Duration::from_secs(60),
                answers: 1 << 20,
            },
        },
        collecting: Collecting {
            timeout: Duration::from_secs(1),
            min_interval: Duration::from_secs(1),
        },
        probes: Probes::Guarded,
    };
    let options = Options {
        statsd: None,
        export: Some(export),
        page: exposition::Options::default(),
        self_metrics: true,
        process_metrics: false,
    };
    let runtime = Runtime::new(store, options, "none");
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
