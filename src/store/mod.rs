//! The store: all families and their series, written by Prosody's thread and read by any.

pub mod cell;
mod chunk;
mod cork;
mod family;
mod index;
mod names;
mod record;
mod registration;

pub use cell::{Refused, Taken};
pub use cork::Cork;
pub use family::{Family, FamilyFields, FamilyWriter};
pub use index::Location;
pub(crate) use record::read_shape;
pub use registration::{FamilySpec, Repair};

use crate::model::name;
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

    /// Adds a family, and tells what had to be repaired. One that was registered under the same raw name goes: handles
    /// to it go on working, but it is no longer on the page.
    pub fn register(&self, spec: FamilySpec) -> (FamilyWriter, Vec<Repair>) {
        let mut registered = self.registered.write();
        let Registered {
            families,
            exposed,
            names,
        } = &mut *registered;
        let families = Arc::make_mut(families);
        let replaced = exposed.get(&spec.name).and_then(|name| families.remove(name));
        if let Some(replaced) = replaced {
            names.give_back(&replaced.name, &name::family(&replaced.raw_name), replaced.kind);
        }
        let (fields, repairs) = registration::fields(spec, names);
        let cork = Cork::new(Arc::clone(&self.corked));
        let writer = FamilyWriter::new(Family::new(fields, cork));
        let family = writer.family();
        exposed.insert(family.raw_name.clone(), family.name.clone());
        families.insert(family.name.clone(), Arc::clone(family));
        (writer, repairs)
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
