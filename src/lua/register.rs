//! What the module gives to its Lua side, and the Lua side of a new family.

use super::block::{family_gc, FamilyBlock, FamilyContent};
use super::call::{on_panic, run};
use super::objects::{self, Series};
use super::preconditions::{begins, room};
use super::tables::{keep_methods, key, make_weak, protect, push_methods, set_function};
use super::{bucket, iterate, label, notice, samples, stopwatch, update, view};
use crate::model::{Kind, Number};
use crate::store::{FamilySpec, FamilyWriter, Repair, Store};
use mlua::ffi::{self, lua_State};
use mlua::prelude::*;
use std::ffi::{c_int, CStr};

/// The registry's metatable for families.
static FAMILIES: u8 = 0;

/// The raw functions as a table. Also makes in the registry what they share.
///
/// # Errors
/// When Lua is out of memory.
pub(super) fn functions(lua: &Lua) -> LuaResult<LuaTable> {
    let raw: [(&CStr, ffi::lua_CFunction); 12] = [
        (c"on_notice", notice::on_notice),
        (c"on_panic", on_panic),
        (c"with_labels_of", label::with_labels_of),
        (c"get_of", label::get_of),
        (c"prefix", label::prefix),
        (c"iter_metrics", iterate::iter_metrics),
        (c"clear", iterate::clear),
        (c"expire", iterate::expire),
        (c"forget", iterate::forget),
        (c"metric", metric),
        (c"now", stopwatch::now),
        (c"stop_of", stopwatch::stop_of),
    ];
    // SAFETY:
    // - `exec_raw` runs this as a protected C function, so with room for `LUA_MINSTACK` values, and takes what is left
    //   on the stack.
    // - Everything but the one table ends in the registry. Its index is counted from below.
    // - Nothing has a destructor: the names and functions are static or copied.
    unsafe {
        lua.exec_raw((), |state| {
            begins(state);
            let room = room(state, 6);
            make_weak(state);
            make_family_metatable(state);
            bucket::make_metatable(state);
            for kind in Kind::ALL {
                make_methods(state, kind);
                objects::make_metatable(state, kind);
                view::make_metatable(state, kind);
            }
            ffi::lua_createtable(state, 0, raw.len() as c_int);
            let table = ffi::lua_gettop(state);
            for (name, function) in raw {
                set_function(state, table, name, function, 0);
            }
            room.left(state, 1);
        })
    }
}

/// Makes the metatable for families.
///
/// # Safety
/// There is room for three values, and nothing with a destructor is alive.
unsafe fn make_family_metatable(state: *mut lua_State) {
    // SAFETY: the table's index is counted from below; everything that is pushed ends in the table, and the table in
    // the registry.
    unsafe {
        let room = room(state, 3);
        ffi::lua_createtable(state, 0, 2);
        let table = ffi::lua_gettop(state);
        set_function(state, table, c"__gc", family_gc, 0);
        protect(state, table);
        ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&FAMILIES));
        room.left(state, 0);
    }
}

/// Makes the table of methods for a type.
///
/// # Safety
/// There is room for three values, and nothing with a destructor is alive.
unsafe fn make_methods(state: *mut lua_State, kind: Kind) {
    let methods = update::methods(kind);
    // SAFETY: the table's index is counted from below; everything that is pushed ends in the table, and the table in
    // the registry. Each function looks at what it is called with.
    unsafe {
        let room = room(state, 3);
        ffi::lua_createtable(state, 0, methods.len() as c_int + 2);
        let table = ffi::lua_gettop(state);
        for (name, function) in methods {
            set_function(state, table, name, *function, 0);
        }
        set_function(state, table, c"reset", update::reset_of(kind), 0);
        set_function(state, table, c"iter_samples", samples::iter_samples_of(kind), 0);
        keep_methods(state, kind);
        room.left(state, 0);
    }
}

/// `register{kind=…, name=…, unit=…, help=…, label_keys={…}, buckets={…}, leaves=…, uncreated=…,
/// names_others=…}`: the family's userdata, a list of what had to be repaired, and whether its series go; or `false` and why (as a word and as a
/// sentence) if the policy wants no such family. With `leaves` its series go when [`iterate::forget`] says so; with
/// `uncreated` they have no `_created` samples; with `names_others` destinations get it only if they ask for that. All
/// other fields but the two lists are strings.
///
/// # Errors
/// When a field has another type, or Lua is out of memory.
pub(super) fn register(lua: &Lua, store: &Store, spec: &LuaTable) -> LuaResult<LuaMultiValue> {
    let bytes = |key: &str| -> LuaResult<Vec<u8>> { Ok(spec.raw_get::<LuaString>(key)?.as_bytes().to_vec()) };
    let kind = spec.raw_get::<String>("kind")?;
    let kind =
        Kind::from_name(&kind).ok_or_else(|| LuaError::runtime(format!("unknown metric family type: {kind}")))?;
    let mut label_keys = Vec::new();
    for key in spec.raw_get::<LuaTable>("label_keys")?.sequence_values::<LuaString>() {
        label_keys.push(key?.as_bytes().to_vec());
    }
    let mut thresholds = Vec::new();
    if kind == Kind::Histogram {
        for threshold in spec.raw_get::<LuaTable>("buckets")?.sequence_values::<LuaValue>() {
            thresholds.push(match threshold? {
                LuaValue::Integer(n) => Number::Int(n),
                LuaValue::Number(x) => Number::Float(x),
                _ => Number::Float(f64::NAN),
            });
        }
    }
    let registered = store.register(FamilySpec {
        kind,
        name: bytes("name")?,
        unit: bytes("unit")?,
        help: bytes("help")?,
        label_keys,
        thresholds,
        leaves: spec.raw_get("leaves")?,
        uncreated: spec.raw_get("uncreated")?,
        names_others: spec.raw_get("names_others")?,
    });
    let (mut writer, repairs) = match registered {
        Ok(registered) => registered,
        Err(why) => return (false, why.name(), why.to_string()).into_lua_multi(lua),
    };
    let expires = writer.family().expires();
    if writer.family().label_names.is_empty() {
        // Prosody's own families without labels have their metric from the start.
        writer.find_or_create(&[]);
    }
    let repairs: Vec<String> = repairs.iter().map(Repair::to_string).collect();
    (new_family(lua, writer)?, repairs, expires).into_lua_multi(lua)
}

/// The userdata of a new family. Its uservalue is the metatable for its handles and leases, which refers back to it.
///
/// # Errors
/// When Lua is out of memory.
fn new_family(lua: &Lua, writer: FamilyWriter) -> LuaResult<LuaAnyUserData> {
    let kind = writer.family().kind;
    let no_new_index = for_kind!(kind, view::no_new_index);
    let mut content = Some(FamilyContent::new(writer));
    // SAFETY:
    // - `exec_raw` runs this as a protected C function, so with room for `LUA_MINSTACK` values, and takes what is left
    //   on the stack.
    // - Where Lua raises, the content is this function's still, which drops it. The block gets it last, when nothing
    //   can raise any more; until then its pointer is null.
    // - The block is on the stack throughout; the tables' indices are counted from below.
    unsafe {
        let content = &mut content;
        lua.exec_raw((), |state| {
            begins(state);
            let room = room(state, 5);
            let block = FamilyBlock::push(state);
            let family = ffi::lua_gettop(state);
            ffi::lua_createtable(state, 0, 4);
            let metatable = ffi::lua_gettop(state);
            push_methods(state, kind);
            ffi::lua_setfield(state, metatable, c"__index".as_ptr());
            ffi::lua_pushvalue(state, family);
            ffi::lua_setfield(state, metatable, c"family".as_ptr());
            objects::make_metrics(state);
            set_function(state, metatable, c"__newindex", no_new_index, 0);
            protect(state, metatable);
            ffi::lua_setuservalue(state, family);
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&FAMILIES));
            ffi::lua_setmetatable(state, family);
            room.left(state, 1);
            if let Some(content) = content.take() {
                (*block).fill(content);
            }
        })
    }
}

/// `metric(family)`: the view of the one metric of a family without labels.
unsafe extern "C-unwind" fn metric(state: *mut lua_State) -> c_int {
    // SAFETY: the family's block is the first argument, which stays on the stack, and the series is one of the
    // family's. It has no labels, so none are what a view of it needs.
    unsafe {
        run(state, "metric", || {
            ffi::lua_settop(state, 1);
            let first = FamilyBlock::at(state, 1)?.with(|family| {
                if !family.family.label_names.is_empty() {
                    return None;
                }
                let (location, _) = family.writer.borrow().next(None)?;
                Some(Series::at(family, location))
            })?;
            let series = first.flatten().ok_or(c"metre: a family without labels expected")?;
            objects::push_view(state, 1, series, &[])?;
            Ok(1)
        })
    }
}
