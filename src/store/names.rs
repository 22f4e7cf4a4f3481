//! Who uses which name on the page.

use crate::model::{name, Kind};
use std::collections::HashSet;

/// The names of all families and of all their samples: no two may be the same (OpenMetrics 1.0, "MetricFamily" and
/// "Suffixes").
#[derive(Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Takes a name for a family of type `kind`: `wanted`, or with the first number after it that makes all its
    /// sample names free.
    pub(crate) fn take(&mut self, wanted: &str, kind: Kind) -> String {
        let free = |candidate: &str| {
            kind.suffixes()
                .iter()
                .all(|suffix| !self.taken.contains(&format!("{candidate}{suffix}")))
        };
        let name = name::first_free(wanted, free);
        self.taken
            .extend(kind.suffixes().iter().map(|suffix| format!("{name}{suffix}")));
        name
    }

    /// Gives back what [`Names::take`] took.
    pub(crate) fn give_back(&mut self, name: &str, kind: Kind) {
        for suffix in kind.suffixes() {
            self.taken.remove(&format!("{name}{suffix}"));
        }
    }
}
