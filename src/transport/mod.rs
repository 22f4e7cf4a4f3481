//! Bytes on their way: datagrams to a statsd server ([`statsd`]), and pages to those who fetch them ([`http`]).

pub mod http;
pub mod statsd;

use std::path::PathBuf;

/// What the system takes for a socket's path, in bytes (`unix(7)`).
const LONGEST_PATH: usize = 107;

/// The path of a Unix socket.
///
/// # Errors
/// What no socket can be bound to; the message says why.
fn socket_path(path: &str) -> Result<PathBuf, String> {
    match path {
        path if !path.starts_with('/') => Err("its path does not begin with '/'".to_owned()),
        path if path.len() > LONGEST_PATH => Err(format!("its path has more than {LONGEST_PATH} bytes")),
        path if path.contains('\0') => Err("its path has a NUL in it".to_owned()),
        path if path.ends_with('/') => Err("its path is that of a directory".to_owned()),
        path => Ok(path.into()),
    }
}
