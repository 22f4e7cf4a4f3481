//! The TOML file.

use super::{ConfigError, Problem, Value};

/// More than this is no configuration file: it would be read into Prosody's memory whole.
const LARGEST: u64 = 1 << 20;

/// Reads a TOML file.
pub(super) fn load(path: &str) -> Result<Value, ConfigError> {
    let error = |problem| ConfigError::new(path, problem);
    let unreadable = |why: std::io::Error| error(Problem::Unreadable(why.to_string()));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(error(Problem::Unreadable("not a regular file".to_owned())));
    }
    if metadata.len() > LARGEST {
        return Err(error(Problem::Unreadable("larger than 1 MiB".to_owned())));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let table: toml::Table = text
        .parse()
        .map_err(|why: toml::de::Error| error(Problem::Malformed(why.to_string().trim().to_owned())))?;
    Ok(Value::from(table))
}
