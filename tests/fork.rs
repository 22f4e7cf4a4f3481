//! A process that forks while its threads are at work: what they had locked at that moment keeps nobody waiting in the child.
#![allow(unsafe_code)] // For `fork` and `_exit` alone.

mod common;

use common::http::options;
use common::{add, create, family, free_port, idle_policy, statsd_options, sweep, SOON, TTL};
use metre::encode::exposition::{self, Format};
use metre::model::{Kind, Number};
use metre::policy::{Limits, Pattern, Policy};
use metre::runtime::{Options, Runtime, StatsdOptions};
use metre::store::{updates, FamilyWriter, Store, Taken};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, ForkResult, Pid};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const FORKS: u32 = 150;

/// All series may go, and summaries have quantiles.
fn policy() -> Policy {
    let mut policy = idle_policy(Limits::default());
    let mut rule = policy.rules[0].clone();
    rule.name = Pattern::new("summary");
    rule.kinds = Some(vec![Kind::Summary]);
    rule.quantiles = Some(vec![0.5, 0.9]);
    policy.rules.push(rule);
    policy
}

fn runtime(store: &Arc<Store>, statsd: SocketAddr, http: SocketAddr) -> Runtime {
    let options = Options {
        statsd: Some(StatsdOptions {
            flush_interval: Duration::from_millis(1),
            max_samples_per_second: 1000,
            self_metrics: true,
            ..statsd_options(&format!("udp://{statsd}"))
        }),
        export: Some(options(http)),
        self_metrics: true,
        process_metrics: true,
        ..Options::default()
    };
    Runtime::new(store, options, "none")
}

fn page(store: &Store) -> Vec<u8> {
    let mut page = Vec::new();
    exposition::page(&mut page, store, Default::default(), Format::OPENMETRICS, None).expect("room");
    page
}

/// What Prosody's thread has, in the parent as in a child.
struct Prosody {
    store: Arc<Store>,
    runtime: Runtime,
    writers: [FamilyWriter; 4],
}

impl Prosody {
    /// Everything that Prosody's thread does while it runs. `step` is told what comes next.
    fn work(&mut self, round: u32, mut step: impl FnMut(u8)) {
        step(b'u');
        self.store.cork();
        for writer in &mut self.writers {
            for number in 0..20 {
                add(writer, &number.to_string(), i64::from(round));
            }
        }
        step(b'q');
        let summary = &mut self.writers[3];
        for number in 0..20 {
            let at = create(summary, &[&number.to_string()]);
            updates::samples::into_window(summary.record(at), Number::Int(3), Taken::Plainly, summary.family());
            step(b'Q');
            summary.family().quantiles_of(summary.record(at));
        }
        step(b'c');
        self.store.uncork();
        step(b'r');
        let counter = &mut self.writers[0];
        for number in 0..20 {
            let at = create(counter, &[&number.to_string()]);
            updates::counter::reset(counter.record(at), counter.family());
        }
        step(b'n');
        for number in 0..50 {
            add(&mut self.writers[1], &format!("of-round-{round}-{number}"), 1);
        }
        step(b'e');
        if round % 10 == 0 {
            self.store.clock().skip(Duration::from_secs(u64::from(TTL) + 60));
        }
        self.writers.iter_mut().for_each(sweep);
        step(b'f');
        for kind in [Kind::Counter, Kind::Gauge] {
            drop(family(&self.store, kind, "again", &[]));
        }
        step(b'o');
        self.runtime.update_own_metrics();
        step(b'p');
        assert!(page(&self.store).ends_with(b"# EOF\n"));
        step(b'a');
        self.runtime.answer();
        self.runtime.collected(true);
        self.runtime.notices();
    }
}

/// The child's life: the parent reads from `steps` how far it has come.
fn child(prosody: &mut Option<Prosody>, steps: &UnixStream) {
    let step = |step: u8| _ = (&mut &*steps).write_all(&[step]);
    if let Some(prosody) = prosody {
        for round in 10..12 {
            prosody.work(round, step);
        }
        step(b'F');
        prosody.runtime.flush().expect_err("no pusher here");
        prosody.runtime.start().expect_err("not here");
        step(b'S');
        prosody.runtime.stop();
    }
    step(b'D');
    drop(prosody.take());
}

/// Waits for it to end. What is wrong, if something is.
fn wait(child: Pid, mut steps: UnixStream) -> Option<String> {
    let end = Instant::now() + SOON;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if Instant::now() < end => thread::sleep(Duration::from_micros(200)),
            Ok(WaitStatus::Exited(_, 0)) => return None,
            status => {
                let _ = kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
                let mut told = Vec::new();
                let _ = steps.read_to_end(&mut told);
                let step = told.last().copied().map(char::from);
                return Some(format!("{status:?} after step {step:?}"));
            }
        }
    }
}

#[test]
fn what_threads_had_locked_keeps_nobody_waiting_in_a_fork() {
    let statsd = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let http = free_port();
    let store = Arc::new(Store::with(policy(), Some(false)));
    let runtime = runtime(&store, statsd.local_addr().expect("an address"), http);
    let writers = [
        family(&store, Kind::Counter, "counter", &["l"]),
        family(&store, Kind::Gauge, "gauge", &["l"]),
        family(&store, Kind::Histogram, "histogram", &["l"]),
        family(&store, Kind::Summary, "summary", &["l"]),
    ];
    runtime.start().expect("threads");
    let mut prosody = Some(Prosody {
        store: Arc::clone(&store),
        runtime,
        writers,
    });
    let done = AtomicBool::new(false);
    let problem = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                page(&store);
            }
        });
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let Ok(mut scraper) = TcpStream::connect(http) else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let _ = scraper.set_read_timeout(Some(SOON));
                let _ = scraper.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                let _ = scraper.read_to_end(&mut Vec::new());
            }
        });
        let problem = (1..=FORKS).find_map(|round| {
            prosody.as_mut().expect("still there").work(round, |_| ());
            let (ours, its) = UnixStream::pair().expect("a pair");
            // SAFETY: the child runs on the only thread that it has, waits for none of the others, and ends without touching what belongs to them.
            match unsafe { fork() }.expect("a process") {
                ForkResult::Child => {
                    let ended = catch_unwind(AssertUnwindSafe(|| child(&mut prosody, &its)));
                    // SAFETY: it only ends the process.
                    unsafe { nix::libc::_exit(i32::from(ended.is_err())) }
                }
                ForkResult::Parent { child } => {
                    drop(its);
                    wait(child, ours).map(|problem| format!("fork {round}: {problem}"))
                }
            }
        });
        done.store(true, Relaxed);
        problem
    });
    assert_eq!(problem, None);
    // The parent's own threads are as they were.
    let prosody = prosody.expect("still there");
    prosody.runtime.flush().expect("everything sent");
    assert!(prosody.runtime.is_running());
}
