//! The process's own metrics, as Prometheus' client libraries have them ("Writing client libraries", "Process metrics").

use super::{OwnFamily, Spec};
use crate::model::Kind;
use crate::store::Store;
use nix::sys::resource::{getrlimit, Resource, RLIM_INFINITY};
use nix::time::{clock_gettime, ClockId};
use nix::unistd::{sysconf, SysconfVar};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The families. What can't be known has no series.
pub(in crate::runtime) struct ProcessMetrics {
    cpu: OwnFamily,
    resident: OwnFamily,
    virtual_: OwnFamily,
    open_fds: OwnFamily,
    max_fds: OwnFamily,
    threads: OwnFamily,
    start_time: OwnFamily,
    /// When it was started, by process: Prosody forks.
    started: Option<(u32, f64)>,
}

impl ProcessMetrics {
    /// Registers them.
    pub(in crate::runtime) fn register(store: &Store) -> ProcessMetrics {
        let gauge = |name, unit, help| OwnFamily::register(store, Spec::new(Kind::Gauge, name, unit, help));
        let cpu = Spec::new(
            Kind::Counter,
            "process_cpu_seconds",
            "seconds",
            "Total user and system CPU time spent in seconds",
        );
        ProcessMetrics {
            cpu: OwnFamily::register(store, cpu),
            resident: gauge(
                "process_resident_memory_bytes",
                "bytes",
                "Resident memory size in bytes",
            ),
            virtual_: gauge("process_virtual_memory_bytes", "bytes", "Virtual memory size in bytes"),
            open_fds: gauge("process_open_fds", "", "Number of open file descriptors"),
            max_fds: gauge("process_max_fds", "", "Maximum number of open file descriptors"),
            threads: gauge("process_threads", "", "Number of operating system threads"),
            start_time: gauge(
                "process_start_time_seconds",
                "seconds",
                "Start time of the process since the epoch in seconds",
            ),
            started: None,
        }
    }

    /// Brings them up to date.
    pub(in crate::runtime) fn update(&mut self) {
        if let Ok(time) = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID) {
            self.cpu.raise(&[], Duration::from(time).as_secs_f64());
        }
        if let Some(stat) = Stat::read() {
            self.resident.set(&[], stat.resident_bytes);
            self.virtual_.set(&[], stat.virtual_bytes);
            self.threads.set(&[], stat.threads);
            let id = std::process::id();
            if self.started.is_none_or(|(of, _)| of != id) {
                self.started = start_time(stat.start_ticks).map(|time| (id, time));
            }
            if let Some((_, time)) = self.started {
                self.start_time.set(&[], time);
                self.cpu.started(&[], time);
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One is open for counting.
            self.open_fds.set(&[], open.count().saturating_sub(1));
        }
        match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((RLIM_INFINITY, _)) => self.max_fds.set(&[], f64::INFINITY),
            Ok((most, _)) => self.max_fds.set(&[], most),
            Err(_) => {}
        }
    }
}

/// What `/proc/self/stat` tells (`proc_pid_stat(5)`).
struct Stat {
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is a name in parentheses, with anything in it; counting goes on after it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * system_value(SysconfVar::PAGE_SIZE)?,
        })
    }
}

fn system_value(which: SysconfVar) -> Option<u64> {
    u64::try_from(sysconf(which).ok()??).ok()
}

/// In seconds since the epoch, from clock ticks since the system was started.
fn start_time(ticks: u64) -> Option<f64> {
    let up = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age = up.as_secs_f64() - ticks as f64 / system_value(SysconfVar::CLK_TCK)? as f64;
    Some(now.as_secs_f64() - age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::exposition::{self, Format};

    #[test]
    fn this_process_is_described() {
        let store = Store::new();
        let mut metrics = ProcessMetrics::register(&store);
        metrics.update();
        metrics.update();
        let mut page = Vec::new();
        exposition::page(&mut page, &store, Default::default(), Format::Text0, None).unwrap();
        let page = String::from_utf8(page).unwrap();
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {page}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_threads") >= 1.0);
        let age = crate::model::clock::now() - value("process_start_time_seconds");
        assert!((0.0..3600.0).contains(&age), "{age}");
    }
}
