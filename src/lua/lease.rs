//! What Lua holds for a metric in a family whose series go, or have quantiles: a *lease*.
//!
//! Unlike a handle it doesn't point to the record, which may be another series' by now. It has the record's location
//! and the serial number of the series, and its label set, so that an update finds a new series where the old one has
//! gone.

use super::block::{block_at, lease_tag, FamilyBlock, FamilyContent, Length};
use super::call::Stop;
use super::preconditions::room;
use crate::model::Kind;
use crate::store::{Assigned, FamilyWriter, Location};
use mlua::ffi::{self, lua_State};
use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::AtomicU64;

/// A lease's userdata block. The encoded label set follows on it. After `push` and its caller nobody writes but to the
/// cells.
#[repr(C)]
pub(super) struct Lease {
    tag: *const u8,
    family: *const FamilyBlock,
    serial: Cell<u64>,
    location: Cell<Location>,
    /// Right after this, with the block's own pointer.
    labels: *const u8,
    label_bytes: usize,
    /// If the label set ran into a limit: how many series had gone by then. Once more series have gone, there may be
    /// room.
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
    /// - There is room for one value, and nothing with a destructor is alive.
    /// - `kind` is the type of the family in the block `family`.
    /// - The caller sets a metatable that keeps `family` alive.
    /// - The caller writes the labels at once: while that goes on, Lua doesn't run and nobody else looks at the lease.
    pub(super) unsafe fn push<'a>(
        state: *mut lua_State,
        kind: Kind,
        family: *const FamilyBlock,
        of: Leased,
    ) -> &'a mut [u8] {
        // SAFETY:
        // - The block has the size of a lease and its labels, and Lua aligns it for any C type.
        // - The labels are zeros before a slice is made of them. The slice begins where the lease ends, so nothing else
        //   is borrowed with it, and the block is on the stack as long as the caller writes.
        unsafe {
            room(state, 1);
            let size = size_of::<Lease>() + of.label_bytes;
            #[cfg(lua_user_values)]
            let block = ffi::lua_newuserdatauv(state, size, 0);
            #[cfg(not(lua_user_values))]
            let block = ffi::lua_newuserdata(state, size);
            let labels = block.cast::<u8>().add(size_of::<Lease>());
            labels.write_bytes(0, of.label_bytes);
            block.cast::<Lease>().write(Lease {
                tag: lease_tag(kind),
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
    /// - `index` is valid, or that of a missing argument.
    /// - The lease is used no longer than it is on the stack or otherwise referred to.
    pub(super) unsafe fn at<'a>(state: *mut lua_State, index: c_int, kind: Kind) -> Option<&'a Lease> {
        // SAFETY: what has the tag was written by `push`, and is changed through cells alone once its maker has filled
        // in the labels, which are behind what this refers to.
        unsafe { block_at::<Lease>(state, index, lease_tag(kind), Length::AtLeast).map(|block| &*block) }
    }

    /// Whether this is a lease of that series of the family in `block`.
    pub(super) fn is_of(&self, block: *const FamilyBlock, serial: u64) -> bool {
        self.family == block && self.serial.get() == serial
    }

    /// The family's block.
    pub(super) fn family(&self) -> &FamilyBlock {
        // SAFETY: the lease's metatable keeps the block's memory, whether it has content or not.
        unsafe { &*self.family }
    }

    /// The encoded label set.
    pub(super) fn labels(&self) -> &[u8] {
        // SAFETY: `push` made room for as many bytes and wrote them, right behind this; blocks stay where they are, and
        // the lease is borrowed meanwhile.
        unsafe { std::slice::from_raw_parts(self.labels, self.label_bytes) }
    }

    /// Runs `use_it` on the record, which counts as updated. If the series has gone, a new one is made. `None` at the
    /// end of the Lua state, and if there is no room for a series at all.
    pub(super) fn update<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyContent, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        let result = self.family().with(|family| {
            let mut writer = family.writer.borrow_mut();
            let gone = family.family.gone();
            let limited_at = self.limited_at.get();
            if !self.is_there(&writer) || (limited_at != NOT_LIMITED && limited_at != gone) {
                let (location, assigned) = writer.find_or_create(self.labels())?;
                let limited = matches!(assigned, Assigned::Limited(limit) if limit.may_pass());
                self.limited_at.set(if limited { gone } else { NOT_LIMITED });
                self.move_to(location, &writer)?;
            }
            let location = self.location.get();
            writer.touch(location);
            let record = writer.record(location);
            Some(use_it(family, record.get(..family.family.record_words())?))
        })?;
        Ok(result.flatten())
    }

    /// Runs `use_it` on the record to read it. If the series has gone, it runs on the record of the series that has its
    /// labels by now, or else on zeros, which a new series would have.
    pub(super) fn read<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyContent, &[AtomicU64]) -> T,
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
