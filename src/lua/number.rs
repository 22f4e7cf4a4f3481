//! Numbers across the wall.

use super::preconditions::room;
use crate::model::Number;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// The number at `index`. Text that Lua's arithmetic would take for a finite number is one.
///
/// # Safety
/// - `index` is an argument's, also a missing one's, or a negative one.
/// - There is room for one value: text is read beside it on Luas that have integers.
#[inline(always)]
pub(super) unsafe fn number_at(state: *mut lua_State, index: c_int) -> Option<Number> {
    // SAFETY: none of these raises. `lua_tonumberx` is asked for numbers alone, so it converts nothing.
    unsafe {
        #[cfg(lua_integers)]
        if ffi::lua_isinteger(state, index) != 0 {
            return Some(Number::Int(ffi::lua_tointegerx(state, index, std::ptr::null_mut())));
        }
        if ffi::lua_type(state, index) == ffi::LUA_TNUMBER {
            return Some(Number::Float(ffi::lua_tonumberx(state, index, std::ptr::null_mut())));
        }
        from_text(state, index)
    }
}

/// The number that the text at `index` stands for, if there is text.
///
/// # Safety
/// Those of [`number_at`].
#[cold]
unsafe fn from_text(state: *mut lua_State, index: c_int) -> Option<Number> {
    // SAFETY:
    // - `lua_tolstring` is asked for strings alone, so it converts nothing; the text stays on the stack, below the
    //   number.
    // - `lua_stringtonumber` pushes one value if it returns more than 0, and a number then, so that this isn't called
    //   again.
    // - `lua_tonumberx` looks into text without converting it in its slot, and raises nothing.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
            return None;
        }
        #[cfg(lua_integers)]
        {
            let room = room(state, 1);
            let mut length = 0;
            let text = ffi::lua_tolstring(state, index, &mut length);
            let read = ffi::lua_stringtonumber(state, text);
            if read == 0 {
                return None;
            }
            let number = number_at(state, -1);
            ffi::lua_pop(state, 1);
            room.left(state, 0);
            number.filter(|number| read == length + 1 && number.is_finite())
        }
        #[cfg(not(lua_integers))]
        {
            let mut is_number = 0;
            let number = ffi::lua_tonumberx(state, index, &mut is_number);
            (is_number != 0 && number.is_finite()).then_some(Number::Float(number))
        }
    }
}

/// Pushes a number; whole ones stay whole where Lua has integers.
///
/// # Safety
/// There is room for one value.
pub(super) unsafe fn push(state: *mut lua_State, number: Number) {
    // SAFETY: pushing a number allocates nothing, so it doesn't raise.
    unsafe {
        room(state, 1);
        match number {
            Number::Int(n) => push_integer(state, n),
            Number::Float(x) => ffi::lua_pushnumber(state, x),
        }
    }
}

/// Pushes a whole number.
///
/// # Safety
/// There is room for one value.
pub(super) unsafe fn push_integer(state: *mut lua_State, n: i64) {
    // SAFETY: as in `push`.
    unsafe {
        room(state, 1);
        #[cfg(lua_integers)]
        ffi::lua_pushinteger(state, n);
        #[cfg(not(lua_integers))]
        ffi::lua_pushnumber(state, n as f64);
    }
}

/// Pushes a count.
///
/// # Safety
/// There is room for one value.
pub(super) unsafe fn push_count(state: *mut lua_State, count: u64) {
    // SAFETY: by the contract above. No process lives to count 2^63 samples.
    unsafe { push_integer(state, count as i64) }
}
