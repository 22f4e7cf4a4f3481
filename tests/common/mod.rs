//! What several of these tests need.

use metre::model::{Kind, Number};
use metre::store::{FamilySpec, FamilyWriter, Store};

/// A family without unit and help; a histogram has buckets for 1 and 10.
pub fn family(store: &Store, kind: Kind, name: &str, keys: &[&str]) -> FamilyWriter {
    let spec = FamilySpec {
        kind,
        name: name.into(),
        unit: Vec::new(),
        help: Vec::new(),
        label_keys: keys.iter().map(|key| (*key).into()).collect(),
        thresholds: vec![Number::Int(1), Number::Int(10)],
    };
    store.register(spec).unwrap().0
}
