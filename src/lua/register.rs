//! What the module gives to its Lua side, and the Lua side of a new family.

use super::block::{family_gc, key, FamilyBlock, FamilyState};
use super::call::{on_panic, set_function};
use super::{bucket, iterate, label, notice, place, samples, update, view};
use crate::model::Kind;
use crate::store::FamilyWriter;
use mlua::ffi::{self, lua_State};
use mlua::prelude::*;
use std::ffi::{c_int, CStr};

/// The registry's tables of methods for handles and views, by type.
static METHODS: [u8; Kind::ALL.len()] = [0; Kind::ALL.len()];
/// The registry's metatable for families.
static FAMILIES: u8 = 0;
/// The registry's metatable for tables with weak values.
static WEAK: u8 = 0;

/// The raw functions as a table. Also makes what they share in the registry.
pub(super) fn functions(lua: &Lua) -> LuaResult<LuaTable> {
    let raw: [(&CStr, ffi::lua_CFunction); 9] = [
        (c"on_notice", notice::on_notice),
        (c"on_panic", on_panic),
        (c"with_labels_of", label::with_labels_of),
        (c"get_of", label::get_of),
        (c"prefix", label::prefix),
        (c"iter_metrics", iterate::iter_metrics),
        (c"clear", iterate::clear),
        (c"expire", iterate::expire),
        (c"metric", metric),
    ];
    // SAFETY: `exec_raw` runs this protected and with room for a few values; one table is left.
    unsafe {
        lua.exec_raw((), |state| {
            make_weak(state);
            make_family_metatable(state);
            bucket::make_metatable(state);
            for kind in Kind::ALL {
                make_methods(state, kind);
                place::make_metatable(state, kind);
                view::make_metatable(state, kind);
            }
            ffi::lua_createtable(state, 0, raw.len() as c_int);
            let table = ffi::lua_gettop(state);
            for (name, function) in raw {
                set_function(state, table, name, function, 0);
            }
        })
    }
}

/// Makes the metatable of tables with weak values.
unsafe fn make_weak(state: *mut lua_State) {
    // SAFETY: what is pushed ends in the registry.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_pushstring(state, c"v".as_ptr());
        ffi::lua_setfield(state, -2, c"__mode".as_ptr());
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&WEAK));
    }
}

unsafe fn make_family_metatable(state: *mut lua_State) {
    // SAFETY: what is pushed ends in the registry.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        let table = ffi::lua_gettop(state);
        set_function(state, table, c"__gc", family_gc, 0);
        protect(state, table);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&FAMILIES));
    }
}

/// Hides the metatable at `table`, an absolute index, from `getmetatable`.
///
/// # Safety
/// There is a table at `table`, and room on the stack.
pub(super) unsafe fn protect(state: *mut lua_State, table: c_int) {
    // SAFETY: one value is pushed and taken off.
    unsafe {
        ffi::lua_pushstring(state, c"metre".as_ptr());
        ffi::lua_setfield(state, table, c"__metatable".as_ptr());
    }
}

unsafe fn make_methods(state: *mut lua_State, kind: Kind) {
    let methods = update::methods(kind);
    // SAFETY: what is pushed ends in the registry.
    unsafe {
        ffi::lua_createtable(state, 0, methods.len() as c_int + 2);
        let table = ffi::lua_gettop(state);
        for (name, function) in methods {
            set_function(state, table, name, *function, 0);
        }
        set_function(state, table, c"reset", update::reset_of(kind), 0);
        set_function(state, table, c"iter_samples", samples::iter_samples_of(kind), 0);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&METHODS[kind as usize]));
    }
}

/// Pushes the table of methods for a type.
///
/// # Safety
/// There is room on the stack.
pub(super) unsafe fn push_methods(state: *mut lua_State, kind: Kind) {
    // SAFETY: one value is pushed.
    unsafe {
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&METHODS[kind as usize]));
    }
}

/// The userdata of a new family. Its uservalue is the metatable for handles, which refers back to it.
pub(super) fn new_family(lua: &Lua, writer: FamilyWriter) -> LuaResult<LuaAnyUserData> {
    let kind = writer.family().kind;
    let no_new_index = for_kind!(kind, view::no_new_index);
    let mut content = Some(FamilyState::new(writer));
    // SAFETY: `exec_raw` runs this protected; what it captures by reference is dropped by this function in any case.
    // The block gets its content last, when nothing can raise any more.
    unsafe {
        let content = &mut content;
        lua.exec_raw((), |state| {
            let block = FamilyBlock::push(state);
            let family = ffi::lua_gettop(state);
            ffi::lua_createtable(state, 0, 4);
            let metatable = ffi::lua_gettop(state);
            push_methods(state, kind);
            ffi::lua_setfield(state, metatable, c"__index".as_ptr());
            ffi::lua_pushvalue(state, family);
            ffi::lua_setfield(state, metatable, c"family".as_ptr());
            ffi::lua_createtable(state, 0, 0);
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&WEAK));
            ffi::lua_setmetatable(state, -2);
            ffi::lua_rawsetp(state, metatable, key(&place::HANDLES));
            set_function(state, metatable, c"__newindex", no_new_index, 0);
            protect(state, metatable);
            ffi::lua_setuservalue(state, family);
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&FAMILIES));
            ffi::lua_setmetatable(state, family);
            if let Some(content) = content.take() {
                (*block).fill(content);
            }
        })
    }
}

/// `metric(family)`: the view of the one metric of a family without labels.
unsafe extern "C-unwind" fn metric(state: *mut lua_State) -> c_int {
    // SAFETY: the family is on the stack, and the place is the first one.
    unsafe {
        super::call::run(state, "metric", || {
            ffi::lua_settop(state, 1);
            let first = FamilyBlock::at(state, 1)?.with(|family| {
                if !family.family.label_names.is_empty() {
                    return None;
                }
                let (location, _) = family.writer.borrow().next(None)?;
                Some(place::place(family, location))
            })?;
            let place = first.flatten().ok_or(c"metre: a family without labels expected")?;
            place::push_view(state, 1, place, &[])?;
            Ok(1)
        })
    }
}
