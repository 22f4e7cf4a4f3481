//! Memory of series that have gone. A process of its own, since it is the process's memory that is looked at.

mod common;

use common::{add, family, idle_policy, sweep, TTL};
use metre::model::Kind;
use metre::policy::Limits;
use metre::store::{Assigned, Store};
use std::time::Duration;

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * 4096
}

#[test]
fn memory_of_series_that_have_gone_is_used_again() {
    let store = Store::with(idle_policy(Limits::default()), None);
    let mut writer = family(&store, Kind::Counter, "x", &["l"]);
    let mut before = 0;
    for round in 0..20 {
        for number in 0..50_000 {
            let placed = add(
                &mut writer,
                &format!("{round:0>width$}-{number}", width = 20 + 10 * round),
                1,
            );
            assert_eq!(placed, Assigned::Plainly);
        }
        assert_eq!(writer.family().series_count(), 50_000);
        sweep(&mut writer);
        for _ in 0..2 {
            store.clock().skip(Duration::from_secs(u64::from(TTL) + 60));
            sweep(&mut writer);
        }
        assert_eq!(writer.family().series_count(), 0);
        if round == 2 {
            before = resident();
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}
