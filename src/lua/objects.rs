//! From series to the objects that Lua holds for them: metrics, leases and views.

use super::block::{FamilyBlock, FamilyContent};
use super::call::{pure, Stop};
use super::handle::Handle;
use super::lease::{Lease, Leased};
use super::preconditions::{absolute, holds, room};
use super::tables::{key, protect, push_methods, push_weak_table, set_function};
use super::{link, update, view};
use crate::model::Kind;
use crate::store::Location;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicU64;

/// Where a family's uservalue has the table of its metrics that are alive (leases, in families that have them) by the
/// address of their record, with weak values: the same labels give the same object, and nothing is kept for metrics
/// that nobody holds.
static METRICS: u8 = 0;
/// The registry's metatables for metrics, by type.
static METATABLES: [u8; Kind::ALL.len()] = [0; Kind::ALL.len()];

/// A series, and what its object is made of.
#[derive(Clone, Copy)]
pub(super) struct Series {
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

impl Series {
    /// The series at `location`, which is one of the family's.
    pub(super) fn at(family: &FamilyContent, location: Location) -> Series {
        let writer = family.writer.borrow();
        let record = writer.record(location);
        let has_lives = family.family.has_lives();
        holds!(
            has_lives || record.len() >= family.family.record_words(),
            "a record of {} words is too short for a handle",
            record.len()
        );
        Series {
            record: record.as_ptr(),
            kind: family.family.kind,
            location,
            // A handle would outlive the record. No series has the number 0.
            serial: match has_lives {
                true => Some(writer.serial(location).unwrap_or(0)),
                false => None,
            },
            few: family.family.series_count() <= FEW,
        }
    }
}

/// Pushes the metric for a series. It is a table that has the methods that modules call most as elements, each a
/// function with the handle as an upvalue: Lua finds them without asking a metatable. In families of many series it is
/// a handle alone, which takes a quarter of the time and of the memory to make: there most of them are used once, or
/// held by the thousand.
///
/// # Safety
/// - At `family`, an absolute index, there is the block of the series' family, and at `metrics`, another one, what
///   [`push_metrics`] pushes for it.
/// - The family has no leases.
/// - There is room for eight values, and nothing with a destructor is alive.
#[inline(always)]
pub(super) unsafe fn push_metric(state: *mut lua_State, metrics: c_int, family: c_int, series: Series) {
    // SAFETY:
    // - The table of metrics has no metatable but for its weak values, so raw look-ups and assignments are enough.
    // - No record of a family without leases is ever another series', so what the table has for it is its metric.
    // - The record stays where it is, whatever finalizers Lua runs while it makes the metric.
    unsafe {
        let room = room(state, 8);
        absolute(state, metrics, ffi::LUA_TTABLE);
        absolute(state, family, ffi::LUA_TUSERDATA);
        if ffi::lua_rawgetp(state, metrics, series.record.cast()) != ffi::LUA_TNIL {
            return;
        }
        ffi::lua_pop(state, 1);
        match series.few {
            true => push_new_metric(state, family, series),
            false => push_handle(state, family, series, std::ptr::null()),
        }
        // A finalizer that Lua has run just now may have been given one.
        if ffi::lua_rawgetp(state, metrics, series.record.cast()) != ffi::LUA_TNIL {
            ffi::lua_remove(state, -2);
            return;
        }
        ffi::lua_pop(state, 1);
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawsetp(state, metrics, series.record.cast());
        room.left(state, 1);
    }
}

/// Pushes a table of methods for a series.
///
/// # Safety
/// - At `family`, an absolute index, there is the block of the series' family, which has no leases.
/// - There is room for seven values, and nothing with a destructor is alive.
unsafe fn push_new_metric(state: *mut lua_State, family: c_int, series: Series) {
    // SAFETY:
    // - The table's index is counted from below, and the handle is the value above it.
    // - A function gets the table as an upvalue too, so that no other table has the owner's address while the function
    //   is there.
    // - `update::bound_methods` are the functions for handles of this type.
    unsafe {
        let room = room(state, 7);
        let methods = update::bound_methods(series.kind);
        ffi::lua_createtable(state, 0, methods.len() as c_int + 1);
        let metric = ffi::lua_gettop(state);
        push_handle(state, family, series, ffi::lua_topointer(state, metric));
        for (name, function) in methods {
            ffi::lua_pushvalue(state, metric + 1);
            ffi::lua_pushvalue(state, metric);
            set_function(state, metric, name, *function, 2);
        }
        link::set_link(state, metric);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[series.kind as usize]));
        ffi::lua_setmetatable(state, metric);
        room.left(state, 1);
    }
}

/// Makes the metatable for the metrics of a type. They have no fields, as handles have none.
///
/// # Safety
/// There is room for four values, and nothing with a destructor is alive.
pub(super) unsafe fn make_metatable(state: *mut lua_State, kind: Kind) {
    // SAFETY: the table's index is counted from below; everything that is pushed ends in the table, and the table in
    // the registry.
    unsafe {
        let room = room(state, 4);
        ffi::lua_createtable(state, 0, 3);
        let table = ffi::lua_gettop(state);
        push_methods(state, kind);
        ffi::lua_setfield(state, table, c"__index".as_ptr());
        set_function(state, table, c"__newindex", for_kind!(kind, view::new_index), 0);
        protect(state, table);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[kind as usize]));
        room.left(state, 0);
    }
}

/// Pushes a handle for a series.
///
/// # Safety
/// - At `family`, an absolute index, there is the block of the series' family, which has no leases.
/// - `owner` is as [`Handle::push`] wants it.
/// - There is room for two values, and nothing with a destructor is alive.
unsafe fn push_handle(state: *mut lua_State, family: c_int, series: Series, owner: *const c_void) {
    // SAFETY: the type and the record are the family's. The block's uservalue is the metatable that refers back to it,
    // and is set before anybody else has the handle.
    unsafe {
        let room = room(state, 2);
        holds!(FamilyBlock::at(state, family).is_ok(), "there is no family at {family}");
        holds!(series.serial.is_none(), "a handle would outlive its series");
        let block = ffi::lua_touserdata(state, family).cast::<FamilyBlock>();
        Handle::push(state, series.record, series.kind, block, owner);
        ffi::lua_getuservalue(state, family);
        ffi::lua_setmetatable(state, -2);
        room.left(state, 1);
    }
}

/// Pushes the lease for a series; `fill` writes its labels, and calls nothing in Lua that can raise. Nobody else gets
/// the same one if it ran into a limit.
///
/// # Safety
/// - At `family`, an absolute index, there is the block of the series' family, and at `metrics`, another one, what
///   [`push_metrics`] pushes for it.
/// - There is room for four values, and nothing with a destructor is alive.
#[cold]
pub(super) unsafe fn push_lease(
    state: *mut lua_State,
    metrics: c_int,
    family: c_int,
    series: Series,
    of: Leased,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), Stop> {
    // SAFETY:
    // - The block's uservalue is the metatable that refers back to it. It is set before anybody else has the lease.
    // - The labels are written at once, before Lua does anything else.
    // - The record's address is a key alone: the record may be another series' by now, or nobody's.
    unsafe {
        let room = room(state, 4);
        absolute(state, metrics, ffi::LUA_TTABLE);
        absolute(state, family, ffi::LUA_TUSERDATA);
        let block = FamilyBlock::at(state, family)?;
        if !of.limited && push_known_lease(state, metrics, block, series, of) {
            return Ok(());
        }
        let labels = Lease::push(state, series.kind, block, of);
        pure(|| fill(labels))?;
        ffi::lua_getuservalue(state, family);
        ffi::lua_setmetatable(state, -2);
        if of.limited {
            return Ok(());
        }
        // A finalizer that Lua has run just now may have been given one.
        if push_known_lease(state, metrics, block, series, of) {
            ffi::lua_remove(state, -2);
            return Ok(());
        }
        ffi::lua_pushvalue(state, -1);
        ffi::lua_rawsetp(state, metrics, series.record.cast());
        room.left(state, 1);
        Ok(())
    }
}

/// Pushes the lease that somebody has for this series; false if nobody has.
///
/// # Safety
/// Those of [`push_lease`], but room for one value is enough.
unsafe fn push_known_lease(
    state: *mut lua_State,
    metrics: c_int,
    block: *const FamilyBlock,
    series: Series,
    of: Leased,
) -> bool {
    // SAFETY: the lease is looked at while it is on the stack. What the table has may be another series' lease, or
    // anything that Lua code has put there by the debug library, so it is looked at, too.
    unsafe {
        let room = room(state, 1);
        ffi::lua_rawgetp(state, metrics, series.record.cast());
        let known = Lease::at(state, -1, series.kind).is_some_and(|lease| lease.is_of(block, of.serial));
        if !known {
            ffi::lua_pop(state, 1);
        }
        room.left(state, c_int::from(known));
        known
    }
}

/// Pushes a view of a series, whose encoded label set is `labels`.
///
/// # Safety
/// - At `family`, an absolute index, there is the block of the series' family.
/// - The labels stay where they are while Lua runs.
/// - There is room for eight values, and nothing with a destructor is alive.
pub(super) unsafe fn push_view(
    state: *mut lua_State,
    family: c_int,
    series: Series,
    labels: &[u8],
) -> Result<(), Stop> {
    // SAFETY:
    // - A series without a serial number is one of a family without leases.
    // - A handle or a lease of its type is on top when that is wrapped.
    unsafe {
        let room = room(state, 8);
        match series.serial {
            None => push_handle(state, family, series, std::ptr::null()),
            Some(serial) => {
                let of = Leased {
                    location: series.location,
                    serial,
                    label_bytes: labels.len(),
                    limited: false,
                };
                push_metrics(state, family);
                let metrics = ffi::lua_gettop(state);
                push_lease(state, metrics, family, series, of, |out| out.copy_from_slice(labels))?;
                ffi::lua_remove(state, metrics);
            }
        }
        view::wrap(state, series.kind)?;
        room.left(state, 1);
        Ok(())
    }
}

/// Sets an empty table of metrics in a new family's uservalue, which is on top of the stack.
///
/// # Safety
/// There is a table on top of the stack, room for three values, and nothing with a destructor is alive.
pub(super) unsafe fn make_metrics(state: *mut lua_State) {
    // SAFETY: the new table is taken off by the assignment to the one below it.
    unsafe {
        let room = room(state, 3);
        push_weak_table(state);
        ffi::lua_rawsetp(state, -2, key(&METRICS));
        room.left(state, 0);
    }
}

/// Pushes the table of a family's metrics.
///
/// # Safety
/// - At `family`, an absolute index, there is a family's block.
/// - There is room for two values.
pub(super) unsafe fn push_metrics(state: *mut lua_State, family: c_int) {
    // SAFETY: a family's uservalue is a table, in which `make_metrics` has set another one.
    unsafe {
        let room = room(state, 2);
        ffi::lua_getuservalue(state, family);
        ffi::lua_rawgetp(state, -1, key(&METRICS));
        ffi::lua_remove(state, -2);
        room.left(state, 1);
    }
}
