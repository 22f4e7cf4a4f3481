//! Text across the wall.

use super::preconditions::{holds, room};
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// A copy of the beginning of some text, to be kept while Lua runs and what it was copied from may go.
#[derive(Clone, Copy)]
pub(super) struct Short {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Short {
    const LONGEST: usize = 200;

    pub(super) fn of(text: &[u8]) -> Short {
        let mut short = Short {
            bytes: [0; Self::LONGEST],
            length: text.len().min(Self::LONGEST),
        };
        short.bytes[..short.length].copy_from_slice(&text[..short.length]);
        short
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Pushes a string.
///
/// # Safety
/// - There is room for one value, and nothing with a destructor is alive.
/// - `bytes` stay where they are while Lua runs finalizers.
pub(super) unsafe fn push_bytes(state: *mut lua_State, bytes: &[u8]) {
    // SAFETY: pointer and length are those of a slice, which Lua copies.
    unsafe {
        room(state, 1);
        ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
    }
}

/// The bytes of the string at `index`; `None` if there is something else.
///
/// # Safety
/// - `index` is valid, or that of a missing argument.
/// - The bytes are used no longer than the string is on the stack or otherwise referred to.
#[inline(always)]
pub(super) unsafe fn bytes_at<'a>(state: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: `lua_type` is asked first whether there is a string.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING => Some(string_at(state, index)),
            _ => None,
        }
    }
}

/// The bytes of the string at `index`.
///
/// # Safety
/// - There is a string at `index`.
/// - The bytes are used no longer than the string is on the stack or otherwise referred to.
#[inline(always)]
pub(super) unsafe fn string_at<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    // SAFETY:
    // - Where there is a string already, `lua_tolstring` converts and allocates nothing, and gives its address, which
    //   isn't null, and its length.
    // - Nobody writes to a string, and it stays where it is.
    unsafe {
        holds!(
            ffi::lua_type(state, index) == ffi::LUA_TSTRING,
            "there is no string at {index}"
        );
        let mut length = 0;
        let start = ffi::lua_tolstring(state, index, &mut length);
        std::slice::from_raw_parts(start.cast(), length)
    }
}
