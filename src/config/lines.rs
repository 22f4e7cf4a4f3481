//! Where a file has what.

use std::collections::BTreeMap;

/// On which line each key of a file stands, and each element of a list (by its number from 1).
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(BTreeMap<Vec<String>, usize>);

impl Lines {
    /// The line of what this path leads to, or of the nearest that holds it.
    pub(super) fn of(&self, path: &[String]) -> Option<usize> {
        let mut lengths = (1..=path.len()).rev();
        lengths.find_map(|length| self.0.get(&path[..length]).copied())
    }

    /// Notes where what this path leads to stands.
    pub(super) fn note(&mut self, path: Vec<String>, line: usize) {
        self.0.insert(path, line);
    }
}
