//! Numbers across the wall.

use crate::model::Number;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// The number at `index`. Text that Lua's arithmetic would take for a finite number is one.
///
/// # Safety
/// - `index` is valid or none.
/// - There is room on the stack for one value: text is read beside it on Lua 5.3 and 5.4.
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

#[cold]
unsafe fn from_text(state: *mut lua_State, index: c_int) -> Option<Number> {
    // SAFETY: `lua_tonumberx` raises nothing; `lua_stringtonumber` reads a string that is on the stack.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
            return None;
        }
        #[cfg(lua_integers)]
        {
            let mut length = 0;
            let text = ffi::lua_tolstring(state, index, &mut length);
            let read = ffi::lua_stringtonumber(state, text);
            if read == 0 {
                return None;
            }
            let number = number_at(state, -1);
            ffi::lua_pop(state, 1);
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
/// There is room on the stack.
pub(super) unsafe fn push(state: *mut lua_State, number: Number) {
    // SAFETY: pushing a number allocates nothing.
    unsafe {
        match number {
            Number::Int(n) => push_integer(state, n),
            Number::Float(x) => ffi::lua_pushnumber(state, x),
        }
    }
}

/// Pushes a whole number.
///
/// # Safety
/// There is room on the stack.
pub(super) unsafe fn push_integer(state: *mut lua_State, n: i64) {
    // SAFETY: as in `push`.
    unsafe {
        #[cfg(lua_integers)]
        ffi::lua_pushinteger(state, n);
        #[cfg(not(lua_integers))]
        ffi::lua_pushnumber(state, n as f64);
    }
}

/// Pushes a count.
///
/// # Safety
/// There is room on the stack.
pub(super) unsafe fn push_count(state: *mut lua_State, count: u64) {
    // SAFETY: as in `push`. No process lives to count 2^63 samples.
    unsafe { push_integer(state, count as i64) }
}
