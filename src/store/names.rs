//! The names on the page, each of which one family alone may use.

use crate::model::Kind;
use std::collections::{HashMap, HashSet};

/// The names of all families and of all their samples: no two may be the same (OpenMetrics 1.0, "MetricFamily" and
/// "Suffixes").
#[derive(Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
    /// The number to try first for a name that is taken. All names in a script other than Latin are underscores on the
    /// page, so thousands may want the same one.
    next: HashMap<String, u64>,
}

/// Whether a family of one name and type and one of another have a sample name in common.
pub(crate) fn clash(name: &str, kind: Kind, other: &str, other_kind: Kind) -> bool {
    let all = |name: &str, kind: Kind| {
        kind.suffixes()
            .map(|suffix| format!("{name}{suffix}"))
            .collect::<HashSet<_>>()
    };
    !all(name, kind).is_disjoint(&all(other, other_kind))
}

impl Names {
    /// Takes a name for a family of type `kind`: `wanted`, or with a number after it that makes all its sample names
    /// free.
    pub(crate) fn take(&mut self, wanted: &str, kind: Kind) -> String {
        let name = match self.is_free(wanted, kind) {
            true => wanted.to_owned(),
            false => self.numbered(wanted, kind),
        };
        let sample_names = kind.suffixes().map(|suffix| format!("{name}{suffix}"));
        self.taken.extend(sample_names);
        name
    }

    /// Gives back what [`Names::take`] took for `wanted`.
    pub(crate) fn give_back(&mut self, name: &str, wanted: &str, kind: Kind) {
        for suffix in kind.suffixes() {
            self.taken.remove(&format!("{name}{suffix}"));
        }
        let number: Option<u64> = name
            .strip_prefix(wanted)
            .and_then(|rest| rest.strip_prefix('_')?.parse().ok());
        if let (Some(number), Some(next)) = (number, self.next.get_mut(wanted)) {
            *next = number.min(*next);
        }
    }

    pub(crate) fn is_free(&self, name: &str, kind: Kind) -> bool {
        let taken = |suffix: &str| self.taken.contains(&format!("{name}{suffix}"));
        !kind.suffixes().any(taken)
    }

    fn numbered(&mut self, wanted: &str, kind: Kind) -> String {
        let mut number = self.next.get(wanted).copied().unwrap_or(2);
        while !self.is_free(&format!("{wanted}_{number}"), kind) {
            number += 1;
        }
        self.next.insert(wanted.to_owned(), number + 1);
        format!("{wanted}_{number}")
    }
}
