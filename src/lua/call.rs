//! How raw functions begin and end.

use super::preconditions::{begins, holds, room};
use super::tables::key;
use super::text::{push_bytes, Short};
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

/// Runs the body of the raw function that is called `site` in the log, and raises an error if it was called wrongly.
///
/// Not inside `catch_unwind`: LuaJIT raises by unwinding, and Rust aborts the process when it catches what isn't a
/// panic. So what can panic runs in [`pure`], and what can raise doesn't.
///
/// # Safety
/// - `state` is the state that Lua has called the function with, and nothing has been done to its stack.
/// - Nothing with a destructor is alive in the caller.
/// - `body` does nothing that panics outside of [`pure`].
/// - `body` has nothing with a destructor when it calls what can raise.
/// - Where `body` returns a number of results, as many values are on the stack.
#[inline(always)]
pub(super) unsafe fn run(state: *mut lua_State, site: &'static str, body: impl FnOnce() -> Outcome) -> c_int {
    #[cfg(feature = "panics")]
    RUNNING.set(site);
    // SAFETY: by the first condition above.
    unsafe { begins(state) };
    match body() {
        Ok(results) => {
            holds!(
                // SAFETY: asks for nothing but a state.
                (0..=unsafe { ffi::lua_gettop(state) }).contains(&results),
                "{site} has no {results} results"
            );
            whole_register(results)
        }
        // SAFETY: the body has ended and its captures have no destructors, by the second condition; the message is
        // static.
        Err(Stop::Misuse(message)) => unsafe { raise(state, message) },
        // SAFETY: the body has ended, and nobody needs any longer what it had on the stack.
        Err(Stop::Panicked) => unsafe { whole_register(contained(state, site)) },
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

/// `on_panic(f)`: from now on each panic calls `f` with the name of the raw function that it was in, and with a message
/// if it is the first one there. What `f` returns is the result of that raw function.
pub(super) unsafe extern "C-unwind" fn on_panic(state: *mut lua_State) -> c_int {
    // SAFETY: the stack is brought to one value, which the registry takes off.
    unsafe {
        run(state, "on_panic", || {
            ffi::lua_settop(state, 1);
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&ON_PANIC));
            Ok(0)
        })
    }
}

/// Ends a raw function in which something has panicked.
///
/// # Safety
/// What the function has on the stack is no longer needed, and nothing with a destructor is alive.
#[cold]
unsafe fn contained(state: *mut lua_State, site: &'static str) -> c_int {
    // SAFETY: the stack is empty, so there is room.
    unsafe {
        ffi::lua_settop(state, 0);
        push_instead(state, site);
        1
    }
}

/// Counts a panic, has it logged if it is the first one at `site`, and pushes what its caller gets instead of a result.
///
/// # Safety
/// There is room for four values, and nothing with a destructor is alive.
#[cold]
pub(super) unsafe fn push_instead(state: *mut lua_State, site: &'static str) {
    let message = message(site);
    // SAFETY:
    // - `Short` has no destructor, so any of the pushes may raise.
    // - The call is protected, and takes the function and its two arguments off. Without a callback it fails.
    unsafe {
        let room = room(state, 4);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&ON_PANIC));
        push_bytes(state, site.as_bytes());
        match &message {
            Some(message) => push_bytes(state, message.as_bytes()),
            None => ffi::lua_pushnil(state),
        }
        if ffi::lua_pcall(state, 2, 1, 0) != 0 {
            ffi::lua_pop(state, 1);
            ffi::lua_pushnil(state);
        }
        room.left(state, 1);
    }
}

/// Counts a panic; its message if that is to be logged.
fn message(site: &'static str) -> Option<Short> {
    let caught = panics::caught(site);
    caught.is_first.then(|| Short::of(caught.message.as_bytes()))
}

/// LuaJIT reads the number of results from the whole 64-bit register, whose upper half a C `int` leaves undefined (seen
/// with 2.1.0-beta3: it crashes on what the compiler leaves there). Reading the number back from memory clears it.
#[inline(always)]
fn whole_register(results: c_int) -> c_int {
    if cfg!(any(feature = "luajit", feature = "lua51")) {
        std::hint::black_box(results)
    } else {
        results
    }
}

/// Raises the message as an error.
///
/// # Safety
/// Nothing with a destructor is alive in any frame between Lua's and this one.
#[cold]
unsafe fn raise(state: *mut lua_State, message: &'static CStr) -> c_int {
    // SAFETY: the format takes one C string, which is static. Lua makes room for the text itself.
    unsafe { ffi::luaL_error(state, c"%s".as_ptr(), message.as_ptr()) }
}
