//! From what modules register to what can stand on a page.

use super::family::FamilyFields;
use super::names::Names;
use crate::model::{name, Buckets, Kind, Number};
use crate::policy::{is_never_negative, FamilyPolicy};
use std::fmt;
use std::sync::Arc;

/// What a module registers a family with.
#[derive(Clone, Debug)]
pub struct FamilySpec {
    /// The family's type.
    pub kind: Kind,
    /// Its name, unit included.
    pub name: Vec<u8>,
    /// Its unit; empty for none.
    pub unit: Vec<u8>,
    /// The help text; empty for none.
    pub help: Vec<u8>,
    /// The label keys.
    pub label_keys: Vec<Vec<u8>>,
    /// The thresholds of a histogram's buckets, with or without `+Inf`.
    pub thresholds: Vec<Number>,
    /// Whether its series go when they are told to: see [`FamilyWriter::forget`](super::FamilyWriter::forget).
    pub leaves: bool,
    /// Whether the page is without its `_created` samples, whatever it has of other families.
    pub uncreated: bool,
    /// Whether its labels name others than this server: then a destination gets it only if it asks for that.
    pub names_others: bool,
}

impl FamilySpec {
    /// A family without unit, help text and label keys; a histogram has the bucket for `+Inf` alone.
    pub fn new(kind: Kind, name: impl Into<Vec<u8>>) -> FamilySpec {
        FamilySpec {
            kind,
            name: name.into(),
            unit: Vec::new(),
            help: Vec::new(),
            label_keys: Vec::new(),
            thresholds: Vec::new(),
            leaves: false,
            uncreated: false,
            names_others: false,
        }
    }

    /// The same in this unit.
    pub fn unit(mut self, unit: &str) -> FamilySpec {
        self.unit = unit.into();
        self
    }

    /// The same with this help text.
    pub fn help(mut self, help: &str) -> FamilySpec {
        self.help = help.into();
        self
    }

    /// The same with these label keys.
    pub fn labels(mut self, keys: &[&str]) -> FamilySpec {
        self.label_keys = keys.iter().map(|key| (*key).into()).collect();
        self
    }

    /// The same with series that go when they are told to.
    pub fn leaves(mut self) -> FamilySpec {
        self.leaves = true;
        self
    }

    /// The same with buckets up to these thresholds.
    pub fn buckets(mut self, thresholds: &[f64]) -> FamilySpec {
        self.thresholds = thresholds.iter().copied().map(Number::Float).collect();
        self
    }
}

/// A part of a specification that couldn't stand on a page as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Another family has its name, or one of its samples' names.
    Name(String),
    /// Scrapers make a family of its name by themselves.
    Scrapers(String),
    /// The label key of this number, from 1, has another name on the page than its characters make.
    LabelKey(usize, String),
    /// The help text was not UTF-8.
    Help,
    /// Thresholds were no numbers, infinite, equal, or out of order.
    Thresholds,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::Name(name) => write!(f, "another metric uses its name on the page, where it is called {name}"),
            Repair::Scrapers(name) => write!(
                f,
                "scrapers make a metric of its name themselves, so it is called {name} on the page"
            ),
            Repair::LabelKey(number, name) => write!(f, "its label key {number} is called {name} on the page"),
            Repair::Help => f.write_str("its description is not valid UTF-8"),
            Repair::Thresholds => f.write_str("its buckets are put in order, without what can't be one"),
        }
    }
}

/// The fields of the new family, with a name taken from `names`, and what had to be repaired.
/// `constant` are the labels of all series of the store, whose names the family's own labels can't have.
pub(super) fn fields(
    spec: FamilySpec,
    policy: &FamilyPolicy,
    constant: &Arc<[(String, String)]>,
    names: &mut Names,
) -> (FamilyFields, Vec<Repair>) {
    let mut repairs = Vec::new();
    let wanted = name::family(&spec.name);
    let name = names.take(&wanted, spec.kind);
    if name != wanted {
        repairs.push(Repair::Name(name.clone()));
    } else if name::is_scrapers(&name::escape(&spec.name)) {
        repairs.push(Repair::Scrapers(name.clone()));
    }
    let unit = Some(name::unit(&spec.unit)).filter(|unit| !unit.is_empty() && name.ends_with(&format!("_{unit}")));

    let mut reserved: Vec<&str> = constant.iter().map(|(name, _)| name.as_str()).collect();
    if spec.kind == Kind::Histogram {
        reserved.push("le");
    }
    // Even where none are shown: a summary can't have it in any format, and a rule that shows some renames no series.
    if spec.kind.is_of_samples() {
        reserved.push("quantile");
    }
    let label_names = name::label_keys(spec.label_keys.iter().map(Vec::as_slice), &reserved);
    for (number, (name, key)) in (1..).zip(label_names.iter().zip(&spec.label_keys)) {
        if *name != name::escape(key) {
            repairs.push(Repair::LabelKey(number, name.clone()));
        }
    }
    let help = String::from_utf8_lossy(&spec.help);
    if help.as_bytes() != spec.help {
        repairs.push(Repair::Help);
    }
    let thresholds = policy.buckets.as_ref().unwrap_or(&spec.thresholds);
    let buckets = match spec.kind {
        Kind::Histogram => Buckets::new(thresholds.iter().copied()),
        Kind::Gauge | Kind::Counter | Kind::Summary => Buckets::default(),
    };
    if spec.kind == Kind::Histogram && !buckets.are_from(thresholds) {
        repairs.push(Repair::Thresholds);
    }
    let has_quantiles = spec.kind == Kind::Histogram && !policy.quantiles.is_empty();
    let quantiles_name = has_quantiles.then(|| names.take(&format!("{name}_quantiles"), Kind::Summary));
    let fields = FamilyFields {
        kind: spec.kind,
        name,
        unit,
        help: help.into_owned(),
        label_names,
        buckets,
        raw_name: spec.name,
        constant_labels: Arc::clone(constant),
        quantiles_name,
        clamps: spec.kind.is_of_samples() && !policy.allow_negative.unwrap_or(!is_never_negative(&wanted)),
        leaves: spec.leaves,
        uncreated: spec.uncreated,
        names_others: spec.names_others,
        own: false,
    };
    (fields, repairs)
}
