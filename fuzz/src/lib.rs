//! What the fuzz targets of metre's core have in common: where inputs come from, a plain model of the store, and strict readers of what
//! metre writes, which share no code with what writes it.

pub mod check_page;
pub mod check_wire;
pub mod configuration;
pub mod exposition;
pub mod http;
pub mod input;
pub mod model;
pub mod number;
pub mod policy;
pub mod statsd;
pub mod world;

use std::path::PathBuf;
use std::sync::OnceLock;

/// A directory of this process, for sockets and files. `fuzz/run` removes it, since a target that finds something aborts.
pub fn directory() -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let made = DIRECTORY.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("metre-fuzz-core-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        path
    });
    made.clone()
}
