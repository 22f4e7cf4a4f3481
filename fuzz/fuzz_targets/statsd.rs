//! Anything that modules do to a store with a pusher, over a real socket: each datagram can be read by a strict server, is as short as it
//! has to be, and at the end the server has what the model has counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use metre::encode::exposition;
use metre::encode::statsd::{Histograms, Options as Lines, Renames, Tags};
use metre::runtime::{Options, Runtime, StatsdOptions};
use metre::transport::statsd::Endpoint;
use metre_fuzz::check_wire::check;
use metre_fuzz::input::Input;
use metre_fuzz::statsd::{Dialect, Server};
use metre_fuzz::world::World;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// A socket that is read all the time.
struct Socket {
    path: PathBuf,
    datagrams: Mutex<Receiver<Vec<u8>>>,
}

/// What this process sends after all else.
const MARK: &[u8] = b"that is all";

fn socket() -> &'static Socket {
    static SOCKET: OnceLock<Socket> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let path = metre_fuzz::directory().join("statsd.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let (sender, datagrams) = channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 70_000];
            while let Ok(length) = socket.recv(&mut buffer) {
                let _ = sender.send(buffer[..length].to_vec());
            }
        });
        Socket {
            path,
            datagrams: Mutex::new(datagrams),
        }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let input = &mut Input::new(bytes);
    let socket = socket();
    let options = options(input, Endpoint::Unixgram(socket.path.clone()));
    let dialect = match options.lines.tags {
        Tags::None => Dialect::Plain,
        Tags::DogStatsd => Dialect::DogStatsd,
        Tags::Influx => Dialect::Influx,
    };
    let mut world = World::new(input, Some(options.samples()));
    let runtime = Runtime::new(
        &world.store,
        Options {
            statsd: Some(options.clone()),
            export: None,
            page: exposition::Options::default(),
            self_metrics: false,
            process_metrics: false,
        },
        "none",
    );
    runtime.start().expect("a thread");
    while !input.is_over() {
        match input.one_in(16) {
            true => flush(&runtime),
            false => world.step(input),
        }
    }
    world.settle();
    flush(&runtime);
    // The last push finds nothing new.
    runtime.stop();
    let mut server = Server::new(dialect, options.lines.container.as_deref());
    UnixDatagram::unbound()
        .and_then(|sender| sender.send_to(MARK, &socket.path))
        .expect("sent");
    let datagrams = socket.datagrams.lock().expect("one thread");
    while let Some(datagram) = datagrams.recv().ok().filter(|datagram| datagram != MARK) {
        assert!(datagram.len() <= options.max_datagram, "{} bytes", datagram.len());
        if let Err(why) = server.take(&datagram) {
            panic!("{why}\n{}", String::from_utf8_lossy(&datagram));
        }
    }
    check(&world, &server, &options.lines, dialect, options.max_datagram);
});

/// On a busy machine a second may be too short.
fn flush(runtime: &Runtime) {
    let flushed = (0..60).any(|_| runtime.flush().is_ok());
    assert!(flushed, "{:?}", runtime.notices());
}

fn options(input: &mut Input<'_>, server: Endpoint) -> StatsdOptions {
    let tags = input.of(&[Tags::None, Tags::DogStatsd, Tags::Influx]);
    let mut lines = Lines {
        prefix: input.of(&["", "prosody.", "a."]).to_owned(),
        tags,
        histograms: input.of(&[Histograms::Buckets, Histograms::Timing, Histograms::Distribution]),
        ..Lines::default()
    };
    if tags != Tags::None && input.any() {
        lines.constant_tags = vec![("a_b".to_owned(), "c".to_owned()), ("env".to_owned(), "x/y".to_owned())];
    }
    if tags != Tags::None {
        lines.renames = renames(input);
    }
    if tags == Tags::DogStatsd && input.any() {
        lines.container = Some("ci-1".to_owned());
    }
    StatsdOptions {
        server,
        // Only when asked to.
        flush_interval: Duration::from_secs(3600),
        collect_interval: Duration::from_secs(10),
        max_datagram: input.of(&[1432, 512, 200, 64]),
        resolve_interval: Duration::from_secs(3600),
        max_samples_per_second: 1000,
        self_metrics: false,
        remotes: true,
        lines,
    }
}

/// Some that collide with labels, with each other's numbers and with tags of the pusher's.
fn renames(input: &mut Input<'_>) -> Renames {
    let all = [("host", "a_b"), ("a_b", "vhost"), ("le", "env"), ("x", "vhost_2")];
    let given = all.iter().filter(|_| input.one_in(3));
    let given = given.map(|(label, tag)| ((*label).to_owned(), (*tag).to_owned()));
    Renames {
        given: given.collect(),
        keeps_reserved: input.one_in(4),
    }
}
