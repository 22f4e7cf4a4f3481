//! The store: all families and their series, written by Prosody's thread and read by any.

pub mod cell;
mod chunk;
mod cork;
mod family;
mod index;
mod names;
mod record;

pub use cell::Refused;
pub use cork::Cork;
pub use family::{Family, FamilySpec, FamilyWriter};
pub use index::Location;
pub(crate) use record::read_shape;

use crate::model::{name, Kind};
use names::Names;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::Arc;

/// All families by the name they have on the page.
pub type Families = BTreeMap<String, Arc<Family>>;

/// The store of one provider.
///
/// Its lock guards the list of families alone. Updates never take it, and readers hold it only as long as it takes to
/// copy one pointer.
#[derive(Default)]
pub struct Store {
    registered: RwLock<Registered>,
    corked: Arc<AtomicBool>,
}

#[derive(Default)]
struct Registered {
    families: Arc<Families>,
    /// The name on the page by the name registered.
    exposed: HashMap<Vec<u8>, String>,
    names: Names,
}

impl Store {
    /// An empty store.
    pub fn new() -> Store {
        Store::default()
    }

    /// Adds a family. One that was registered under the same raw name goes: handles to it go on working, but it is
    /// no longer on the page.
    pub fn register(&self, spec: FamilySpec) -> FamilyWriter {
        let reserved: &[&str] = match spec.kind {
            Kind::Histogram => &["le"],
            _ => &[],
        };
        let keys = spec.label_keys.iter().map(Vec::as_slice);
        let label_names = name::label_keys(keys, reserved);

        let mut registered = self.registered.write();
        let Registered {
            families,
            exposed,
            names,
        } = &mut *registered;
        let families = Arc::make_mut(families);
        let replaced = exposed.get(&spec.name).and_then(|name| families.remove(name));
        if let Some(replaced) = replaced {
            names.give_back(&replaced.name, replaced.kind);
        }
        let name = names.take(&name::family(&spec.name), spec.kind);
        let unit = Some(name::unit(&spec.unit)).filter(|unit| !unit.is_empty() && name.ends_with(&format!("_{unit}")));
        exposed.insert(spec.name.clone(), name.clone());
        let cork = Cork::new(Arc::clone(&self.corked));
        let writer = Family::create(spec, name.clone(), unit, label_names, cork);
        families.insert(name, Arc::clone(writer.family()));
        writer
    }

    /// The families of this moment, by their names on the page.
    pub fn families(&self) -> Arc<Families> {
        Arc::clone(&self.registered.read().families)
    }

    /// From here to [`Store::uncork`] readers see gauges as they are now. For the writer.
    pub fn cork(&self) {
        self.corked.store(true, Relaxed);
    }

    /// Shows readers all gauges as they are now. Harmless if nothing is corked. For the writer.
    pub fn uncork(&self) {
        if self.corked.swap(false, Relaxed) {
            self.families().values().for_each(|family| family.show_pending());
        }
    }
}
