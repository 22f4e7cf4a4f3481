//! How raw functions begin and end.

use super::block::key;
use crate::runtime::panics;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Why a raw function ends early.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    /// It was called wrongly: a message to raise.
    Misuse(&'static CStr),
    /// Something panicked. Modules aren't told.
    Panicked,
}

impl From<&'static CStr> for Stop {
    fn from(message: &'static CStr) -> Stop {
        Stop::Misuse(message)
    }
}

/// The results on the stack, or why there are none.
pub(super) type Outcome = Result<c_int, Stop>;

/// Runs the body of the raw function that is called `place` in the log, and raises an error if it was called wrongly.
///
/// Not inside `catch_unwind`: LuaJIT raises by unwinding, and Rust aborts the process when it catches what isn't a panic.
/// So what can panic runs in [`pure`], and what can raise doesn't.
///
/// # Safety
/// `state` is the state that the function was called with. `body` does nothing that panics outside of [`pure`], and has
/// nothing with a destructor when it calls what can raise.
#[inline(always)]
pub(super) unsafe fn run(state: *mut lua_State, place: &'static str, body: impl FnOnce() -> Outcome) -> c_int {
    #[cfg(feature = "panics")]
    RUNNING.set(place);
    match body() {
        Ok(results) => whole_register(results),
        // SAFETY: nothing with a destructor is alive: the message is static.
        Err(Stop::Misuse(message)) => unsafe { raise(state, message) },
        // SAFETY: likewise.
        Err(Stop::Panicked) => unsafe { whole_register(contained(state, place)) },
    }
}

#[cfg(feature = "panics")]
thread_local! {
    /// The raw function that runs, for tests.
    static RUNNING: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// Runs what calls nothing in Lua that can raise.
#[inline(always)]
pub(super) fn pure<T>(work: impl FnOnce() -> T) -> Result<T, Stop> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "panics")]
        panics::inject(RUNNING.get());
        work()
    }));
    result.map_err(|payload| {
        // A payload whose destructor panics must not get further either.
        std::mem::forget(payload);
        Stop::Panicked
    })
}

/// The callback for panics in the registry.
static ON_PANIC: u8 = 0;

/// `on_panic(f)`: from now on `f(place, message or nil)` is called for each panic, with a message if it is the first one there. The raw function returns what it
/// returns.
pub(super) unsafe extern "C-unwind" fn on_panic(state: *mut lua_State) -> c_int {
    // SAFETY: one value is on the stack and is taken off.
    unsafe {
        run(state, "on_panic", || {
            ffi::lua_settop(state, 1);
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&ON_PANIC));
            Ok(0)
        })
    }
}

/// Ends a raw function in which something has panicked.
#[cold]
unsafe fn contained(state: *mut lua_State, place: &'static str) -> c_int {
    // SAFETY: what the function had on the stack is no longer needed.
    unsafe {
        ffi::lua_settop(state, 0);
        push_instead(state, place);
        1
    }
}

/// Counts a panic, has it logged if it is the first one in `place`, and pushes what its caller gets instead of a result.
///
/// # Safety
/// There is room on the stack, and nothing with a destructor is alive.
#[cold]
pub(super) unsafe fn push_instead(state: *mut lua_State, place: &'static str) {
    let message = message(place);
    // SAFETY: by the contract above; `Short` has no destructor.
    unsafe {
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&ON_PANIC));
        push_bytes(state, place.as_bytes());
        match message {
            Some(message) => push_bytes(state, message.as_bytes()),
            None => ffi::lua_pushnil(state),
        }
        if ffi::lua_pcall(state, 2, 1, 0) != 0 {
            ffi::lua_pop(state, 1);
            ffi::lua_pushnil(state);
        }
    }
}

/// Counts a panic; its message if that is to be logged.
fn message(place: &'static str) -> Option<Short> {
    let caught = panics::caught(place);
    caught.is_first.then(|| Short::of(caught.message.as_bytes()))
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
