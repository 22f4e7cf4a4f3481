//! Views: what modules get where they read (`family.data`, `data:get(...)`, `iter_metrics()`). A view has the fields
//! and the methods of Prosody's own metric objects and shows what the store holds at the moment of the look.
//!
//! A view is a table with one hidden field, its [`link`](super::link). Its other fields come from `__index`; a
//! histogram's buckets become elements when first asked for, and at once on Luas that ask no metamethod for `#` and
//! `ipairs`.

use super::block::FamilyContent;
use super::call::{run, Stop};
use super::link::{self, copy_entries, linked, refuse_assignment, NO_METRIC};
use super::metric::Metric;
use super::preconditions::room;
use super::tables::{key, protect, push_methods, set_function};
use super::text::{bytes_at, push_bytes};
use super::{bucket, number};
use crate::model::{Column, Kind, Number};
use crate::store::values;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;
use std::sync::atomic::AtomicU64;

/// The registry's metatables for views, by type.
static METATABLES: [u8; Kind::ALL.len()] = [0; Kind::ALL.len()];
/// Whether metamethods answer for a table's length and elements.
const METAMETHODS: bool = cfg!(lua_metamethods);

/// Makes the metatable for views of a type. Its methods are those of handles.
///
/// # Safety
/// There is room for four values, and nothing with a destructor is alive.
pub(super) unsafe fn make_metatable(state: *mut lua_State, kind: Kind) {
    // SAFETY: the table's index is counted from below; everything that is pushed ends in the table, and the table in
    // the registry.
    unsafe {
        let room = room(state, 4);
        ffi::lua_createtable(state, 0, 6);
        let table = ffi::lua_gettop(state);
        push_methods(state, kind);
        set_function(state, table, c"__index", for_kind!(kind, index), 1);
        set_function(state, table, c"__newindex", for_kind!(kind, new_index), 0);
        set_function(state, table, c"__pairs", for_kind!(kind, pairs), 0);
        protect(state, table);
        if kind == Kind::Histogram {
            set_function(state, table, c"__ipairs", ipairs, 0);
            set_function(state, table, c"__len", len, 0);
        }
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[kind as usize]));
        room.left(state, 0);
    }
}

/// Replaces the handle or lease on top of the stack by a view of it.
///
/// # Safety
/// - There is a handle or a lease of this type on top.
/// - There is room for seven values, and nothing with a destructor is alive.
pub(super) unsafe fn wrap(state: *mut lua_State, kind: Kind) -> Result<(), Stop> {
    // SAFETY:
    // - The table comes to where the handle was, which becomes its link.
    // - The metric is used while its userdata is on the stack above the view, where `linked` leaves it.
    unsafe {
        let room = room(state, 7);
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_insert(state, -2);
        let view = ffi::lua_gettop(state) - 1;
        link::set_link(state, view);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[kind as usize]));
        ffi::lua_setmetatable(state, view);
        if !METAMETHODS && kind == Kind::Histogram {
            let metric = linked(state, view, kind).ok_or(NO_METRIC)?;
            bucket::fill(state, view, metric)?;
            ffi::lua_settop(state, view);
        }
        room.left(state, 0);
        Ok(())
    }
}

/// `view[key]`: a field, or a method.
unsafe extern "C-unwind" fn index<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: `linked` leaves the metric's userdata on the stack, where it stays. The upvalue is the table of methods,
    // and what is looked up there may be any key.
    unsafe {
        run(state, "metric.__index", || {
            ffi::lua_settop(state, 2);
            let metric = linked(state, 1, kind).ok_or(NO_METRIC)?;
            if !push_known(state, metric, kind)? {
                ffi::lua_pushvalue(state, 2);
                ffi::lua_rawget(state, ffi::lua_upvalueindex(1));
            }
            Ok(1)
        })
    }
}

/// `view[key] = value`, and the same of metrics. A field stays what the store holds: an element of that name would hide
/// it for ever. All other keys are the module's own.
pub(super) unsafe extern "C-unwind" fn new_index<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: `linked` leaves the metric's userdata on the stack, where it stays while the metric is used. It was a
    // table that had it, so there is one at 1 to set a key in; for nil and NaN Lua raises an error.
    unsafe {
        run(state, "metric.__newindex", || {
            ffi::lua_settop(state, 3);
            let metric = linked(state, 1, kind).ok_or(NO_METRIC)?;
            if push_known(state, metric, kind)? {
                refuse_assignment(state, metric);
                return Ok(0);
            }
            ffi::lua_settop(state, 3);
            ffi::lua_rawset(state, 1);
            Ok(0)
        })
    }
}

/// `metric[key] = value` where the metric is a userdata: it has no room for anything.
pub(super) unsafe extern "C-unwind" fn no_new_index<const KIND: usize>(state: *mut lua_State) -> c_int {
    // SAFETY: the metric's userdata is the first argument and stays there.
    unsafe {
        run(state, "metric.__newindex", || {
            ffi::lua_settop(state, 3);
            refuse_assignment(state, Metric::at(state, 1, Kind::ALL[KIND]).ok_or(NO_METRIC)?);
            Ok(0)
        })
    }
}

/// Pushes the field or bucket that the second argument names; false if there is none.
///
/// # Safety
/// Those of [`push_element`].
unsafe fn push_known(state: *mut lua_State, metric: Metric<'_>, kind: Kind) -> Result<bool, Stop> {
    // SAFETY: by the contract above; the name is the second argument, which stays on the stack.
    unsafe {
        match bytes_at(state, 2) {
            Some(name) => push_field(state, metric, name),
            None => push_element(state, metric, kind),
        }
    }
}

/// The field of this name, if there is one: a [`Column`]. Fields are read often, so their names are constants here, those of
/// [`Column::field`].
fn field(family: &FamilyContent, record: &[AtomicU64], name: &[u8]) -> Option<Number> {
    let family = &family.family;
    let column = match (family.kind, name) {
        (Kind::Gauge, b"value") => Column::Value,
        (Kind::Counter, b"value") => Column::Total,
        (Kind::Counter | Kind::Histogram | Kind::Summary, b"_created") => Column::Created,
        (Kind::Histogram | Kind::Summary, b"_sum") => Column::Sum,
        (Kind::Histogram | Kind::Summary, b"_count") => Column::Count,
        _ => return None,
    };
    values::column(record, column, family.count_words())
}

/// Pushes the field of this name; false if there is none.
///
/// # Safety
/// There is room for one value.
unsafe fn push_field(state: *mut lua_State, metric: Metric<'_>, name: &[u8]) -> Result<bool, Stop> {
    let field = metric.with(|family, record| field(family, record, name))?.flatten();
    if let Some(number) = field {
        // SAFETY: by the contract above.
        unsafe { number::push(state, number) };
    }
    Ok(field.is_some())
}

/// Pushes the bucket of the view that is the first argument whose number is the second one; false if there is none.
///
/// # Safety
/// - The first argument is a table, the second one is there, and the metric is that behind the first one.
/// - The metric's userdata stays on the stack.
/// - There is room for six values, and nothing with a destructor is alive.
unsafe fn push_element(state: *mut lua_State, metric: Metric<'_>, kind: Kind) -> Result<bool, Stop> {
    // SAFETY: by the contract above. The key is one of Lua code's, so it is looked up as a value and never as a C
    // number.
    unsafe {
        if kind != Kind::Histogram || ffi::lua_type(state, 2) != ffi::LUA_TNUMBER {
            return Ok(false);
        }
        bucket::fill(state, 1, metric)?;
        ffi::lua_pushvalue(state, 2);
        ffi::lua_rawget(state, 1);
        Ok(ffi::lua_type(state, -1) != ffi::LUA_TNIL)
    }
}

/// `pairs(view)`.
unsafe extern "C-unwind" fn pairs<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: `linked` finds a metric in tables alone, and leaves its userdata on the stack, where it stays. The names
    // are static, and what is assigned goes into a new table.
    unsafe {
        run(state, "metric.__pairs", || {
            ffi::lua_settop(state, 1);
            let metric = linked(state, 1, kind).ok_or(NO_METRIC)?;
            if kind == Kind::Histogram {
                bucket::fill(state, 1, metric)?;
            }
            ffi::lua_pushcfunction(state, link::next);
            ffi::lua_createtable(state, 0, 4);
            let plain = ffi::lua_gettop(state);
            copy_entries(state, 1, plain);
            for name in kind.columns().iter().filter_map(|column| column.field()) {
                push_bytes(state, name.as_bytes());
                match push_field(state, metric, name.as_bytes())? {
                    true => ffi::lua_rawset(state, plain),
                    false => ffi::lua_pop(state, 1),
                }
            }
            Ok(2)
        })
    }
}

/// `ipairs(view)` of a histogram, on Lua 5.2.
unsafe extern "C-unwind" fn ipairs(state: *mut lua_State) -> c_int {
    // SAFETY: `linked` finds a metric in tables alone, and leaves its userdata on the stack, where it stays.
    unsafe {
        run(state, "metric.__ipairs", || {
            ffi::lua_settop(state, 1);
            let metric = linked(state, 1, Kind::Histogram).ok_or(NO_METRIC)?;
            bucket::fill(state, 1, metric)?;
            ffi::lua_pushcfunction(state, next_element);
            ffi::lua_pushvalue(state, 1);
            number::push_integer(state, 0);
            Ok(3)
        })
    }
}

/// The iterator of `ipairs`, on Lua 5.2.
unsafe extern "C-unwind" fn next_element(state: *mut lua_State) -> c_int {
    // SAFETY: only tables are looked into. The key is Lua code's, so it is looked up as a value and never as a C
    // number.
    unsafe {
        run(state, "ipairs.next", || {
            ffi::lua_settop(state, 2);
            if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
                return Err(NO_METRIC.into());
            }
            let number = ffi::lua_tointegerx(state, 2, std::ptr::null_mut()).wrapping_add(1);
            number::push_integer(state, number as i64);
            ffi::lua_pushvalue(state, -1);
            ffi::lua_rawget(state, 1);
            Ok(if ffi::lua_type(state, -1) == ffi::LUA_TNIL {
                1
            } else {
                2
            })
        })
    }
}

/// `#view` of a histogram.
unsafe extern "C-unwind" fn len(state: *mut lua_State) -> c_int {
    // SAFETY: `linked` leaves the metric's userdata on the stack, where it stays.
    unsafe {
        run(state, "metric.__len", || {
            let metric = linked(state, 1, Kind::Histogram).ok_or(NO_METRIC)?;
            let buckets = metric.with(|family, _| family.family.buckets.len())?;
            number::push_count(state, buckets.unwrap_or(0) as u64);
            Ok(1)
        })
    }
}
