//! A histogram's buckets as modules see them: `metric[i].threshold`, `.threshold_s`, `.count`.
//!
//! They are elements of the metric's view, made when first asked for, and stay the same objects. A bucket is a table with
//! two hidden fields, the handle and its number; its count comes from `__index`.

use super::block::key;
use super::call::{bytes_at, push_bytes, run, set_function, Short, Stop};
use super::lease::Metric;
use super::view::{self, LINK, NO_VIEW};
use super::{number, register};
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
/// There is room on the stack.
pub(super) unsafe fn make_metatable(state: *mut lua_State) {
    // SAFETY: everything that is pushed ends in the registry.
    unsafe {
        ffi::lua_createtable(state, 0, 4);
        let table = ffi::lua_gettop(state);
        set_function(state, table, c"__index", index, 0);
        set_function(state, table, c"__newindex", new_index, 0);
        set_function(state, table, c"__pairs", pairs, 0);
        register::protect(state, table);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLE));
    }
}

/// Makes the buckets of the view at `view`, an absolute index, its elements, unless they are already.
///
/// # Safety
/// There is a view at `view`, of this handle, which stays on the stack.
pub(super) unsafe fn fill(state: *mut lua_State, view: c_int, handle: Metric<'_>) -> Result<(), Stop> {
    // SAFETY: by the contract above; the tables are new.
    unsafe {
        if ffi::lua_rawlen(state, view) as usize > 0 {
            return Ok(());
        }
        let mut number = 1;
        while let Some(bucket) = bucket(handle, number)? {
            ffi::lua_createtable(state, 0, 4);
            number::push(state, bucket.threshold);
            ffi::lua_setfield(state, -2, c"threshold".as_ptr());
            push_bytes(state, bucket.le.as_bytes());
            ffi::lua_setfield(state, -2, c"threshold_s".as_ptr());
            ffi::lua_rawgetp(state, view, key(&LINK));
            ffi::lua_rawsetp(state, -2, key(&LINK));
            number::push_count(state, number as u64);
            ffi::lua_rawsetp(state, -2, key(&NUMBER));
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METATABLE));
            ffi::lua_setmetatable(state, -2);
            ffi::lua_rawseti(state, view, number as ffi::lua_Integer);
            number += 1;
        }
        Ok(())
    }
}

/// What is to know of a bucket.
struct Bucket {
    threshold: Number,
    le: Short,
    count: u64,
}

/// The bucket with this number, counted from 1.
fn bucket(handle: Metric<'_>, number: usize) -> Result<Option<Bucket>, Stop> {
    let bucket = handle.with(|family, record| {
        let bucket = family.family.buckets.as_slice().get(number.checked_sub(1)?)?;
        Some(Bucket {
            threshold: bucket.threshold,
            le: Short::of(bucket.le.as_bytes()),
            count: values::count(record, number),
        })
    })?;
    Ok(bucket.flatten())
}

/// Pushes the count of the bucket that is the first argument.
unsafe fn push_count(state: *mut lua_State) -> Result<(), Stop> {
    // SAFETY: the bucket's hidden fields are looked at as what they may be by now.
    unsafe {
        let handle = view::linked_handle(state, 1, Kind::Histogram).ok_or(NO_VIEW)?;
        ffi::lua_rawgetp(state, 1, key(&NUMBER));
        let number = ffi::lua_tonumberx(state, -1, std::ptr::null_mut()) as usize;
        match bucket(handle, number)? {
            Some(bucket) => number::push_count(state, bucket.count),
            None => ffi::lua_pushnil(state),
        }
        Ok(())
    }
}

/// `bucket.count`.
unsafe extern "C-unwind" fn index(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
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

/// `bucket.count = …`, which changes nothing. Anything else is the module's own.
unsafe extern "C-unwind" fn new_index(state: *mut lua_State) -> c_int {
    // SAFETY: the handle stays on the stack; only the bucket, a table, is changed.
    unsafe {
        run(state, "bucket.__newindex", || {
            ffi::lua_settop(state, 3);
            let handle = view::linked_handle(state, 1, Kind::Histogram).ok_or(NO_VIEW)?;
            if bytes_at(state, 2) == Some(b"count") {
                view::refuse_assignment(state, handle);
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
    // SAFETY: the tables are on the stack.
    unsafe {
        run(state, "bucket.__pairs", || {
            ffi::lua_settop(state, 1);
            // Looked into below, so it has to be a table.
            view::linked_handle(state, 1, Kind::Histogram).ok_or(NO_VIEW)?;
            ffi::lua_settop(state, 1);
            ffi::lua_pushcfunction(state, view::next);
            ffi::lua_createtable(state, 0, 3);
            view::copy_entries(state, 1, 3);
            push_count(state)?;
            ffi::lua_setfield(state, 3, c"count".as_ptr());
            ffi::lua_settop(state, 3);
            Ok(2)
        })
    }
}
