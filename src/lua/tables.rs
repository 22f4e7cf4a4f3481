//! What the files here share: tables in Lua's registry, and how tables are filled.

use super::preconditions::{absolute, room};
use crate::model::Kind;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, c_void, CStr};

/// The registry's tables of methods for handles and views, by type.
static METHODS: [u8; Kind::ALL.len()] = [0; Kind::ALL.len()];
/// The registry's metatable for tables with weak values.
static WEAK: u8 = 0;

/// A key for the registry or for a hidden field: the address of a static.
pub(super) fn key(of: &'static u8) -> *const c_void {
    (&raw const *of).cast()
}

/// Sets the string-keyed field `name` of the table at `table` to a function with `upvalues` values from the top of
/// the stack.
///
/// # Safety
/// - There is a table at `table`, an absolute index.
/// - The upvalues are on the stack, and there is room for two values.
/// - Nothing with a destructor is alive.
pub(super) unsafe fn set_function(
    state: *mut lua_State,
    table: c_int,
    name: &CStr,
    function: ffi::lua_CFunction,
    upvalues: c_int,
) {
    // SAFETY:
    // - The function takes the upvalues' place on the stack, and the field takes the function off.
    // - The tables that this is called with are made here and have no metamethods, so this runs no Lua code but
    //   finalizers'.
    unsafe {
        let room = room(state, 2);
        absolute(state, table, ffi::LUA_TTABLE);
        ffi::lua_pushcclosure(state, function, upvalues);
        ffi::lua_setfield(state, table, name.as_ptr());
        room.left(state, -upvalues);
    }
}

/// Hides the metatable at `table` from `getmetatable`.
///
/// # Safety
/// - There is a table at `table`, an absolute index.
/// - There is room for two values, and nothing with a destructor is alive.
pub(super) unsafe fn protect(state: *mut lua_State, table: c_int) {
    // SAFETY: the text that is pushed is taken off again; the table has no metatable itself.
    unsafe {
        let room = room(state, 2);
        absolute(state, table, ffi::LUA_TTABLE);
        ffi::lua_pushstring(state, c"metre".as_ptr());
        ffi::lua_setfield(state, table, c"__metatable".as_ptr());
        room.left(state, 0);
    }
}

/// Takes the table on top of the stack as the methods of metrics of a type.
///
/// # Safety
/// There is a table on top of the stack, room for one value, and nothing with a destructor is alive.
pub(super) unsafe fn keep_methods(state: *mut lua_State, kind: Kind) {
    // SAFETY: the table is taken off the stack; no Lua code has this key.
    unsafe {
        let room = room(state, 1);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METHODS[kind as usize]));
        room.left(state, -1);
    }
}

/// Pushes the table of methods for a type.
///
/// # Safety
/// There is room for one value.
pub(super) unsafe fn push_methods(state: *mut lua_State, kind: Kind) {
    // SAFETY: one value is pushed; looking into the registry can't raise.
    unsafe {
        room(state, 1);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METHODS[kind as usize]));
    }
}

/// Makes the metatable of tables with weak values.
///
/// # Safety
/// There is room for three values, and nothing with a destructor is alive.
pub(super) unsafe fn make_weak(state: *mut lua_State) {
    // SAFETY: the table is the one on top when it gets its field, and is taken off in the end.
    unsafe {
        let room = room(state, 3);
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushstring(state, c"v".as_ptr());
        ffi::lua_setfield(state, -2, c"__mode".as_ptr());
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&WEAK));
        room.left(state, 0);
    }
}

/// Pushes a new table with weak values.
///
/// # Safety
/// There is room for two values, and nothing with a destructor is alive.
pub(super) unsafe fn push_weak_table(state: *mut lua_State) {
    // SAFETY: `make_weak` has made the metatable when the module was opened.
    unsafe {
        let room = room(state, 2);
        ffi::lua_createtable(state, 0, 0);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&WEAK));
        ffi::lua_setmetatable(state, -2);
        room.left(state, 1);
    }
}
