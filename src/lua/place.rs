//! From series to the handles, leases and views that Lua holds.

use super::block::{key, FamilyBlock, FamilyState, Handle};
use super::call::pure;
use super::lease::{Lease, Leased};
use super::view;
use crate::model::Kind;
use crate::store::Location;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::sync::atomic::AtomicU64;

/// The registry's table of live handles by the address of their record, with weak values: the same labels give the
/// same object, and nothing is kept for metrics that nobody holds.
pub(super) static HANDLES: u8 = 0;

/// Where a series is, for handles.
#[derive(Clone, Copy)]
pub(super) struct Place {
    record: *const AtomicU64,
    pub(super) kind: Kind,
    pub(super) location: Location,
    /// In families that have leases instead of handles.
    pub(super) serial: Option<u64>,
}

pub(super) fn place(family: &FamilyState, location: Location) -> Place {
    let writer = family.writer.borrow();
    Place {
        record: writer.record(location).as_ptr(),
        kind: family.family.kind,
        location,
        // A handle would outlive the record. No series has the number 0.
        serial: match family.family.has_lives() {
            true => Some(writer.serial(location).unwrap_or(0)),
            false => None,
        },
    }
}

/// Pushes the handle for a series.
///
/// # Safety
/// At `handles` there is the table of handles and at `family` the block of the family that the series is one of.
#[inline(always)]
pub(super) unsafe fn push_handle(
    state: *mut lua_State,
    handles: c_int,
    family: c_int,
    place: Place,
) -> Result<(), &'static CStr> {
    // SAFETY: the stack has room for the three values; a handle gets its family's metatable, which keeps the block.
    unsafe {
        let block = FamilyBlock::at(state, family)?;
        ffi::lua_rawgetp(state, handles, place.record.cast());
        if Handle::at(state, -1, place.kind).is_some_and(|handle| handle.is_of(block)) {
            return Ok(());
        }
        ffi::lua_pop(state, 1);
        Handle::push(state, place.record, place.kind, block);
        ffi::lua_getuservalue(state, family);
        ffi::lua_setmetatable(state, -2);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawsetp(state, handles, place.record.cast());
        Ok(())
    }
}

/// Pushes the lease for a series; `fill` writes its labels, and calls nothing in Lua that can raise. Nobody else gets the same
/// one if it ran into a limit.
///
/// # Safety
/// Those of [`push_handle`].
#[cold]
pub(super) unsafe fn push_lease(
    state: *mut lua_State,
    handles: c_int,
    family: c_int,
    place: Place,
    of: Leased,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), &'static CStr> {
    // SAFETY: the stack has room for the three values; a lease gets its family's metatable, which keeps the block.
    unsafe {
        let block = FamilyBlock::at(state, family)?;
        if !of.limited {
            ffi::lua_rawgetp(state, handles, place.record.cast());
            if Lease::at(state, -1, place.kind).is_some_and(|lease| lease.is_of(block, of.serial)) {
                return Ok(());
            }
            ffi::lua_pop(state, 1);
        }
        let labels = Lease::push(state, place.kind, block, of);
        pure(|| fill(labels))?;
        ffi::lua_getuservalue(state, family);
        ffi::lua_setmetatable(state, -2);
        if !of.limited {
            ffi::lua_pushvalue(state, -1);
            ffi::lua_rawsetp(state, handles, place.record.cast());
        }
        Ok(())
    }
}

/// Pushes a view of the series at `place`, whose encoded label set is `labels`.
///
/// # Safety
/// At `family`, an absolute index or an upvalue, there is a family's block, and the place is one of its. The labels stay
/// where they are while Lua runs.
pub(super) unsafe fn push_view(
    state: *mut lua_State,
    family: c_int,
    place: Place,
    labels: &[u8],
) -> Result<(), &'static CStr> {
    // SAFETY: by the contract above.
    unsafe {
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&HANDLES));
        let handles = ffi::lua_gettop(state);
        match place.serial {
            None => push_handle(state, handles, family, place)?,
            Some(serial) => {
                let of = Leased {
                    location: place.location,
                    serial,
                    label_bytes: labels.len(),
                    limited: false,
                };
                push_lease(state, handles, family, place, of, |out| out.copy_from_slice(labels))?;
            }
        }
        ffi::lua_remove(state, handles);
        view::wrap(state, place.kind)
    }
}
