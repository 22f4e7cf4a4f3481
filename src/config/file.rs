//! The TOML file.

use super::{ConfigError, Problem, Value};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// More than this is no configuration file: it would be read into Prosody's memory whole.
const LARGEST: u64 = 1 << 20;

/// On which line each key of a file stands, and each element of a list (by its number from 1).
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(BTreeMap<Vec<String>, usize>);

impl Lines {
    /// The line of what this path leads to, or of the nearest that holds it.
    pub(super) fn of(&self, path: &[String]) -> Option<usize> {
        let mut lengths = (1..=path.len()).rev();
        lengths.find_map(|length| self.0.get(&path[..length]).copied())
    }
}

/// Reads a TOML file.
pub(super) fn load(path: &str) -> Result<(Value, Lines), ConfigError> {
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
    let mut lines = Lines::default();
    if let Ok(spans) = DeTable::parse(&text) {
        let mut path = Vec::new();
        note_lines(spans.get_ref(), &text, &mut path, &mut lines);
    }
    Ok((Value::from(table), lines))
}

fn note_lines(table: &DeTable<'_>, text: &str, path: &mut Vec<String>, lines: &mut Lines) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        lines.0.insert(path.clone(), line(text, key.span().start));
        note_lines_within(value.get_ref(), text, path, lines);
        path.pop();
    }
}

fn note_lines_within(value: &DeValue<'_>, text: &str, path: &mut Vec<String>, lines: &mut Lines) {
    match value {
        DeValue::Table(table) => note_lines(table, text, path, lines),
        DeValue::Array(list) => {
            for (number, element) in (1..).zip(list.iter()) {
                path.push(number.to_string());
                lines.0.insert(path.clone(), line(text, element.span().start));
                note_lines_within(element.get_ref(), text, path, lines);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The line that the byte at `offset` is on, from 1.
fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// What is wrong where: logs have one line for it.
fn in_a_line(text: &str, why: &toml::de::Error) -> String {
    let message = why.message().split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(before) = why.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let last = before.rsplit('\n').next().unwrap_or_default();
    format!(
        "line {}, column {}: {message}",
        line(text, before.len()),
        last.chars().count() + 1
    )
}
