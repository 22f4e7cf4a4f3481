//! Lua's collector stands still while mlua is at work on Lua 5.1 and LuaJIT, and while mlua opens the module on every
//! Lua.
//!
//! On these two a finalizer raises its error out of whatever allocates, and mlua allocates where nothing catches an
//! error (seen with 0.11.6: it makes the very function that it is going to call protected, `protect_lua_closure`). On
//! Lua 5.1 that error jumps over mlua's destructors, and LuaJIT unwinds, for which Rust ends the process. Later Luas
//! need no memory for such a function, but lose the errors of finalizers amid the opening (seen on 5.2). The garbage of
//! that time is collected afterwards, where errors are caught.
//!
//! Lua 5.1 doesn't say whether a program has stopped its collector. So a stopped collector runs again after a call of
//! mlua's functions; but not if Lua itself has stopped it for a finalizer, or finalizers would begin in the middle of
//! each other, as many as wait.

use super::call::run;
use super::preconditions::{absolute, room};
use mlua::ffi::{self, lua_State};
use std::cell::Cell;
use std::ffi::c_int;

const IS_5_1: bool = cfg!(feature = "lua51");
const IS_JIT: bool = cfg!(feature = "luajit");

/// `LUA_GCISRUNNING` of LuaJIT and of later Luas.
const IS_RUNNING: c_int = 9;

thread_local! {
    /// Whether a hook waits for the call that comes next. Lua 5.1 calls none in finalizers.
    static HOOKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the collector was stopped, and what Lua's memory was then, in kilobytes.
#[derive(Clone, Copy)]
pub(super) struct Stopped(Option<c_int>);

/// Stops the collector if a function of mlua's needs that and it runs.
///
/// # Safety
/// - A protected call of a C function follows, which takes the hook off.
/// - [`resume`] follows after that call, before anything else is done in Lua.
pub(super) unsafe fn stop(state: *mut lua_State) -> Stopped {
    match IS_5_1 || IS_JIT {
        // SAFETY: by the contract above.
        true => unsafe { halt(state) },
        false => Stopped(None),
    }
}

/// Stops the collector if it runs.
///
/// # Safety
/// Those of [`stop`].
unsafe fn halt(state: *mut lua_State) -> Stopped {
    // SAFETY: none of these can raise or allocates; the collector is only stopped and asked. The hook is a function of
    // this module, which is never unloaded.
    unsafe {
        if !IS_5_1 && ffi::lua_gc(state, IS_RUNNING, 0) == 0 {
            return Stopped(None);
        }
        ffi::lua_gc(state, ffi::LUA_GCSTOP, 0);
        // A hook of somebody else's stays.
        if IS_5_1 && ffi::lua_gethook(state).is_none() {
            HOOKED.set(true);
            ffi::lua_sethook(state, Some(called), ffi::LUA_MASKCALL, 0);
        }
        Stopped(Some(ffi::lua_gc(state, ffi::LUA_GCCOUNT, 0)))
    }
}

/// The hook: notes that a function was called, and takes itself off.
unsafe extern "C-unwind" fn called(state: *mut lua_State, _: *mut ffi::lua_Debug) {
    HOOKED.set(false);
    // SAFETY: a hook may set the hook of its state.
    unsafe {
        ffi::lua_sethook(state, None, 0, 0);
    }
}

/// Has the collector run again, and work off what has been allocated meanwhile. What finalizers raise goes no further.
/// `status` is what the call has come to.
///
/// # Safety
/// - There is room for two values.
/// - At `step`, an absolute index, there is what [`push_step`] has pushed.
/// - Nothing with a destructor is alive.
pub(super) unsafe fn resume(state: *mut lua_State, stopped: Stopped, status: c_int, step: c_int) {
    let Stopped(Some(before)) = stopped else {
        return;
    };
    // SAFETY: the call is protected and takes the function and its argument off, and an error is popped. The number
    // fits.
    unsafe {
        let room = room(state, 2);
        absolute(state, step, ffi::LUA_TFUNCTION);
        if HOOKED.replace(false) {
            ffi::lua_sethook(state, None, 0, 0);
            // If there was a call at all, this is a finalizer, after which Lua sets the collector going.
            if status == ffi::LUA_OK {
                return;
            }
        }
        let grown = ffi::lua_gc(state, ffi::LUA_GCCOUNT, 0).saturating_sub(before);
        ffi::lua_gc(state, ffi::LUA_GCRESTART, 0);
        ffi::lua_pushvalue(state, step);
        ffi::lua_pushinteger(state, grown.max(0) as ffi::lua_Integer);
        if ffi::lua_pcall(state, 1, 0, 0) != ffi::LUA_OK {
            ffi::lua_pop(state, 1);
        }
        room.left(state, 0);
    }
}

/// Pushes what [`resume`] needs.
///
/// # Safety
/// There is room for one value, and nothing with a destructor is alive.
pub(super) unsafe fn push_step(state: *mut lua_State) {
    // SAFETY: by the contract above.
    unsafe {
        room(state, 1);
        ffi::lua_pushcclosure(state, step, 0);
    }
}

/// `step(kilobytes)`: what the collector does when so much has been allocated. By `debug.getupvalue` Lua code can call
/// it with anything.
unsafe extern "C-unwind" fn step(state: *mut lua_State) -> c_int {
    // SAFETY: a missing argument and what isn't a number read as 0. Any finalizer may run and raise: nothing with a
    // destructor is alive.
    unsafe {
        run(state, "step", || {
            ffi::lua_gc(state, ffi::LUA_GCSTEP, ffi::lua_tointeger(state, 1) as c_int);
            Ok(0)
        })
    }
}

/// Opens the module by mlua's function `open`.
///
/// # Safety
/// - `state` is the state that Lua has called the opening function with, and nothing has been done to its stack.
/// - `open` is the opening function that mlua has made.
pub(super) unsafe fn opening(state: *mut lua_State, open: ffi::lua_CFunction) -> c_int {
    // SAFETY:
    // - The step comes to 1 and `open` to 2, below its arguments, so the call has as many as there are.
    // - `open` runs protected, with the collector standing still; nothing here has a destructor when its error is
    //   raised again.
    unsafe {
        run(state, "open", || {
            let arguments = ffi::lua_gettop(state);
            push_step(state);
            ffi::lua_insert(state, 1);
            ffi::lua_pushcclosure(state, open, 0);
            ffi::lua_insert(state, 2);
            let stopped = halt(state);
            let status = ffi::lua_pcall(state, arguments, 1, 0);
            resume(state, stopped, status, 1);
            if status != ffi::LUA_OK {
                ffi::lua_error(state)
            }
            Ok(1)
        })
    }
}
