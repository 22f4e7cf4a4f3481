//! Walking a family's metrics: `iter_metrics()` and `clear()`.

use super::block::FamilyBlock;
use super::call::{pure, push_bytes, run};
use super::{label, number, update, view};
use crate::model::labels;
use crate::store::Location;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};

const BAD_FAMILY: &CStr = c"metre: a metric family expected";

/// `clear(family)`: resets every metric, forgets none.
pub(super) unsafe extern "C-unwind" fn clear(state: *mut lua_State) -> c_int {
    // SAFETY: the family is on the stack; resetting runs no Lua code.
    unsafe {
        run(state, || {
            let block = FamilyBlock::at(state, 1).ok_or(BAD_FAMILY)?;
            let Some(content) = (*block).state() else {
                return Ok(0);
            };
            pure(|| {
                let mut at = content.writer.next(None);
                while let Some(location) = at {
                    update::reset(content.writer.record(location), content);
                    at = content.writer.next(Some(location));
                }
            })?;
            Ok(0)
        })
    }
}

/// `iter_metrics(family)`: an iterator of `labels, view`, in the order of creation. Its upvalues are the family and the
/// place of the last metric, or -1.
pub(super) unsafe extern "C-unwind" fn iter_metrics(state: *mut lua_State) -> c_int {
    // SAFETY: the upvalues are pushed; `next` relies on the family's type.
    unsafe {
        run(state, || {
            ffi::lua_settop(state, 1);
            FamilyBlock::at(state, 1).ok_or(BAD_FAMILY)?;
            number::push_integer(state, -1);
            ffi::lua_pushcclosure(state, next, 2);
            Ok(1)
        })
    }
}

unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    // SAFETY: the family is an upvalue, so it lives throughout.
    unsafe {
        run(state, || {
            let family = ffi::lua_upvalueindex(1);
            let place = ffi::lua_upvalueindex(2);
            let block = FamilyBlock::at(state, family).ok_or(BAD_FAMILY)?;
            let last = ffi::lua_tonumberx(state, place, std::ptr::null_mut());
            let last = (last >= 0.0).then(|| Location::from_number(last as u32));
            let next = pure(|| {
                let content = (*block).state()?;
                content.writer.next(last)
            })?;
            let Some(location) = next else {
                ffi::lua_pushnil(state);
                return Ok(1);
            };
            ffi::lua_pushnumber(state, f64::from(location.to_number()));
            ffi::lua_replace(state, place);
            push_labels(state, block, location)?;
            let kind = label::push_at(state, family, location)?;
            view::wrap(state, kind)?;
            Ok(2)
        })
    }
}

/// Pushes the label values as a list, with its length in `n` as Prosody's own; without labels an empty table.
unsafe fn push_labels(state: *mut lua_State, block: *mut FamilyBlock, location: Location) -> Result<(), &'static CStr> {
    // SAFETY: the bytes are copied into a userdata, where they stay put while strings are made of them.
    unsafe {
        let content = (*block).state().ok_or(BAD_FAMILY)?;
        let names = content.family().label_names.len();
        let length = pure(|| content.writer.label_bytes(location))?;
        ffi::lua_createtable(state, names as c_int, c_int::from(names > 0));
        if names == 0 {
            return Ok(());
        }
        let table = ffi::lua_gettop(state);
        let memory = ffi::lua_newuserdata(state, length).cast::<u8>();
        memory.write_bytes(0, length);
        let encoded = std::slice::from_raw_parts_mut(memory, length);
        pure(|| content.writer.copy_labels(location, encoded))?;
        for (number, value) in (1..).zip(labels::values(encoded)) {
            push_bytes(state, value);
            ffi::lua_rawseti(state, table, number);
        }
        number::push_integer(state, names as i64);
        ffi::lua_setfield(state, table, c"n".as_ptr());
        ffi::lua_settop(state, table);
        Ok(())
    }
}
