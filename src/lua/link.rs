//! What tables have that stand for a metric: metrics with methods, views, buckets. A hidden field of theirs, the
//! *link*, is the handle or the lease.

use super::call::run;
use super::metric::Metric;
use super::notice;
use super::preconditions::{absolute, room};
use super::tables::key;
use crate::model::Kind;
use crate::store::Refused;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};

/// The hidden field.
static LINK: u8 = 0;

/// What is raised where the first argument is neither a metric nor a view nor a bucket.
pub(super) const NO_METRIC: &CStr = c"metre: a metric expected";

/// Makes the handle or lease on top of the stack the link of the table at `table`.
///
/// # Safety
/// - There is a table at `table`, an absolute index, and something on top of the stack, which is taken off.
/// - There is room for one value, and nothing with a destructor is alive.
#[inline(always)]
pub(super) unsafe fn set_link(state: *mut lua_State, table: c_int) {
    // SAFETY: a raw assignment runs no metamethod, and its key is neither nil nor NaN.
    unsafe {
        let room = room(state, 1);
        absolute(state, table, ffi::LUA_TTABLE);
        ffi::lua_rawsetp(state, table, key(&LINK));
        room.left(state, -1);
    }
}

/// Pushes the link of the table at `table`, or nil if it has none.
///
/// # Safety
/// - There is a table at `table`, an absolute index.
/// - There is room for one value.
#[inline(always)]
pub(super) unsafe fn push_link(state: *mut lua_State, table: c_int) {
    // SAFETY: a raw look-up runs no metamethod and can't raise.
    unsafe {
        let room = room(state, 1);
        absolute(state, table, ffi::LUA_TTABLE);
        ffi::lua_rawgetp(state, table, key(&LINK));
        room.left(state, 1);
    }
}

/// The metric behind the table at `index`, if there is a table. Its handle or lease is left on top of the stack.
///
/// # Safety
/// - `index` is an absolute index, or that of a missing argument.
/// - There is room for one value.
/// - The metric is used no longer than what was pushed stays on the stack.
#[cold]
pub(super) unsafe fn linked<'a>(state: *mut lua_State, index: c_int, kind: Kind) -> Option<Metric<'a>> {
    // SAFETY: only tables are looked into. With the debug library the link may be anything by now, so it is looked at,
    // too.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TTABLE {
            return None;
        }
        push_link(state, index);
        Metric::at(state, -1, kind)
    }
}

/// Logs that the third argument was assigned to a field, where nothing can be.
///
/// # Safety
/// - There is a third argument.
/// - The metric's userdata stays on the stack.
/// - Nothing with a destructor is alive.
pub(super) unsafe fn refuse_assignment(state: *mut lua_State, metric: Metric<'_>) {
    // SAFETY: by the contract above; an argument's index is an absolute one.
    unsafe { notice::refused(state, metric.family(), "value", 3, Refused::ReadOnly) }
}

/// Sets all entries of the table at `from` in the one at `to`, but for the hidden ones.
///
/// # Safety
/// - There are tables at `from` and `to`, both absolute indices.
/// - There is room for four values, and nothing with a destructor is alive.
pub(super) unsafe fn copy_entries(state: *mut lua_State, from: c_int, to: c_int) {
    // SAFETY:
    // - `lua_next` takes a key off and pushes a pair or nothing; the key is left as it was, and nobody changes the
    //   table meanwhile, as raw assignments run no Lua code.
    // - What is assigned has a key that another table has, so the key is neither nil nor NaN.
    unsafe {
        let room = room(state, 4);
        absolute(state, from, ffi::LUA_TTABLE);
        absolute(state, to, ffi::LUA_TTABLE);
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
        room.left(state, 0);
    }
}

/// The iterator of `pairs`.
pub(super) unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    // SAFETY: there are two values, the first one a table. `lua_next` takes the key off and pushes a pair or nothing;
    // for a key that isn't the table's it raises an error, and nothing with a destructor is alive.
    unsafe {
        run(state, "pairs.next", || {
            ffi::lua_settop(state, 2);
            if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
                return Err(NO_METRIC.into());
            }
            if ffi::lua_next(state, 1) != 0 {
                return Ok(2);
            }
            ffi::lua_pushnil(state);
            Ok(1)
        })
    }
}
