//! What Lua holds for a metric in a family whose series go, or have quantiles: a *lease*.
//!
//! Unlike a handle it doesn't point to the record, which may be another series' by now. It has the record's location and the
//! serial number of the series, and its label set, so that an update finds a new series where the old one has gone.

use super::block::{tag, FamilyBlock, FamilyState, Handle, LEASE_TAGS};
use super::call::Stop;
use crate::model::Kind;
use crate::store::{Assigned, FamilyWriter, Location};
use mlua::ffi::{self, lua_State};
use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::AtomicU64;

/// A lease's userdata block. The encoded label set follows on it.
#[repr(C)]
pub(super) struct Lease {
    tag: *const u8,
    family: *const FamilyBlock,
    serial: Cell<u64>,
    location: Cell<Location>,
    /// Right after this, with the block's own pointer.
    labels: *const u8,
    label_bytes: usize,
    /// If the label set ran into a limit: how many series had gone by then. Once more have, there may be room.
    limited_at: Cell<u64>,
}

const NOT_LIMITED: u64 = u64::MAX;

/// What a new lease is made of.
#[derive(Clone, Copy)]
pub(super) struct Leased {
    pub(super) location: Location,
    pub(super) serial: u64,
    /// The length of the label set.
    pub(super) label_bytes: usize,
    pub(super) limited: bool,
}

impl Lease {
    /// Pushes a lease without a metatable, and returns where its labels are to be written: zeros by now.
    ///
    /// # Safety
    /// There is room on the stack. The metatable that the caller sets keeps `family` alive.
    pub(super) unsafe fn push<'a>(
        state: *mut lua_State,
        kind: Kind,
        family: *const FamilyBlock,
        of: Leased,
    ) -> &'a mut [u8] {
        // SAFETY: the block has the size of what is written to it, and lives as long as it is on the stack.
        unsafe {
            let size = size_of::<Lease>() + of.label_bytes;
            #[cfg(lua_user_values)]
            let block = ffi::lua_newuserdatauv(state, size, 0);
            #[cfg(not(lua_user_values))]
            let block = ffi::lua_newuserdata(state, size);
            let labels = block.cast::<u8>().add(size_of::<Lease>());
            labels.write_bytes(0, of.label_bytes);
            block.cast::<Lease>().write(Lease {
                tag: tag(LEASE_TAGS + kind as usize),
                family,
                serial: Cell::new(of.serial),
                location: Cell::new(of.location),
                labels,
                label_bytes: of.label_bytes,
                // Looks once more at the first update, which tells the number.
                limited_at: Cell::new(if of.limited { 0 } else { NOT_LIMITED }),
            });
            std::slice::from_raw_parts_mut(labels, of.label_bytes)
        }
    }

    /// The lease of a metric of type `kind` at `index`.
    ///
    /// # Safety
    /// `index` is valid. The lease is used no longer than it is on the stack or otherwise referred to.
    pub(super) unsafe fn at<'a>(state: *mut lua_State, index: c_int, kind: Kind) -> Option<&'a Lease> {
        // SAFETY: the address is read only if there are as many bytes as a lease has at least, and it begins with a pointer,
        // which is that of no foreign userdata. Leases are changed through cells alone, but for the labels, which their
        // maker fills.
        unsafe {
            let block = ffi::lua_touserdata(state, index);
            let ours = !block.is_null()
                && ffi::lua_rawlen(state, index) as usize >= size_of::<Lease>()
                && block.cast::<*const u8>().read() == tag(LEASE_TAGS + kind as usize);
            ours.then(|| &*block.cast::<Lease>())
        }
    }

    /// Whether this is a lease of that series of the family in `block`.
    pub(super) fn is_of(&self, block: *const FamilyBlock, serial: u64) -> bool {
        self.family == block && self.serial.get() == serial
    }

    fn family(&self) -> &FamilyBlock {
        // SAFETY: the lease's metatable keeps the block's memory.
        unsafe { &*self.family }
    }

    fn labels(&self) -> &[u8] {
        // SAFETY: `push` made room for as many bytes and wrote them; blocks stay where they are.
        unsafe { std::slice::from_raw_parts(self.labels, self.label_bytes) }
    }

    /// Runs `use_it` on the record, which counts as updated. If the series has gone, there is a new one. `None` at the end of
    /// the Lua state, and if there is no room for a series at all.
    pub(super) fn update<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyState, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        let result = self.family().with(|family| {
            let mut writer = family.writer.borrow_mut();
            let expired = family.family.expired();
            let limited_at = self.limited_at.get();
            if !self.is_there(&writer) || (limited_at != NOT_LIMITED && limited_at != expired) {
                let (location, placed) = writer.find_or_create(self.labels())?;
                let limited = matches!(placed, Assigned::Limited(limit) if limit.may_pass());
                self.limited_at.set(if limited { expired } else { NOT_LIMITED });
                self.move_to(location, &writer)?;
            }
            let location = self.location.get();
            writer.touch(location);
            let record = writer.record(location);
            Some(use_it(family, record.get(..family.family.record_words())?))
        })?;
        Ok(result.flatten())
    }

    /// Runs `use_it` on the record to read it. If the series has gone, and there is no new one, all is zero, as it would be in
    /// that.
    pub(super) fn read<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyState, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        self.family().with(|family| {
            let words = family.family.record_words();
            let writer = family.writer.borrow();
            let found = match self.is_there(&writer) {
                true => Some(()),
                false => writer
                    .find(self.labels())
                    .and_then(|location| self.move_to(location, &writer)),
            };
            match found.and_then(|()| writer.record(self.location.get()).get(..words)) {
                Some(record) => use_it(family, record),
                None => {
                    let zeros: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
                    use_it(family, &zeros)
                }
            }
        })
    }

    fn is_there(&self, writer: &FamilyWriter) -> bool {
        writer.record_of(self.location.get(), self.serial.get()).is_some()
    }

    fn move_to(&self, location: Location, writer: &FamilyWriter) -> Option<()> {
        self.serial.set(writer.serial(location)?);
        self.location.set(location);
        Some(())
    }
}

/// A metric that somebody holds.
#[derive(Clone, Copy)]
pub(super) enum Metric<'a> {
    Handle(&'a Handle),
    Lease(&'a Lease),
}

impl<'a> Metric<'a> {
    /// The metric of type `kind` at `index`.
    ///
    /// # Safety
    /// `index` is valid. It is used no longer than it is on the stack or otherwise referred to.
    pub(super) unsafe fn at(state: *mut lua_State, index: c_int, kind: Kind) -> Option<Metric<'a>> {
        // SAFETY: by the contract above.
        unsafe {
            match Handle::at(state, index, kind) {
                Some(handle) => Some(Metric::Handle(handle)),
                None => Lease::at(state, index, kind).map(Metric::Lease),
            }
        }
    }

    /// The family's block.
    pub(super) fn family(&self) -> &FamilyBlock {
        match self {
            Metric::Handle(handle) => handle.family(),
            Metric::Lease(lease) => lease.family(),
        }
    }

    /// Runs `use_it` on the whole record but for the labels, to read it.
    pub(super) fn with<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyState, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        match self {
            Metric::Handle(handle) => handle.with(use_it),
            Metric::Lease(lease) => lease.read(use_it),
        }
    }

    /// Runs `use_it` on the encoded label set.
    pub(super) fn with_labels<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyState, &[u8]) -> T,
    ) -> Result<Option<T>, Stop> {
        match self {
            Metric::Handle(handle) => handle.with_labels(use_it),
            Metric::Lease(lease) => lease.family().with(|family| use_it(family, lease.labels())),
        }
    }

    /// The same, to change it.
    pub(super) fn update<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyState, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        match self {
            Metric::Handle(handle) => handle.with(use_it),
            Metric::Lease(lease) => lease.update(use_it),
        }
    }
}
