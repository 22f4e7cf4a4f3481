//! From series to the metrics, leases and views that Lua holds.

use super::block::{key, FamilyBlock, FamilyState, Handle};
use super::call::{pure, set_function, Stop};
use super::lease::{Lease, Leased};
use super::view::{self, LINK};
use super::{register, update};
use crate::model::Kind;
use crate::store::Location;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicU64;

/// Where a family's uservalue has the table of its metrics that are alive (leases, in families that have them) by the address
/// of their record, with weak values: the same labels give the same object, and nothing is kept for metrics that nobody holds.
pub(super) static HANDLES: u8 = 0;
/// The registry's metatables for metrics, by type.
static METATABLES: [u8; Kind::ALL.len()] = [0; Kind::ALL.len()];

/// Where a series is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    record: *const AtomicU64,
    pub(super) kind: Kind,
    pub(super) location: Location,
    /// In families that have leases instead of handles.
    pub(super) serial: Option<u64>,
    /// Whether its family has few series.
    few: bool,
}

/// As many series as a family may have for its metrics to be made for speed.
const FEW: usize = 1000;

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
        few: family.family.series_count() <= FEW,
    }
}

/// Pushes the metric for a series. It is a table that has the methods that modules call most as elements, each a
/// function with the handle as an upvalue: Lua finds them without asking a metatable. In families of many series it is a handle
/// alone, which takes a quarter of the time and of the memory to make: there most of them are used once, or held by the thousand.
///
/// # Safety
/// At `handles` there is the table of the family's metrics and at `family` the block of the family that the series is one of.
#[inline(always)]
pub(super) unsafe fn push_metric(state: *mut lua_State, handles: c_int, family: c_int, place: Place) {
    // SAFETY: the stack has room for a few values. Nothing else is in the table of metrics, and no record of a family without
    // lives is ever another series'.
    unsafe {
        if ffi::lua_rawgetp(state, handles, place.record.cast()) != ffi::LUA_TNIL {
            return;
        }
        ffi::lua_pop(state, 1);
        match place.few {
            true => push_new_metric(state, family, place),
            false => push_handle(state, family, place, std::ptr::null()),
        }
        // A finalizer that Lua has run just now may have been given one.
        if ffi::lua_rawgetp(state, handles, place.record.cast()) != ffi::LUA_TNIL {
            ffi::lua_remove(state, -2);
            return;
        }
        ffi::lua_pop(state, 1);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawsetp(state, handles, place.record.cast());
    }
}

unsafe fn push_new_metric(state: *mut lua_State, family: c_int, place: Place) {
    // SAFETY: `push_metric`'s. A function gets the table as an upvalue too, so that no other one has its address.
    unsafe {
        let methods = update::bound_methods(place.kind);
        ffi::lua_createtable(state, 0, methods.len() as c_int + 1);
        let metric = ffi::lua_gettop(state);
        push_handle(state, family, place, ffi::lua_topointer(state, metric));
        for (name, function) in methods {
            ffi::lua_pushvalue(state, metric + 1);
            ffi::lua_pushvalue(state, metric);
            set_function(state, metric, name, *function, 2);
        }
        ffi::lua_rawsetp(state, metric, key(&LINK));
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[place.kind as usize]));
        ffi::lua_setmetatable(state, metric);
    }
}

/// Makes the metatable for the metrics of a type. They have no fields, as handles have none.
///
/// # Safety
/// There is room on the stack.
pub(super) unsafe fn make_metatable(state: *mut lua_State, kind: Kind) {
    // SAFETY: everything that is pushed ends in the registry.
    unsafe {
        ffi::lua_createtable(state, 0, 3);
        let table = ffi::lua_gettop(state);
        register::push_methods(state, kind);
        ffi::lua_setfield(state, table, c"__index".as_ptr());
        set_function(state, table, c"__newindex", for_kind!(kind, view::new_index), 0);
        register::protect(state, table);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[kind as usize]));
    }
}

/// Pushes a handle for a series.
unsafe fn push_handle(state: *mut lua_State, family: c_int, place: Place, owner: *const c_void) {
    // SAFETY: `push_metric`'s; a handle gets its family's metatable, which keeps the block.
    unsafe {
        let block = ffi::lua_touserdata(state, family).cast::<FamilyBlock>();
        Handle::push(state, place.record, place.kind, block, owner);
        ffi::lua_getuservalue(state, family);
        ffi::lua_setmetatable(state, -2);
    }
}

/// Pushes the lease for a series; `fill` writes its labels, and calls nothing in Lua that can raise. Nobody else gets the same
/// one if it ran into a limit.
///
/// # Safety
/// Those of [`push_metric`].
#[cold]
pub(super) unsafe fn push_lease(
    state: *mut lua_State,
    handles: c_int,
    family: c_int,
    place: Place,
    of: Leased,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), Stop> {
    // SAFETY: the stack has room for the three values; a lease gets its family's metatable, which keeps the block.
    unsafe {
        let block = FamilyBlock::at(state, family)?;
        if !of.limited && push_known_lease(state, handles, block, place, of) {
            return Ok(());
        }
        let labels = Lease::push(state, place.kind, block, of);
        pure(|| fill(labels))?;
        ffi::lua_getuservalue(state, family);
        ffi::lua_setmetatable(state, -2);
        if of.limited {
            return Ok(());
        }
        // A finalizer that Lua has run just now may have been given one.
        if push_known_lease(state, handles, block, place, of) {
            ffi::lua_remove(state, -2);
            return Ok(());
        }
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawsetp(state, handles, place.record.cast());
        Ok(())
    }
}

/// Pushes the lease that somebody has for this series; false if nobody has.
unsafe fn push_known_lease(
    state: *mut lua_State,
    handles: c_int,
    block: *const FamilyBlock,
    place: Place,
    of: Leased,
) -> bool {
    // SAFETY: `push_lease`'s; the lease is looked at while it is on the stack.
    unsafe {
        ffi::lua_rawgetp(state, handles, place.record.cast());
        let known = Lease::at(state, -1, place.kind).is_some_and(|lease| lease.is_of(block, of.serial));
        if !known {
            ffi::lua_pop(state, 1);
        }
        known
    }
}

/// Pushes a view of the series at `place`, whose encoded label set is `labels`.
///
/// # Safety
/// At `family`, an absolute index or an upvalue, there is a family's block, and the place is one of its. The labels stay
/// where they are while Lua runs.
pub(super) unsafe fn push_view(state: *mut lua_State, family: c_int, place: Place, labels: &[u8]) -> Result<(), Stop> {
    // SAFETY: by the contract above; a family's uservalue is a table.
    unsafe {
        match place.serial {
            None => push_handle(state, family, place, std::ptr::null()),
            Some(serial) => {
                let of = Leased {
                    location: place.location,
                    serial,
                    label_bytes: labels.len(),
                    limited: false,
                };
                push_handles(state, family);
                let handles = ffi::lua_gettop(state);
                push_lease(state, handles, family, place, of, |out| out.copy_from_slice(labels))?;
                ffi::lua_remove(state, handles);
            }
        }
        view::wrap(state, place.kind)
    }
}

/// Pushes the table of a family's metrics.
///
/// # Safety
/// At `family`, an absolute index or an upvalue, there is a family's block; there is room on the stack.
pub(super) unsafe fn push_handles(state: *mut lua_State, family: c_int) {
    // SAFETY: a family's uservalue is a table.
    unsafe {
        ffi::lua_getuservalue(state, family);
        ffi::lua_rawgetp(state, -1, key(&HANDLES));
        ffi::lua_remove(state, -2);
    }
}
