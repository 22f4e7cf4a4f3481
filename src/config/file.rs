//! The TOML file.

use super::lines::Lines;
use super::{ConfigError, Problem, Value};
use toml::de::{DeTable, DeValue};

/// More than this is no configuration file: it would be read into Prosody's memory whole.
const LARGEST: u64 = 1 << 20;

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
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        error(Problem::Malformed(
            "it has bytes that are not UTF-8; save it as UTF-8".to_owned(),
        ))
    })?;
    let table: toml::Table = text
        .parse()
        .map_err(|why| error(Problem::Malformed(in_a_line(&text, &why))))?;
    let mut notes = Notes {
        starts: text
            .bytes()
            .zip(1..)
            .filter(|(byte, _)| *byte == b'\n')
            .map(|(_, next)| next)
            .collect(),
        path: Vec::new(),
        lines: Lines::default(),
    };
    if let Ok(spans) = DeTable::parse(&text) {
        notes.table(spans.get_ref());
    }
    Ok((Value::from(table), notes.lines))
}

/// Lines being noted.
struct Notes {
    /// Where the second line begins, and each after it.
    starts: Vec<usize>,
    path: Vec<String>,
    lines: Lines,
}

impl Notes {
    fn table(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            self.note(key.get_ref().to_string(), key.span().start, value.get_ref());
        }
    }

    /// Notes a key or the number of an element, which begins at `offset`, and what is in it.
    fn note(&mut self, key: String, offset: usize, value: &DeValue<'_>) {
        self.path.push(key);
        let line = self.starts.partition_point(|start| *start <= offset) + 1;
        self.lines.note(self.path.clone(), line);
        match value {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(list) => {
                for (number, element) in (1..).zip(list.iter()) {
                    self.note(number.to_string(), element.span().start, element.get_ref());
                }
            }
            _ => {}
        }
        self.path.pop();
    }
}

/// What is wrong where: logs have one line for it.
fn in_a_line(text: &str, why: &toml::de::Error) -> String {
    let message = why.message().split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(before) = why.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let last = before.rsplit('\n').next().unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}, column {}: {message}", last.chars().count() + 1)
}
