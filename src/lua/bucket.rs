//! A histogram's buckets as modules see them: `metric[i].threshold`, `.threshold_s`, `.count`.
//!
//! They are elements of the metric's view, made when first asked for, and stay the same objects. A bucket is a table
//! with two hidden fields, its number and the same [`link`](super::link) as the view's; its count comes from `__index`.

use super::call::{run, Stop};
use super::link::{self, linked, NO_METRIC};
use super::metric::Metric;
use super::number;
use super::preconditions::{absolute, room};
use super::tables::{key, protect, set_function};
use super::text::{bytes_at, push_bytes, Short};
use crate::model::{Kind, Number};
use crate::store::values;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// The hidden field with the number.
static NUMBER: u8 = 0;
/// The registry's metatable for buckets.
static METATABLE: u8 = 0;

/// Makes the metatable for buckets.
///
/// # Safety
/// There is room for three values, and nothing with a destructor is alive.
pub(super) unsafe fn make_metatable(state: *mut lua_State) {
    // SAFETY: the table's index is counted from below; everything that is pushed ends in the table, and the table in
    // the registry.
    unsafe {
        let room = room(state, 3);
        ffi::lua_createtable(state, 0, 4);
        let table = ffi::lua_gettop(state);
        set_function(state, table, c"__index", index, 0);
        set_function(state, table, c"__newindex", new_index, 0);
        set_function(state, table, c"__pairs", pairs, 0);
        protect(state, table);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLE));
        room.left(state, 0);
    }
}

/// Makes the buckets of the view at `view` its elements, unless they are already.
///
/// # Safety
/// - There is a view at `view`, an absolute index, or another table whose link this metric is.
/// - The metric's userdata stays on the stack.
/// - There is room for five values, and nothing with a destructor is alive.
pub(super) unsafe fn fill(state: *mut lua_State, view: c_int, metric: Metric<'_>) -> Result<(), Stop> {
    // SAFETY:
    // - Whatever finalizers Lua runs meanwhile, the metric's userdata is on the stack.
    // - Fields are set in new tables, which have no metatable yet; the view's elements are set by raw assignments.
    // - There are fewer buckets than a C `int` counts, as each has its words in a record.
    unsafe {
        let room = room(state, 5);
        absolute(state, view, ffi::LUA_TTABLE);
        if ffi::lua_rawlen(state, view) as usize > 0 {
            return Ok(());
        }
        let mut number = 1;
        while let Some(bucket) = bucket(metric, number)? {
            ffi::lua_createtable(state, 0, 4);
            let table = ffi::lua_gettop(state);
            number::push(state, bucket.threshold);
            ffi::lua_setfield(state, -2, c"threshold".as_ptr());
            push_bytes(state, bucket.le.as_bytes());
            ffi::lua_setfield(state, -2, c"threshold_s".as_ptr());
            link::push_link(state, view);
            link::set_link(state, table);
            number::push_count(state, number as u64);
            ffi::lua_rawsetp(state, -2, key(&NUMBER));
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLE));
            ffi::lua_setmetatable(state, -2);
            ffi::lua_rawseti(state, view, number as ffi::lua_Integer);
            number += 1;
        }
        room.left(state, 0);
        Ok(())
    }
}

/// What modules see of a bucket.
struct Bucket {
    threshold: Number,
    le: Short,
    count: u64,
}

/// The bucket with this number, counted from 1.
fn bucket(metric: Metric<'_>, number: usize) -> Result<Option<Bucket>, Stop> {
    let bucket = metric.with(|family, record| {
        let bucket = family.family.buckets.as_slice().get(number.checked_sub(1)?)?;
        Some(Bucket {
            threshold: bucket.threshold,
            le: Short::of(bucket.le.as_bytes()),
            count: values::count(record, number),
        })
    })?;
    Ok(bucket.flatten())
}

/// Pushes the count of the bucket that is the first argument, above what it has looked at.
///
/// # Safety
/// There is room for three values.
unsafe fn push_count(state: *mut lua_State) -> Result<(), Stop> {
    // SAFETY: with the debug library the hidden fields may be anything by now. `linked` finds a metric in tables alone
    // and leaves its userdata on the stack; what isn't a number counts as 0, which no bucket has.
    unsafe {
        room(state, 3);
        let metric = linked(state, 1, Kind::Histogram).ok_or(NO_METRIC)?;
        ffi::lua_rawgetp(state, 1, key(&NUMBER));
        let number = ffi::lua_tonumberx(state, -1, std::ptr::null_mut()) as usize;
        match bucket(metric, number)? {
            Some(bucket) => number::push_count(state, bucket.count),
            None => ffi::lua_pushnil(state),
        }
        Ok(())
    }
}

/// `bucket.count`.
unsafe extern "C-unwind" fn index(state: *mut lua_State) -> c_int {
    // SAFETY: there are two values; the text of the second one is looked at where it is on the stack.
    unsafe {
        run(state, "bucket.__index", || {
            ffi::lua_settop(state, 2);
            match bytes_at(state, 2) == Some(b"count") {
                true => push_count(state)?,
                false => ffi::lua_pushnil(state),
            }
            Ok(1)
        })
    }
}

/// `bucket.count = …`, which changes nothing. All other keys are the module's own.
unsafe extern "C-unwind" fn new_index(state: *mut lua_State) -> c_int {
    // SAFETY: `linked` leaves the metric's userdata on the stack, where it stays while the metric is used. It was a
    // table that had it, so there is one at 1 to set a key in; for nil and NaN Lua raises an error.
    unsafe {
        run(state, "bucket.__newindex", || {
            ffi::lua_settop(state, 3);
            let metric = linked(state, 1, Kind::Histogram).ok_or(NO_METRIC)?;
            if bytes_at(state, 2) == Some(b"count") {
                link::refuse_assignment(state, metric);
            } else {
                ffi::lua_settop(state, 3);
                ffi::lua_rawset(state, 1);
            }
            Ok(0)
        })
    }
}

/// `pairs(bucket)`.
unsafe extern "C-unwind" fn pairs(state: *mut lua_State) -> c_int {
    // SAFETY: the tables are at 1 and 3, counted from below, and stay there. The third one is new.
    unsafe {
        run(state, "bucket.__pairs", || {
            ffi::lua_settop(state, 1);
            // Looked into below, so it has to be a table.
            linked(state, 1, Kind::Histogram).ok_or(NO_METRIC)?;
            ffi::lua_settop(state, 1);
            ffi::lua_pushcfunction(state, link::next);
            ffi::lua_createtable(state, 0, 3);
            link::copy_entries(state, 1, 3);
            push_count(state)?;
            ffi::lua_setfield(state, 3, c"count".as_ptr());
            ffi::lua_settop(state, 3);
            Ok(2)
        })
    }
}
