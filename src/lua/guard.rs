//! A guard before functions that mlua made.
//!
//! At the end of a Lua state finalizers run in the reverse order of creation, and any of them may still call us. mlua's
//! functions keep what they need in a userdata of their own and crash once that is finalized. A sentinel that is
//! created after the function is finalized before it, and from then on the function isn't called any more.
//!
//! On Lua 5.1 and LuaJIT the collector stands still while one of these functions runs ([`collector`]). A debug hook
//! still runs in the middle of such a function, and may call another one. On Lua 5.1 nothing would tell the inner one
//! that the collector is to stay where it is, so there no guarded function begins in the middle of another one.

use super::block::{block_at, Length};
use super::call::{run, Outcome};
use super::collector;
use super::preconditions::{begins, room};
use super::tables::{key, set_function};
use super::text::push_bytes;
use mlua::ffi::{self, lua_State};
use mlua::prelude::*;
use std::cell::Cell;
use std::ffi::c_int;

/// The registry's metatable for sentinels, and by its address what tells a sentinel from any other userdata.
static SENTINELS: u8 = 0;

/// What is finalized before the function that it guards.
#[repr(C)]
struct Sentinel {
    tag: *const u8,
    open: Cell<bool>,
}

impl Sentinel {
    /// The sentinel at `index`, if there is one.
    ///
    /// # Safety
    /// - `index` is valid, or that of a missing argument.
    /// - The sentinel is used no longer than it is on the stack or otherwise referred to.
    unsafe fn at<'a>(state: *mut lua_State, index: c_int) -> Option<&'a Sentinel> {
        // SAFETY: what has the tag was written by `guarded`, and is changed through its cell alone. (`Sentinel` begins
        // with its tag.)
        unsafe { block_at::<Sentinel>(state, index, &raw const SENTINELS, Length::Exactly).map(|block| &*block) }
    }
}

/// The Lua state is at its end, which stops everything by itself.
const CLOSING: &str = "the Lua state is closing";
/// The function does nothing this time.
const BUSY: &str = "Lua 5.1 runs a debug hook in the middle of another call";
/// Lua had no room for an answer, or a debug hook has raised something.
const CUT_SHORT: &str = "the call was cut short";

/// Sets in `functions` what guarded functions return after `nil` when they can't be called: `closing` and `busy`.
///
/// # Errors
/// When Lua is out of memory.
pub(super) fn export(functions: &LuaTable) -> LuaResult<()> {
    functions.set("closing", CLOSING)?;
    functions.set("busy", BUSY)
}

thread_local! {
    /// Whether one of mlua's functions is running, where that matters.
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

/// The function, behind a guard: when it can't be called, it returns `nil` and a message.
///
/// # Errors
/// When Lua is out of memory.
pub(super) fn guarded(lua: &Lua, function: LuaFunction) -> LuaResult<LuaFunction> {
    // SAFETY:
    // - `exec_raw` runs this as a protected C function with one argument, the function, so with room for `LUA_MINSTACK`
    //   values.
    // - The sentinel's userdata has the size of what is written to it, and Lua aligns it for any C type. It gets the
    //   finalizer when it has its content.
    // - Function, sentinel and step are the three values on the stack when they become the upvalues that `call`
    //   expects.
    unsafe {
        lua.exec_raw(function, |state| {
            begins(state);
            let room = room(state, 4);
            ffi::lua_newuserdata(state, size_of::<Sentinel>())
                .cast::<Sentinel>()
                .write(Sentinel {
                    tag: &raw const SENTINELS,
                    open: Cell::new(true),
                });
            ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&SENTINELS));
            if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
                ffi::lua_pop(state, 1);
                ffi::lua_createtable(state, 0, 1);
                let table = ffi::lua_gettop(state);
                set_function(state, table, c"__gc", close, 0);
                ffi::lua_pushvalue(state, table);
                ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&SENTINELS));
            }
            ffi::lua_setmetatable(state, -2);
            collector::push_step(state);
            ffi::lua_pushcclosure(state, call, 3);
            room.left(state, 0);
        })
    }
}

/// The sentinel's finalizer. By `debug.getupvalue` and `debug.getmetatable` Lua code can call it with anything.
unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: the argument is looked at, and stays on the stack if it is a sentinel.
    unsafe {
        run(state, "close", || {
            if let Some(sentinel) = Sentinel::at(state, 1) {
                sentinel.open.set(false);
            }
            Ok(0)
        })
    }
}

/// The guarded function. Its upvalues are mlua's function, the sentinel, and the collector's step.
unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    // SAFETY:
    // - Upvalues have absolute indices, and the function that runs keeps them. The sentinel is looked at.
    // - mlua's function isn't finalized yet, as its sentinel isn't. It comes to 1, below its arguments, and runs
    //   protected.
    // - It has a few results (a list of them is a table), so there is still room for two values above them.
    // - Nothing has a destructor, so its error can be raised again.
    unsafe {
        run(state, "call", || {
            let is_open = Sentinel::at(state, ffi::lua_upvalueindex(2)).is_some_and(|sentinel| sentinel.open.get());
            if !is_open {
                return refuse(state, CLOSING);
            }
            if IS_BUSY.get() {
                return refuse(state, BUSY);
            }
            let arguments = ffi::lua_gettop(state);
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
            ffi::lua_insert(state, 1);
            IS_BUSY.set(cfg!(feature = "lua51"));
            let stopped = collector::stop(state);
            let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0);
            IS_BUSY.set(false);
            collector::resume(state, stopped, status, ffi::lua_upvalueindex(3));
            if status == ffi::LUA_OK {
                return Ok(ffi::lua_gettop(state));
            }
            // mlua raises userdata.
            if ffi::lua_type(state, -1) == ffi::LUA_TUSERDATA {
                ffi::lua_settop(state, 0);
                return refuse(state, CUT_SHORT);
            }
            ffi::lua_error(state)
        })
    }
}

/// `nil` and a message.
///
/// # Safety
/// There is room for two values, and nothing with a destructor is alive.
unsafe fn refuse(state: *mut lua_State, message: &'static str) -> Outcome {
    // SAFETY: by the contract above.
    unsafe {
        room(state, 2);
        ffi::lua_pushnil(state);
        push_bytes(state, message.as_bytes());
        Ok(2)
    }
}
