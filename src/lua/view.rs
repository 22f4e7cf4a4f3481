//! Views: what modules get where they read (`family.data`, `data:get(...)`, `iter_metrics()`). A view has the fields
//! and the methods of Prosody's own metric objects and shows what the store holds at the moment of the look.
//!
//! A view is a table with one hidden field, the handle. Its other fields come from `__index`; a histogram's buckets become
//! elements when first asked for, and at once on Lua 5.1 and LuaJIT, which ask no metamethod for `#` and `ipairs`.

use super::block::{key, FamilyState};
use super::call::{bytes_at, push_bytes, run, set_function, Stop};
use super::lease::Metric;
use super::notice;
use super::{bucket, number, register};
use crate::model::{Kind, Number};
use crate::store::{values, Refused};
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::sync::atomic::AtomicU64;

/// The hidden field.
pub(super) static LINK: u8 = 0;
/// The registry's metatables for views, by type.
static METATABLES: [u8; Kind::ALL.len()] = [0; Kind::ALL.len()];
/// Whether metamethods answer for a table's length and elements.
const METAMETHODS: bool = cfg!(lua_metamethods);

/// Makes the metatable for views of a type. Its methods are those of handles.
///
/// # Safety
/// There is room on the stack.
pub(super) unsafe fn make_metatable(state: *mut lua_State, kind: Kind) {
    // SAFETY: everything that is pushed ends in the registry.
    unsafe {
        ffi::lua_createtable(state, 0, 6);
        let table = ffi::lua_gettop(state);
        register::push_methods(state, kind);
        set_function(state, table, c"__index", for_kind!(kind, index), 1);
        set_function(state, table, c"__newindex", for_kind!(kind, new_index), 0);
        set_function(state, table, c"__pairs", for_kind!(kind, pairs), 0);
        register::protect(state, table);
        if kind == Kind::Histogram {
            set_function(state, table, c"__ipairs", ipairs, 0);
            set_function(state, table, c"__len", len, 0);
        }
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[kind as usize]));
    }
}

/// Replaces the handle on top of the stack by a view of it.
///
/// # Safety
/// There is a handle of this type on top, and room on the stack.
pub(super) unsafe fn wrap(state: *mut lua_State, kind: Kind) -> Result<(), Stop> {
    // SAFETY: by the contract above.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_insert(state, -2);
        ffi::lua_rawsetp(state, -2, key(&LINK));
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLES[kind as usize]));
        ffi::lua_setmetatable(state, -2);
        if !METAMETHODS && kind == Kind::Histogram {
            let view = ffi::lua_gettop(state);
            let handle = linked_handle(state, view, kind).ok_or(NO_VIEW)?;
            bucket::fill(state, view, handle)?;
            ffi::lua_settop(state, view);
        }
        Ok(())
    }
}

/// What is raised if something else than a metric or a view is the first argument.
pub(super) const NO_VIEW: &CStr = c"metre: a metric expected";

/// The handle behind the view at `index`. It is left on top of the stack.
///
/// # Safety
/// `index` is an absolute index or none; the handle is used no longer than it stays on the stack.
#[cold]
pub(super) unsafe fn linked_handle<'a>(state: *mut lua_State, index: c_int, kind: Kind) -> Option<Metric<'a>> {
    // SAFETY: only tables are looked into.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TTABLE {
            return None;
        }
        ffi::lua_rawgetp(state, index, key(&LINK));
        Metric::at(state, -1, kind)
    }
}

/// `view[key]`: a field, or a method.
unsafe extern "C-unwind" fn index<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: the handle stays on the stack; the key is there as long as its bytes are used.
    unsafe {
        run(state, "metric.__index", || {
            ffi::lua_settop(state, 2);
            let handle = linked_handle(state, 1, kind).ok_or(NO_VIEW)?;
            if !push_known(state, handle, kind)? {
                ffi::lua_pushvalue(state, 2);
                ffi::lua_rawget(state, ffi::lua_upvalueindex(1));
            }
            Ok(1)
        })
    }
}

/// `view[key] = value`, and the same of metrics. A field stays what the store holds: an element of that name would hide it for ever. Anything else
/// is the module's own.
pub(super) unsafe extern "C-unwind" fn new_index<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: the handle stays on the stack; only the view, a table, is changed.
    unsafe {
        run(state, "metric.__newindex", || {
            ffi::lua_settop(state, 3);
            let handle = linked_handle(state, 1, kind).ok_or(NO_VIEW)?;
            if push_known(state, handle, kind)? {
                refuse_assignment(state, handle);
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
    // SAFETY: the metric stays the first argument.
    unsafe {
        run(state, "metric.__newindex", || {
            ffi::lua_settop(state, 3);
            refuse_assignment(state, Metric::at(state, 1, Kind::ALL[KIND]).ok_or(NO_VIEW)?);
            Ok(0)
        })
    }
}

/// What becomes of the third argument, assigned to a field.
///
/// # Safety
/// There is a third argument, and the handle stays on the stack.
pub(super) unsafe fn refuse_assignment(state: *mut lua_State, handle: Metric<'_>) {
    // SAFETY: by the contract above.
    unsafe { notice::refused(state, handle.family(), "value", 3, Refused::ReadOnly) }
}

/// Pushes the field or bucket that the second argument names; false if there is none.
unsafe fn push_known(state: *mut lua_State, handle: Metric<'_>, kind: Kind) -> Result<bool, Stop> {
    // SAFETY: the view and the key are the first two arguments.
    unsafe {
        match bytes_at(state, 2) {
            Some(name) => push_field(state, handle, name),
            None => push_element(state, handle, kind),
        }
    }
}

/// The fields that a metric of this type has, besides its buckets.
fn field_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Gauge => &["value"],
        Kind::Counter => &["_created", "value"],
        Kind::Histogram | Kind::Summary => &["_created", "_sum", "_count"],
    }
}

/// The field of this name, if there is one.
fn field(family: &FamilyState, record: &[AtomicU64], name: &[u8]) -> Option<Number> {
    let family = &family.family;
    let created = || Number::Float(values::created(record));
    let count = || Number::Int(values::count(record, family.count_words()) as i64);
    match family.kind {
        Kind::Gauge => (name == b"value").then(|| values::value(record)),
        Kind::Counter => match name {
            b"value" => Some(values::value(record)),
            b"_created" => Some(created()),
            _ => None,
        },
        Kind::Histogram | Kind::Summary => match name {
            b"_sum" => Some(values::value(record)),
            b"_count" => Some(count()),
            b"_created" => Some(created()),
            _ => None,
        },
    }
}

/// Pushes the field of this name; false if there is none.
unsafe fn push_field(state: *mut lua_State, handle: Metric<'_>, name: &[u8]) -> Result<bool, Stop> {
    let field = handle.with(|family, record| field(family, record, name))?.flatten();
    if let Some(number) = field {
        // SAFETY: there is room on the stack.
        unsafe { number::push(state, number) };
    }
    Ok(field.is_some())
}

/// Pushes the bucket of the view that is the first argument whose number is the second one; false if there is none.
unsafe fn push_element(state: *mut lua_State, handle: Metric<'_>, kind: Kind) -> Result<bool, Stop> {
    // SAFETY: the view and the key are on the stack.
    unsafe {
        if kind != Kind::Histogram || ffi::lua_type(state, 2) != ffi::LUA_TNUMBER {
            return Ok(false);
        }
        bucket::fill(state, 1, handle)?;
        ffi::lua_pushvalue(state, 2);
        ffi::lua_rawget(state, 1);
        Ok(ffi::lua_type(state, -1) != ffi::LUA_TNIL)
    }
}

/// Sets all entries of the table at `from` in the one at `to`, both absolute indices, but for the hidden ones.
///
/// # Safety
/// There are tables, and room on the stack.
pub(super) unsafe fn copy_entries(state: *mut lua_State, from: c_int, to: c_int) {
    // SAFETY: `lua_next` takes a key off and pushes a pair or nothing; the key is left as it was.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, from) != 0 {
            if ffi::lua_type(state, -2) == ffi::LUA_TLIGHTUSERDATA {
                ffi::lua_pop(state, 1);
            } else {
                ffi::lua_pushvalue(state, -2);
                ffi::lua_insert(state, -2);
                ffi::lua_rawset(state, to);
            }
        }
    }
}

/// `pairs(view)`.
unsafe extern "C-unwind" fn pairs<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: the handle stays on the stack.
    unsafe {
        run(state, "metric.__pairs", || {
            ffi::lua_settop(state, 1);
            let handle = linked_handle(state, 1, kind).ok_or(NO_VIEW)?;
            if kind == Kind::Histogram {
                bucket::fill(state, 1, handle)?;
            }
            ffi::lua_pushcfunction(state, next);
            ffi::lua_createtable(state, 0, 4);
            let plain = ffi::lua_gettop(state);
            copy_entries(state, 1, plain);
            for name in field_names(kind) {
                push_bytes(state, name.as_bytes());
                match push_field(state, handle, name.as_bytes())? {
                    true => ffi::lua_rawset(state, plain),
                    false => ffi::lua_pop(state, 1),
                }
            }
            Ok(2)
        })
    }
}

/// The iterator of `pairs`.
pub(super) unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    // SAFETY: `lua_next` takes the key off and pushes a pair or nothing.
    unsafe {
        run(state, "pairs.next", || {
            ffi::lua_settop(state, 2);
            if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
                return Err(NO_VIEW.into());
            }
            if ffi::lua_next(state, 1) != 0 {
                return Ok(2);
            }
            ffi::lua_pushnil(state);
            Ok(1)
        })
    }
}

/// `ipairs(view)` of a histogram, on Lua 5.2.
unsafe extern "C-unwind" fn ipairs(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    unsafe {
        run(state, "metric.__ipairs", || {
            ffi::lua_settop(state, 1);
            let handle = linked_handle(state, 1, Kind::Histogram).ok_or(NO_VIEW)?;
            bucket::fill(state, 1, handle)?;
            ffi::lua_pushcfunction(state, next_element);
            ffi::lua_pushvalue(state, 1);
            number::push_integer(state, 0);
            Ok(3)
        })
    }
}

unsafe extern "C-unwind" fn next_element(state: *mut lua_State) -> c_int {
    // SAFETY: only tables are looked into.
    unsafe {
        run(state, "ipairs.next", || {
            ffi::lua_settop(state, 2);
            if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
                return Err(NO_VIEW.into());
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
    // SAFETY: the handle stays on the stack.
    unsafe {
        run(state, "metric.__len", || {
            let handle = linked_handle(state, 1, Kind::Histogram).ok_or(NO_VIEW)?;
            let buckets = handle.with(|family, _| family.family.buckets.len())?;
            number::push_count(state, buckets.unwrap_or(0) as u64);
            Ok(1)
        })
    }
}
