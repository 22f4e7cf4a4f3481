//! The store: all families and their series, written by Prosody's thread and read by any.
//!
//! Each file uses those above it in this list, so the list is an order to read them in:
//!
//! 1. `record` (a series in memory), `chunk` (many records), `index` (from a label set to a record's location);
//! 2. `cork`, `seqlock`, `home` (what the writer and readers agree by), `refusals`, `ring`, `journal` (for pushers);
//! 3. `values` (what a record holds, by type), `quantiles`, `life` (what some records hold beside values);
//! 4. `family` (a family as its readers see it), `updates` (what its writer does to a series);
//! 5. `memory`, `budget`, `writer` with `expiry` (how its writer creates series and has them go);
//! 6. `names`, `registration`, `families` (what one family must know of the others), and this file.

mod budget;
mod chunk;
mod cork;
mod expiry;
mod families;
mod family;
mod home;
mod index;
#[cfg(all(test, feature = "model"))]
mod interleavings;
mod journal;
mod life;
mod memory;
mod names;
mod quantiles;
mod record;
mod refusals;
mod registration;
mod ring;
mod seqlock;
pub mod updates;
pub mod values;
mod writer;

pub use cork::Cork;
pub use families::Families;
pub(crate) use family::{records, Chunks, ShownGauges};
pub use family::{Family, FamilyFields};
pub use home::Home;
pub use index::Location;
pub use journal::{Ended, Journal};
pub use quantiles::{Quantiles, SeriesId, RELATIVE_ERROR};
pub(crate) use record::{copy as copy_record, read_shape};
pub use refusals::Refused;
pub use registration::{FamilySpec, Repair};
pub use ring::Ring;
pub use updates::Taken;
pub use writer::{Assigned, FamilyWriter, OVERFLOW};

use crate::model::clock::Clock;
use crate::model::{name, Kind};
use crate::policy::{FamilyPolicy, Ignored, Policy};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use crate::sync::{Mutex, Published};
use budget::Budget;
use family::StoreContext;
use names::Names;
use refusals::Refusals;
use std::collections::HashMap;
use std::sync::Arc;

/// The store of one provider.
pub struct Store {
    policy: Policy,
    constant_labels: Arc<[(String, String)]>,
    budget: Arc<Budget>,
    clock: Clock,
    ignored: [AtomicU64; Ignored::ALL.len()],
    /// Only Prosody's thread ever locks it.
    registered: Mutex<Registered>,
    listed: Published<Listed>,
    home: Arc<Home>,
    corked: Arc<AtomicBool>,
    /// Odd while gauges written under the cork are being shown, family by family.
    uncorking: AtomicU64,
    journal: Option<Arc<Journal>>,
    refusals: Arc<Refusals>,
}

#[derive(Default)]
struct Registered {
    /// Names on the page, by the names that modules registered.
    exposed: HashMap<Vec<u8>, String>,
    names: Names,
    /// The names of metre's own families.
    own: Vec<String>,
}

/// What readers see. It is replaced as a whole, so that a family that moves is never missing in both lists.
#[derive(Default)]
struct Listed {
    families: Arc<Families>,
    replaced: Arc<Replaced>,
}

/// Families that were replaced since the pusher last asked.
#[derive(Clone, Default)]
pub struct Replaced {
    /// The families, the latest last.
    pub families: Vec<Arc<Family>>,
    /// How many further families were replaced but not kept, since they were too many.
    pub left_out: u64,
}

impl Replaced {
    fn add(&mut self, family: &Arc<Family>) {
        match self.families.len() < MOST_REPLACED {
            true => self.families.push(Arc::clone(family)),
            false => self.left_out += 1,
        }
    }
}

/// How many replaced families are kept at most until the pusher asks for them.
const MOST_REPLACED: usize = 1000;

impl Default for Store {
    fn default() -> Self {
        Store::with(Policy::default(), None)
    }
}

impl Store {
    /// An empty store with the default limits.
    pub fn new() -> Store {
        Store::default()
    }

    /// An empty store that follows the operator's `policy`. With `samples` it has a [`Journal`] for a pusher; if that
    /// is `true`, each sample of a histogram goes through the journal's ring, too.
    pub fn with(policy: Policy, samples: Option<bool>) -> Store {
        let home = Arc::default();
        Store {
            constant_labels: policy.labels.iter().cloned().collect(),
            budget: Arc::new(Budget::new(policy.limits)),
            policy,
            clock: Clock::default(),
            ignored: Default::default(),
            registered: Mutex::default(),
            listed: Published::default(),
            corked: Arc::default(),
            uncorking: AtomicU64::new(0),
            journal: samples.map(|samples| Arc::new(Journal::new(samples, &home))),
            refusals: Arc::default(),
            home,
        }
    }

    /// What the operator has decided.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The clock for idle times and quantiles.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The process in which other threads use it.
    pub fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// How many registrations have been ignored for this reason.
    pub fn ignored(&self, why: Ignored) -> u64 {
        self.ignored[why as usize].load(Relaxed)
    }

    /// The journal, if this store has one.
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_deref()
    }

    /// How many values have been refused for this reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refusals.get(why)
    }

    /// Adds a family, and returns its writer and what had to be repaired. A family that was registered under the same
    /// raw name leaves the page, though handles to it go on working; so do families of metre's own whose names it
    /// takes.
    ///
    /// # Errors
    /// The reason for which the operator's policy has no such family.
    pub fn register(&self, spec: FamilySpec) -> Result<(FamilyWriter, Vec<Repair>), Ignored> {
        let ignored = |why: Ignored| {
            self.ignored[why as usize].fetch_add(1, Relaxed);
            Err(why)
        };
        let limits = &self.policy.limits;
        let long = |text: &Vec<u8>| text.len() > limits.max_label_bytes;
        // Before any rule looks at the name.
        if long(&spec.name) || spec.label_keys.iter().any(long) {
            return ignored(Ignored::NameBytes);
        }
        let wanted = name::family(&spec.name);
        let policy = self.policy.family(&wanted, spec.kind, &spec.label_keys);
        if policy.drops_all() {
            return ignored(Ignored::Dropped);
        }
        let mut registered = self.registered.lock();
        if registered.exposed.len() >= limits.max_families && !registered.exposed.contains_key(&spec.name) {
            return ignored(Ignored::Families);
        }
        let Registered { exposed, names, own } = &mut *registered;
        let families = self.families();
        let replaced = exposed.get(&spec.name).and_then(|name| families.get(name));
        if let Some(replaced) = replaced {
            replaced.note_replaced();
            names.give_back(&replaced.name, &name::family(&replaced.raw_name), replaced.kind);
            if let Some(quantiles) = &replaced.quantiles_name {
                let wanted = format!("{}_quantiles", replaced.name);
                names.give_back(quantiles, &wanted, Kind::Summary);
            }
        }
        let mut in_the_way = Vec::new();
        if !names.is_free(&wanted, spec.kind) {
            own.retain(|name| {
                let family = families.get(name);
                let Some(family) = family.filter(|family| names::clash(name, family.kind, &wanted, spec.kind)) else {
                    return true;
                };
                names.give_back(name, name, family.kind);
                in_the_way.push(Arc::clone(family));
                false
            });
        }
        let (fields, repairs) = registration::fields(spec, &policy, &self.constant_labels, names);
        let cork = Cork::new(Arc::clone(&self.corked));
        let family = Family::new(fields, policy, cork, self.context(self.journal.clone()));
        let writer = FamilyWriter::new(family, Some(Arc::clone(&self.budget)));
        let family = writer.family();
        exposed.insert(family.raw_name.clone(), family.name.clone());
        self.list(replaced, &in_the_way, family);
        Ok((writer, repairs))
    }

    /// Lists a family, in place of the family that it replaces and of metre's own that are in the way.
    fn list(&self, replaced: Option<&Arc<Family>>, in_the_way: &[Arc<Family>], family: &Arc<Family>) {
        let kept = replaced.filter(|_| self.journal.is_some());
        self.listed.change(|listed| {
            let mut families = Families::clone(&listed.families);
            let going = replaced.into_iter().chain(in_the_way);
            going.for_each(|family| families.remove(&family.name));
            families.insert(Arc::clone(family));
            let mut replaced = Arc::clone(&listed.replaced);
            kept.into_iter()
                .for_each(|family| Arc::make_mut(&mut replaced).add(family));
            Listed {
                families: Arc::new(families),
                replaced,
            }
        });
    }

    fn context(&self, journal: Option<Arc<Journal>>) -> StoreContext {
        StoreContext {
            journal,
            refusals: Arc::clone(&self.refusals),
            clock: self.clock.clone(),
            home: Arc::clone(&self.home),
        }
    }

    /// Adds a family of metre's own, whose writer is another thread than Prosody's; cork and journal don't apply to it.
    /// It isn't on the page if a module's family uses one of its names, now or later.
    pub fn register_own(&self, spec: FamilySpec) -> FamilyWriter {
        let wanted = name::family(&spec.name);
        let mut registered = self.registered.lock();
        let is_free = registered.names.is_free(&wanted, spec.kind);
        let mut of_no_page = Names::default();
        let names = if is_free {
            &mut registered.names
        } else {
            &mut of_no_page
        };
        let policy = FamilyPolicy::unlimited();
        let (mut fields, _) = registration::fields(spec, &policy, &self.constant_labels, names);
        fields.own = true;
        let family = Family::new(fields, policy, Cork::default(), self.context(None));
        let writer = FamilyWriter::new(family, None);
        if is_free {
            registered.own.push(wanted);
            self.list(None, &[], writer.family());
        }
        writer
    }

    /// The families of this moment, by their names on the page.
    pub fn families(&self) -> Arc<Families> {
        Arc::clone(&self.listed.load().families)
    }

    /// The families that were replaced since the last call (without a journal: none), and the families of this moment.
    /// For the pusher.
    pub fn take_replaced(&self) -> (Replaced, Arc<Families>) {
        let mut before = self.listed.load();
        if !before.replaced.families.is_empty() {
            before = self.listed.change(|listed| Listed {
                families: Arc::clone(&listed.families),
                replaced: Arc::default(),
            });
        }
        (before.replaced.as_ref().clone(), Arc::clone(&before.families))
    }

    /// Runs `read`, and again if [`Store::uncork`] has shown gauges of several families meanwhile; for a tenth of a
    /// second at most, should that happen without a pause.
    pub fn consistently<T>(&self, read: impl FnMut() -> T) -> T {
        seqlock::read(&self.uncorking, read)
    }

    /// From now on, and until [`Store::uncork`], readers see gauges as they are at this moment. For the writer.
    pub fn cork(&self) {
        self.corked.store(true, Relaxed);
    }

    /// Ends corking, and has gauges be what they were at [`Store::cork`]: for a collection that failed half-way. For
    /// the writer.
    pub fn discard(&self) {
        if self.corked.swap(false, Relaxed) {
            self.families().values().for_each(|family| family.discard_pending());
        }
    }

    /// Ends corking, and shows readers all gauges as they are now. Does nothing if nothing is corked. For the writer.
    pub fn uncork(&self) {
        if self.corked.swap(false, Relaxed) {
            seqlock::write(&self.uncorking, || {
                self.families().values().for_each(|family| family.show_pending());
            });
        }
    }
}
