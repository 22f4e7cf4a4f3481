//! Label values that aren't strings, as text.

use super::block::FamilyBlock;
use super::notice::{self, About};
use super::number;
use super::preconditions::{make_room, room};
use super::text::push_bytes;
use crate::model::Number;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// Replaces the label value at `index`, which is not a string, by text. Numbers become their digits, whole ones
/// without a point, so that 1 and 1.0 are one label value as they are one key of a Lua table; nil becomes the empty
/// value; anything else what `tostring` makes of it, or the name of its type if that fails or would be an address. If
/// Lua has no room, it stays as it is.
///
/// # Safety
/// - `index` is an absolute index of a value.
/// - `block` is referred to while Lua runs.
/// - Nothing with a destructor is alive.
#[cold]
pub(super) unsafe fn make_text(state: *mut lua_State, index: c_int, block: &FamilyBlock) {
    // SAFETY:
    // - Room is made first. In each case one value is left, which replaces that at `index`.
    // - `tostring` runs protected, and `lua_typename` gets none but a value's type.
    unsafe {
        let type_ = ffi::lua_type(state, index);
        if type_ != ffi::LUA_TNUMBER {
            notice::send(
                state,
                block,
                About::Label,
                "label value",
                Some(index),
                "is not a string",
            );
        }
        if !make_room(state, 4) {
            return;
        }
        let room = room(state, 4);
        match type_ {
            ffi::LUA_TNUMBER => push_number_text(state, index),
            ffi::LUA_TBOOLEAN if ffi::lua_toboolean(state, index) != 0 => push_bytes(state, b"true"),
            ffi::LUA_TBOOLEAN => push_bytes(state, b"false"),
            ffi::LUA_TNIL => push_bytes(state, b""),
            _ if ffi::luaL_getmetafield(state, index, c"__tostring".as_ptr()) != 0 => {
                ffi::lua_pushvalue(state, index);
                let failed = ffi::lua_pcall(state, 1, 1, 0) != 0;
                if failed || ffi::lua_type(state, -1) != ffi::LUA_TSTRING {
                    ffi::lua_pop(state, 1);
                    ffi::lua_pushstring(state, ffi::lua_typename(state, type_));
                }
            }
            _ => {
                ffi::lua_pushstring(state, ffi::lua_typename(state, type_));
            }
        }
        room.left(state, 1);
        ffi::lua_replace(state, index);
    }
}

/// Pushes the number at `index` as text.
///
/// # Safety
/// - There is a number at `index`.
/// - There is room for one value, and nothing with a destructor is alive.
unsafe fn push_number_text(state: *mut lua_State, index: c_int) {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    // SAFETY: text is pushed from buffers of this function, which have no destructors, and from statics.
    unsafe {
        match number::number_at(state, index) {
            Some(Number::Int(n)) => push_bytes(state, itoa::Buffer::new().format(n).as_bytes()),
            Some(Number::Float(x)) if x.trunc() == x && x.abs() < TWO_63 => {
                push_bytes(state, itoa::Buffer::new().format(x as i64).as_bytes());
            }
            Some(Number::Float(x)) if x.is_finite() => push_bytes(state, ryu::Buffer::new().format(x).as_bytes()),
            Some(Number::Float(x)) if x.is_nan() => push_bytes(state, b"nan"),
            Some(Number::Float(x)) if x > 0.0 => push_bytes(state, b"inf"),
            _ => push_bytes(state, b"-inf"),
        }
    }
}
