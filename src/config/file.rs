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
        .map_err(|why| error(Problem::Malformed(in_a_line(&text, &why))))?;
    Ok(Value::from(table))
}

/// What is wrong where: logs have one line for it.
fn in_a_line(text: &str, why: &toml::de::Error) -> String {
    let message = why.message().split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(before) = why.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let (lines, last) = before.rsplit_once('\n').unwrap_or(("", before));
    let line = if before.contains('\n') {
        lines.split('\n').count() + 1
    } else {
        1
    };
    format!("line {line}, column {}: {message}", last.chars().count() + 1)
}
