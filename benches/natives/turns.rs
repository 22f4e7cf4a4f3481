//! Measures several things turn by turn, so that whatever the machine does meanwhile meets all of them alike.

use nix::time::{clock_gettime, ClockId};
use std::time::Duration;

/// Something that is measured: whose it is, and a function that runs it once and tells how long it took.
pub type Runner<'a> = (String, Box<dyn FnMut() -> Duration + 'a>);

/// The time that `run` took this thread. What other processes take doesn't count, nor does waiting.
pub fn time(run: impl FnOnce()) -> Duration {
    let start = now();
    run();
    now() - start
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("a thread has a clock")
        .into()
}

/// Runs each once to grow what is used again, and then all of them in turn, that many times. Prints the medians, in nanoseconds
/// for each of `count`.
pub fn medians(what: &str, rounds: usize, count: usize, runners: &mut [Runner<'_>]) {
    let mut times = vec![Vec::new(); runners.len()];
    for round in 0..=rounds {
        for ((_, run), times) in runners.iter_mut().zip(&mut times) {
            let took = run();
            if round > 0 {
                times.push(took);
            }
        }
    }
    for ((who, _), times) in runners.iter().zip(&mut times) {
        times.sort();
        tell(what, who, times[times.len() / 2].as_nanos() as f64 / count as f64);
    }
}

/// Prints one figure.
pub fn tell(what: &str, who: &str, number: f64) {
    println!("{what}: {who}\t{number:.2}");
}
