//! How raw functions begin and end.

use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The results on the stack, or a message to raise.
pub(super) type Outcome = Result<c_int, &'static CStr>;

/// Runs the body of a raw function, and raises what it returns as an error.
///
/// Not inside `catch_unwind`: LuaJIT raises by unwinding, and Rust aborts the process when it catches what isn't a panic.
/// So what can panic runs in [`pure`], and what can raise doesn't.
///
/// # Safety
/// `state` is the state that the function was called with. `body` does nothing that panics outside of [`pure`], and has
/// nothing with a destructor when it calls what can raise.
#[inline(always)]
pub(super) unsafe fn run(state: *mut lua_State, body: impl FnOnce() -> Outcome) -> c_int {
    match body() {
        Ok(results) => whole_register(results),
        // SAFETY: nothing with a destructor is alive: the message is static.
        Err(message) => unsafe { raise(state, message) },
    }
}

/// Runs what calls nothing in Lua that can raise. A panic in it becomes an error.
#[inline(always)]
pub(super) fn pure<T>(work: impl FnOnce() -> T) -> Result<T, &'static CStr> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        // A payload whose destructor panics must not get further either.
        std::mem::forget(panic);
        c"metre: internal error, please report"
    })
}

/// LuaJIT reads the number of results from the whole 64-bit register, whose upper half a C `int` leaves undefined
/// (seen with 2.1.0-beta3: it crashes on what the compiler leaves there). Reading the number back from memory clears it.
#[inline(always)]
fn whole_register(results: c_int) -> c_int {
    if cfg!(any(feature = "luajit", feature = "lua51")) {
        std::hint::black_box(results)
    } else {
        results
    }
}

#[cold]
unsafe fn raise(state: *mut lua_State, message: &CStr) -> c_int {
    // SAFETY: the format takes one C string. `luaL_error` leaves by `longjmp` over frames without destructors.
    unsafe { ffi::luaL_error(state, c"%s".as_ptr(), message.as_ptr()) }
}

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
/// There is room on the stack.
pub(super) unsafe fn push_bytes(state: *mut lua_State, bytes: &[u8]) {
    // SAFETY: pointer and length are those of a slice; Lua copies it.
    unsafe {
        ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
    }
}

/// The bytes of the string at `index`; `None` if there is something else. They live as long as the string stays on
/// the stack.
///
/// # Safety
/// `index` is valid, and the caller keeps the string on the stack while it uses the bytes.
#[inline(always)]
pub(super) unsafe fn bytes_at<'a>(state: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: `lua_tolstring` changes nothing where there is a string already, and gives its address and length.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING => Some(string_at(state, index)),
            _ => None,
        }
    }
}

/// The bytes of the string at `index`. They live as long as the string stays on the stack.
///
/// # Safety
/// There is a string at `index`, and the caller keeps it on the stack while it uses the bytes.
#[inline(always)]
pub(super) unsafe fn string_at<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    // SAFETY: where there is a string already, this gives its address and length.
    unsafe {
        let mut length = 0;
        let start = ffi::lua_tolstring(state, index, &mut length);
        std::slice::from_raw_parts(start.cast(), length)
    }
}

/// Sets the string-keyed field `name` of the table at `table` to a function with `upvalues` values from the top of
/// the stack.
///
/// # Safety
/// There is a table at `table`, an absolute index, and the upvalues are on the stack.
pub(super) unsafe fn set_function(
    state: *mut lua_State,
    table: c_int,
    name: &CStr,
    function: ffi::lua_CFunction,
    upvalues: c_int,
) {
    // SAFETY: by the contract above; tables made here have no metamethods.
    unsafe {
        ffi::lua_pushcclosure(state, function, upvalues);
        ffi::lua_setfield(state, table, name.as_ptr());
    }
}
