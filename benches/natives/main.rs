//! metre's core beside other natives, all in one process: pages as prometheus-client writes them, statsd lines as cadence does.
//!
//! Usage: `cargo bench --bench natives -- [render] [statsd]`; without either, both. `ROUNDS` is how often each is measured. Prints a
//! line a figure: what was measured, a colon, whose it is, a tab, the number.

mod render;
mod statsd;
mod turns;

/// The labels of `benches/lua/cases`, and the last one's values.
const LABELS: [&str; 3] = ["host", "type", "ip_family"];
const HOST: &str = "example.org";
const TYPE: &str = "c2s";

fn user(number: usize) -> String {
    format!("user{number}")
}

fn main() {
    let rounds = std::env::var("ROUNDS").map_or(11, |rounds| rounds.parse().expect("ROUNDS is a number"));
    // cargo adds `--bench`.
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|part| !part.starts_with("--"))
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    if wanted("render") {
        render::run(rounds);
    }
    if wanted("statsd") {
        statsd::run(rounds);
    }
}
