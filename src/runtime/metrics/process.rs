//! The process's own metrics, as Prometheus' client libraries have them ("Writing client libraries", "Process metrics").

use super::family::{counter, gauge, OwnFamily};
use crate::store::Store;
use nix::sys::resource::{getrlimit, Resource, RLIM_INFINITY};
use nix::time::{clock_gettime, ClockId};
use nix::unistd::{sysconf, SysconfVar};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    descriptors: Descriptors,
}

impl ProcessMetrics {
    /// Registers them.
    pub(in crate::runtime) fn register(store: &Store) -> ProcessMetrics {
        ProcessMetrics::with(store, Descriptors::listed_in("/proc/self/fd"))
    }

    fn with(store: &Store, descriptors: Descriptors) -> ProcessMetrics {
        let register = |spec| OwnFamily::register(store, spec);
        let cpu = counter("process_cpu_seconds", "Total user and system CPU time spent in seconds").unit("seconds");
        ProcessMetrics {
            cpu: register(cpu),
            resident: register(gauge("process_resident_memory_bytes", "Resident memory size in bytes").unit("bytes")),
            virtual_: register(gauge("process_virtual_memory_bytes", "Virtual memory size in bytes").unit("bytes")),
            open_fds: register(gauge("process_open_fds", "Number of open file descriptors")),
            max_fds: register(gauge("process_max_fds", "Maximum number of open file descriptors")),
            threads: register(gauge("process_threads", "Number of operating system threads")),
            start_time: register(
                gauge(
                    "process_start_time_seconds",
                    "Start time of the process since the epoch in seconds",
                )
                .unit("seconds"),
            ),
            started: None,
            descriptors,
        }
    }

    /// Brings them up to date. Where it takes long to count the open descriptors, that is done if the last count is older than
    /// `recount`, or never.
    pub(super) fn update(&mut self, recount: Option<Duration>) {
        if let Ok(time) = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID) {
            self.cpu.raise(&[], Duration::from(time).as_secs_f64());
        }
        if let Some((virtual_bytes, resident_bytes)) = memory() {
            self.virtual_.set(&[], virtual_bytes);
            self.resident.set(&[], resident_bytes);
        }
        if let Some(threads) = threads() {
            self.threads.set(&[], threads);
        }
        let id = process::id();
        if self.started.is_none_or(|(of, _)| of != id) {
            self.started = start_time().map(|time| (id, time));
        }
        if let Some((_, time)) = self.started {
            self.start_time.set(&[], time);
            self.cpu.started(&[], time);
        }
        self.update_descriptors(recount);
        match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((RLIM_INFINITY, _)) => self.max_fds.set(&[], f64::INFINITY),
            Ok((most, _)) => self.max_fds.set(&[], most),
            Err(_) => {}
        }
    }

    fn update_descriptors(&mut self, recount: Option<Duration>) {
        if let Some(count) = self.descriptors.count(recount) {
            self.open_fds.set(&[], count);
        }
    }

    /// Counts the open descriptors for somebody who could not do so in [`ProcessMetrics::update`], as often as `recount` says.
    pub(super) fn count_for_others(&mut self, recount: Duration) {
        if self.descriptors.wanted {
            self.update_descriptors(Some(recount));
        }
    }
}

/// How many descriptors the process has open.
struct Descriptors {
    /// Where the system lists them.
    directory: &'static str,
    /// The last count, by process.
    last: Option<(u32, Instant, u64)>,
    /// Whether somebody has asked who may not count.
    wanted: bool,
}

impl Descriptors {
    fn listed_in(directory: &'static str) -> Descriptors {
        Descriptors {
            directory,
            last: None,
            wanted: false,
        }
    }

    /// How many there are; where only a list tells, how many there were at the last count. That is made anew if it is older than
    /// `recount`, since with thousands of descriptors it takes milliseconds.
    fn count(&mut self, recount: Option<Duration>) -> Option<u64> {
        // Since Linux 6.2 the directory's size is their number.
        let size = fs::metadata(self.directory).ok()?.size();
        if size > 0 {
            return Some(size);
        }
        let id = process::id();
        let last = self.last.filter(|(of, ..)| *of == id);
        let is_old = |recount| last.is_none_or(|(_, at, _)| at.elapsed() >= recount);
        match recount {
            None => self.wanted = true,
            Some(recount) if is_old(recount) => {
                // One is open for counting.
                let count = fs::read_dir(self.directory).ok()?.count().saturating_sub(1) as u64;
                self.last = Some((id, Instant::now(), count));
                return Some(count);
            }
            Some(_) => {}
        }
        last.map(|(.., count)| count)
    }
}

/// Virtual and resident memory in bytes (`proc_pid_statm(5)`). No file of `/proc/self` stays open: it would tell of the process
/// that opened it, after a fork, too.
fn memory() -> Option<(u64, u64)> {
    let mut text = [0; 256];
    let length = File::open("/proc/self/statm").ok()?.read(&mut text).ok()?;
    let mut pages = std::str::from_utf8(text.get(..length)?).ok()?.split_ascii_whitespace();
    let page = system_value(SysconfVar::PAGE_SIZE)?;
    let mut bytes = || Some(pages.next()?.parse::<u64>().ok()? * page);
    Some((bytes()?, bytes()?))
}

/// How many threads there are: each is a subdirectory, and a directory has two links of its own.
fn threads() -> Option<u64> {
    let links = fs::metadata("/proc/self/task").ok()?.nlink();
    links.checked_sub(2).filter(|threads| *threads > 0)
}

/// When the process was started, in seconds since the epoch.
fn start_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, with anything in it. The 22nd is in clock ticks since the system was started
    // (`proc_pid_stat(5)`).
    let after_name = text.rsplit_once(')')?.1;
    let ticks: u64 = after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    let up = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age = up.as_secs_f64() - ticks as f64 / system_value(SysconfVar::CLK_TCK)? as f64;
    Some(now.as_secs_f64() - age)
}

fn system_value(which: SysconfVar) -> Option<u64> {
    u64::try_from(sysconf(which).ok()??).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::exposition::{self, Format};
    use std::thread;

    /// The directory of the same entries that has no size on any system: as if the system were old.
    const WITHOUT_SIZE: &str = "/proc/self/fdinfo";

    const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
    const LATE: Option<Duration> = Some(Duration::MAX);

    fn value_on(page: &str, name: &str) -> Option<f64> {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    fn page(store: &Store) -> String {
        let mut page = Vec::new();
        exposition::page(&mut page, store, Default::default(), Format::Text0, None).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn this_process_is_described() {
        let store = Store::new();
        let mut metrics = ProcessMetrics::register(&store);
        metrics.update(AT_ONCE);
        metrics.update(AT_ONCE);
        let page = page(&store);
        let value = |name: &str| value_on(&page, name).unwrap_or_else(|| panic!("{name} in {page}"));
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_threads") >= 1.0);
        let age = crate::model::clock::now() - value("process_start_time_seconds");
        assert!((0.0..3600.0).contains(&age), "{age}");
    }

    #[test]
    fn all_threads_count() {
        let listed = || fs::read_dir("/proc/self/task").unwrap().count() as u64;
        let end = Instant::now() + Duration::from_secs(300);
        thread::scope(|scope| {
            let (_sender, receiver) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || receiver.recv());
            // Other tests' threads come and go.
            while threads() != Some(listed()) {
                assert!(Instant::now() < end);
            }
            assert!(threads() >= Some(2));
        });
    }

    /// More than there are.
    const MANY: u64 = 1_000_000;

    /// A list that somebody has counted [`MANY`] descriptors in.
    fn counted(process: u32) -> Descriptors {
        assert_eq!(fs::metadata(WITHOUT_SIZE).unwrap().size(), 0);
        let mut listed = Descriptors::listed_in(WITHOUT_SIZE);
        listed.last = Some((process, Instant::now(), MANY));
        listed
    }

    #[test]
    fn a_list_of_descriptors_is_counted_as_often_as_asked() {
        let mut listed = counted(process::id());
        assert_eq!(listed.count(LATE), Some(MANY));
        assert_eq!(listed.count(None), Some(MANY));
        let count = listed.count(AT_ONCE).unwrap();
        assert!((3..MANY).contains(&count));
        assert_eq!(listed.count(None), Some(count));
    }

    #[test]
    fn the_count_of_another_process_is_not_taken() {
        // As a process has it that forked off.
        let mut listed = counted(process::id() + 1);
        assert_eq!(listed.count(None), None);
        assert!(listed.count(LATE).unwrap() < MANY);
    }

    #[test]
    fn a_directory_that_tells_its_size_needs_no_list() {
        let (mut sized, mut listed) = (
            Descriptors::listed_in("/proc/self/fd"),
            Descriptors::listed_in(WITHOUT_SIZE),
        );
        let is_new = fs::metadata(sized.directory).unwrap().size() > 0;
        let _files: Vec<File> = (0..100).map(|_| File::open("/proc/self/statm").unwrap()).collect();
        let end = Instant::now() + Duration::from_secs(300);
        // Other tests open and close some meanwhile.
        while sized.count(AT_ONCE) != listed.count(AT_ONCE) {
            assert!(Instant::now() < end);
        }
        assert!(sized.count(None) >= Some(103));
        assert_eq!(sized.last.is_none(), is_new);
    }

    #[test]
    fn others_count_for_who_may_not() {
        let store = Store::new();
        let mut metrics = ProcessMetrics::with(&store, Descriptors::listed_in(WITHOUT_SIZE));
        let open = || value_on(&page(&store), "process_open_fds");
        metrics.count_for_others(Duration::ZERO);
        assert_eq!(open(), None, "nobody has asked");
        metrics.update(None);
        assert_eq!(open(), None);
        metrics.count_for_others(Duration::MAX);
        assert!(open() >= Some(3.0));
        metrics.descriptors = counted(process::id());
        metrics.update(None);
        metrics.count_for_others(Duration::MAX);
        assert_eq!(open(), Some(MANY as f64));
        metrics.count_for_others(Duration::ZERO);
        assert!(open() < Some(MANY as f64));
    }
}
