//! Lines for a statsd server: metre's pusher, step by step, beside cadence's buffered sinks. The same lines in datagrams of the same size.

use crate::turns::{medians, time, Runner};
use crate::{user, HOST, LABELS, TYPE};
use cadence::{BufferedSpyMetricSink, BufferedUdpMetricSink, Counted, StatsdClient};
use metre::encode::statsd::{self, Dropped, Encoder, FamilyOnWire, Tags};
use metre::model::{Kind, LabelSet, Number};
use metre::policy::Policy;
use metre::snapshot::changes::Changes;
use metre::store::{updates, FamilySpec, FamilyWriter, Location, Store};
use metre::transport::statsd::{Added, Endpoint, Framing, Link, Packer, Progress};
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Series that are all updated once a round.
const SERIES: usize = 50_000;

/// metre's default for a datagram, in bytes.
const DATAGRAM: usize = 1432;

/// Where datagrams go.
enum To {
    Memory(Vec<Vec<u8>>),
    Socket(UdpSocket),
    Link(Box<Link>),
}

struct Out {
    packer: Packer,
    to: To,
}

impl Out {
    fn send(&mut self, datagram: Vec<u8>) {
        match &mut self.to {
            To::Memory(datagrams) => datagrams.push(datagram),
            To::Socket(socket) => drop(socket.send(&datagram).expect("a server on loopback")),
            To::Link(link) => {
                link.push(datagram);
                loop {
                    match link.drive() {
                        Progress::Idle => break,
                        Progress::Busy(pause) => thread::sleep(pause),
                        Progress::Down(_) => panic!("the server is away"),
                    }
                }
            }
        }
    }
}

impl statsd::Sink for Out {
    fn lines(&mut self, lines: &[u8]) {
        match self.packer.add(lines, DATAGRAM) {
            Added::Fits => {}
            Added::Full(datagram) => self.send(datagram),
            Added::TooLong => panic!("a line that is too long"),
        }
    }

    fn dropped(&mut self, cause: Dropped, _: &[u8]) {
        panic!("a line is dropped, since {}", cause.reason());
    }
}

/// One counter family, and what the pusher has for it.
struct Metre {
    writer: FamilyWriter,
    series: Vec<Location>,
    changes: Changes,
    encoder: Encoder,
    state: FamilyOnWire,
    out: Out,
}

impl Metre {
    fn new(tags: Tags, to: To) -> Metre {
        let store = Store::with(Policy::default(), Some(false));
        let spec = FamilySpec::new(Kind::Counter, "bench_counter").labels(&LABELS);
        let mut writer = store.register(spec).expect("nothing is ignored").0;
        let mut series = Vec::new();
        for number in 1..=SERIES {
            let mut labels = LabelSet::new();
            for value in [HOST, TYPE, &user(number)] {
                labels.push(value.as_bytes());
            }
            series.push(writer.find_or_create(labels.as_bytes()).expect("room").0);
        }
        let family = writer.family();
        assert_eq!(family.series_count(), SERIES, "a limit");
        let mut encoder = Encoder::new(statsd::Options {
            prefix: "prosody.".to_owned(),
            tags,
            // The same tags as cadence's.
            renames: statsd::Renames {
                keeps_reserved: true,
                ..statsd::Renames::default()
            },
            ..statsd::Options::default()
        });
        Metre {
            state: encoder.family(family),
            changes: Changes::new(Arc::clone(family)),
            encoder,
            writer,
            series,
            out: Out {
                packer: Packer::new(Framing::Datagrams),
                to,
            },
        }
    }

    /// Adds one to each series: all that is done on the thread that counts.
    fn update(&self) {
        for at in &self.series {
            updates::counter::add(self.writer.record(*at), Number::Int(1)).expect("a number");
        }
    }

    /// Sends what is new, as the pusher does.
    fn push(&mut self) {
        if let To::Link(link) = &mut self.out.to {
            link.begin(Instant::now());
        }
        let Metre {
            changes,
            encoder,
            state,
            out,
            ..
        } = self;
        let family = Arc::clone(changes.family());
        let told = changes.report_totals(false, None, |number, series, news| {
            encoder.write(&family, state, number, series, &news, out);
            ControlFlow::Continue(())
        });
        assert!(told.is_continue());
        if let Some(datagram) = out.packer.take() {
            out.send(datagram);
        }
    }

    /// The datagrams that are in memory, which are forgotten.
    fn take(&mut self) -> Vec<Vec<u8>> {
        match &mut self.out.to {
            To::Memory(datagrams) => std::mem::take(datagrams),
            _ => Vec::new(),
        }
    }
}

/// The names that cadence is given, with the label values in them as metre has them.
fn names() -> Vec<String> {
    (1..=SERIES)
        .map(|number| format!("bench_counter.{}.{TYPE}.{}", HOST.replace('.', "_"), user(number)))
        .collect()
}

/// What cadence is given for each line: a name that is ready, or the values of tags.
fn count(client: &StatsdClient, tags: Tags, given: &[String]) {
    for given in given {
        let counted = match tags {
            Tags::None => client.count_with_tags(given, 1),
            _ => client
                .count_with_tags("bench_counter", 1)
                .with_tag(LABELS[0], HOST)
                .with_tag(LABELS[1], TYPE)
                .with_tag(LABELS[2], given),
        };
        counted.try_send().expect("a server on loopback");
    }
    client.flush().expect("a server on loopback");
}

fn given(tags: Tags) -> Vec<String> {
    match tags {
        Tags::None => names(),
        _ => (1..=SERIES).map(user).collect(),
    }
}

/// Lines that stay in memory. Both make a `Vec` of each datagram; cadence's goes through a channel, which is next to nothing for the
/// thirty lines in it.
fn in_memory(tags: Tags) -> [Runner<'static>; 2] {
    let (datagrams, sink) = BufferedSpyMetricSink::with_capacity(None, Some(DATAGRAM));
    let client = StatsdClient::from_sink("prosody", sink);
    let given = given(tags);
    let mut metre = Metre::new(tags, To::Memory(Vec::new()));

    let lines = |datagrams: Vec<Vec<u8>>| -> Vec<u8> {
        let ended = datagrams.into_iter().flat_map(|mut datagram| {
            // cadence ends each line; metre has line feeds between them.
            datagram.truncate(datagram.trim_ascii_end().len());
            datagram.push(b'\n');
            datagram
        });
        ended.collect()
    };
    count(&client, tags, &given);
    metre.update();
    metre.push();
    assert!(
        lines(datagrams.try_iter().collect()) == lines(metre.take()),
        "the lines differ"
    );

    [
        (
            "cadence".to_owned(),
            Box::new(move || {
                let took = time(|| count(&client, tags, &given));
                datagrams.try_iter().for_each(drop);
                took
            }),
        ),
        (
            "metre".to_owned(),
            Box::new(move || {
                metre.update();
                let took = time(|| metre.push());
                metre.take();
                took
            }),
        ),
    ]
}

/// A server on loopback that reads nothing: what doesn't fit its buffer goes, which costs the sender the same in all cases.
fn server() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")
}

/// A socket to that server.
fn socket_to(server: &UdpSocket) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    socket.connect(address(server)).expect("a server on loopback");
    socket
}

fn address(server: &UdpSocket) -> std::net::SocketAddr {
    server.local_addr().expect("a bound socket")
}

/// Lines that cadence sends to a socket at full speed, in datagrams of that size, or of its own default, 512 bytes.
fn cadence_over_udp<'a>(tags: Tags, server: &'a UdpSocket, size: Option<usize>) -> Runner<'a> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    let sink = match size {
        Some(size) => BufferedUdpMetricSink::with_capacity(address(server), socket, size),
        None => BufferedUdpMetricSink::from(address(server), socket),
    };
    let client = StatsdClient::from_sink("prosody", sink.expect("an address"));
    let given = given(tags);
    let name = match size {
        Some(_) => "cadence",
        None => "cadence, its default size",
    };
    (name.to_owned(), Box::new(move || time(|| count(&client, tags, &given))))
}

/// Lines that are sent to a socket at full speed.
fn over_udp<'a>(tags: Tags, server: &'a UdpSocket) -> [Runner<'a>; 3] {
    let mut metre = Metre::new(tags, To::Socket(socket_to(server)));
    [
        cadence_over_udp(tags, server, None),
        cadence_over_udp(tags, server, Some(DATAGRAM)),
        (
            "metre".to_owned(),
            Box::new(move || {
                metre.update();
                time(|| metre.push())
            }),
        ),
    ]
}

/// Lines that go the pusher's whole way.
fn over_link(tags: Tags, server: &UdpSocket) -> Runner<'static> {
    let endpoint = Endpoint::Udp(Ipv4Addr::LOCALHOST.to_string(), address(server).port());
    let link = Link::new(&endpoint, DATAGRAM, Duration::from_secs(60));
    let mut metre = Metre::new(tags, To::Link(Box::new(link)));
    let run = move || {
        metre.update();
        time(|| metre.push())
    };
    ("metre, by its link".to_owned(), Box::new(run))
}

/// The update alone, which is all that the thread that counts does.
fn updates(tags: Tags) -> Runner<'static> {
    let metre = Metre::new(tags, To::Memory(Vec::new()));
    (
        "metre, the update alone".to_owned(),
        Box::new(move || time(|| metre.update())),
    )
}

/// Measures lines.
pub fn run(rounds: usize) {
    let server = server();
    for (style, tags) in [("names", Tags::None), ("tags", Tags::DogStatsd)] {
        let mut memory = Vec::from(in_memory(tags));
        memory.push(updates(tags));
        medians(
            &format!("ns a line with {style}, in memory"),
            rounds,
            SERIES,
            &mut memory,
        );
        let mut udp = Vec::from(over_udp(tags, &server));
        udp.push(over_link(tags, &server));
        medians(&format!("ns a line with {style}, over UDP"), rounds, SERIES, &mut udp);
    }
}
