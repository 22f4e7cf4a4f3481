//! What labels are called as tags. Some names receivers take for themselves: a tag `host` is taken away by Datadog's agent and
//! makes every VirtualHost a machine. `docs/statsd.md` tells which name is whose.

use super::Options;
use crate::store::FamilyFields;
use std::collections::{BTreeMap, HashSet};

/// Labels that are called otherwise as tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renames {
    /// Whether those whose names receivers take for themselves keep their names unless `given` has them.
    pub keeps_reserved: bool,
    /// What the operator has decided, by label.
    pub given: BTreeMap<String, String>,
}

impl Renames {
    /// Names that a receiver gives a meaning of its own, and what modules' labels of these names are called.
    pub const RESERVED: [(&'static str, &'static str); 15] = [
        ("host", "vhost"),
        ("device", "exported_device"),
        ("source", "exported_source"),
        ("service", "exported_service"),
        ("env", "exported_env"),
        ("version", "exported_version"),
        ("team", "exported_team"),
        ("s", "exported_s"),
        ("metric_type", "exported_metric_type"),
        ("container", "exported_container"),
        ("time", "exported_time"),
        ("_measurement", "exported_measurement"),
        ("_field", "exported_field"),
        ("le", "exported_le"),
        ("quantile", "exported_quantile"),
    ];

    /// What a module's label of this name is to be called.
    pub fn of_label<'a>(&'a self, label: &'a str) -> &'a str {
        let reserved = Renames::RESERVED.iter().filter(|_| !self.keeps_reserved);
        let reserved = || reserved.clone().find(|(name, _)| *name == label).map(|(_, tag)| *tag);
        self.given
            .get(label)
            .map(String::as_str)
            .or_else(reserved)
            .unwrap_or(label)
    }

    /// What a label is to be called that the operator has put on every series: as it stands there, since whoever sets `env`
    /// means what the receiver takes it for.
    fn of_constant<'a>(&'a self, label: &'a str) -> &'a str {
        self.given.get(label).map_or(label, String::as_str)
    }
}

/// The names of a family's tags, no two of them equal.
#[derive(Default)]
pub(super) struct TagNames {
    /// Those of its own labels, in their order.
    pub(super) labels: Vec<String>,
    /// Those of the labels that all series have.
    pub(super) constant: Vec<String>,
}

impl TagNames {
    /// Those of `family`. A label that is called otherwise makes way for one that has the name already: a number follows.
    pub(super) fn of(family: &FamilyFields, options: &Options) -> TagNames {
        let renames = &options.renames;
        let own = family.label_names.iter().map(|name| (name, renames.of_label(name)));
        let constant = family.constant_labels.iter();
        let constant = constant.map(|(name, _)| (name, renames.of_constant(name)));
        let wanted: Vec<(&String, &str)> = own.chain(constant).collect();
        let kept = wanted.iter().filter(|(name, tag)| name == tag);
        let mut taken: HashSet<String> = kept.map(|(name, _)| (*name).clone()).collect();
        let mut labels: Vec<String> = Vec::with_capacity(wanted.len());
        for (name, tag) in wanted {
            if name == tag {
                labels.push(name.clone());
                continue;
            }
            let numbered = (2_u64..).map(|number| format!("{tag}_{number}"));
            let mut candidates = std::iter::once(tag.to_owned()).chain(numbered);
            labels.extend(candidates.find(|candidate| taken.insert(candidate.clone())));
        }
        let constant = labels.split_off(family.label_names.len());
        TagNames { labels, constant }
    }

    /// What the tag with a hash is called, as no other tag may be.
    pub(super) fn of_hash(&self, options: &Options) -> String {
        let mut name = "metre_hash".to_owned();
        let constant = options.constant_tags.iter().map(|(other, _)| other);
        let others: Vec<&String> = constant.chain(&self.labels).chain(&self.constant).collect();
        while others.contains(&&name) {
            name.push('_');
        }
        name
    }
}
