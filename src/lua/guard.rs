//! A guard before functions that mlua made.
//!
//! At the end of a Lua state finalizers run in the reverse order of creation, and any of them may still call us. mlua's
//! functions keep what they need in a userdata of their own and crash once that is finalized. A sentinel that is created
//! after the function is finalized before it, and from then on the function isn't called any more.
//!
//! On Lua 5.1 and LuaJIT the collector stands still while one of them runs (`collector`). A debug hook still runs in the middle of them, and may
//! call one. On Lua 5.1 nothing would tell that one that the collector is to stay where it is, so there none begins in the middle of another.

use super::block::key;
use super::call::{push_bytes, run, set_function, Outcome};
use super::collector;
use mlua::ffi::{self, lua_State};
use mlua::prelude::*;
use std::cell::Cell;
use std::ffi::{c_int, c_void};

/// The registry's metatable for sentinels, and by its address what tells a sentinel from any other userdata.
static SENTINELS: u8 = 0;

/// What is finalized before the function that it guards.
#[repr(C)]
struct Sentinel {
    tag: *const c_void,
    open: Cell<bool>,
}

impl Sentinel {
    /// The sentinel at `index`, if there is one.
    ///
    /// # Safety
    /// - `index` is valid.
    /// - The sentinel is used no longer than it is on the stack or otherwise referred to.
    unsafe fn at<'a>(state: *mut lua_State, index: c_int) -> Option<&'a Sentinel> {
        // SAFETY: only as many bytes are read as there are, and a sentinel begins with a pointer. What a foreign userdata of this size has
        // there is compared alone. Light userdata have the length 0. Sentinels are changed through their cell alone.
        unsafe {
            let block = ffi::lua_touserdata(state, index).cast::<Sentinel>();
            let is_ours = !block.is_null()
                && ffi::lua_rawlen(state, index) as usize == size_of::<Sentinel>()
                && (&raw const (*block).tag).read() == key(&SENTINELS);
            is_ours.then(|| &*block)
        }
    }
}

/// What is said by a function that can't be called.
const CLOSING: &[u8] = b"the Lua state is closing";
const IN_THE_MIDDLE: &[u8] = b"Lua 5.1 runs a debug hook in the middle of another call";
const CUT_SHORT: &[u8] = b"the call was cut short";

thread_local! {
    /// Whether one of mlua's functions is running, where that matters.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// The function, behind a guard: when it can't be called, it returns `nil` and a message.
pub(super) fn guarded(lua: &Lua, function: LuaFunction) -> LuaResult<LuaFunction> {
    // SAFETY: `exec_raw` runs this protected and with the function on the stack; one closure is left.
    unsafe {
        lua.exec_raw(function, |state| {
            ffi::lua_newuserdata(state, size_of::<Sentinel>())
                .cast::<Sentinel>()
                .write(Sentinel {
                    tag: key(&SENTINELS),
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
        })
    }
}

/// The sentinel's finalizer. By `debug.getupvalue` and `debug.getmetatable` Lua code can call it with anything.
unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: any index of an argument is valid, also that of a missing one; the sentinel stays on the stack.
    unsafe {
        run(state, "close", || {
            if let Some(sentinel) = Sentinel::at(state, 1) {
                sentinel.open.set(false);
            }
            Ok(0)
        })
    }
}

unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    // SAFETY: the upvalues are the function, its sentinel, and the collector's step.
    unsafe {
        run(state, "call", || {
            let is_open = Sentinel::at(state, ffi::lua_upvalueindex(2)).is_some_and(|sentinel| sentinel.open.get());
            if !is_open {
                return refuse(state, CLOSING);
            }
            if BUSY.get() {
                return refuse(state, IN_THE_MIDDLE);
            }
            let arguments = ffi::lua_gettop(state);
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
            ffi::lua_insert(state, 1);
            BUSY.set(cfg!(feature = "lua51"));
            let stopped = collector::stop(state);
            let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0);
            BUSY.set(false);
            collector::resume(state, stopped, status, ffi::lua_upvalueindex(3));
            if status == ffi::LUA_OK {
                return Ok(ffi::lua_gettop(state));
            }
            // mlua raises userdata: where there was no room for an answer, or where a debug hook has raised something.
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
/// There is room on the stack.
unsafe fn refuse(state: *mut lua_State, message: &[u8]) -> Outcome {
    // SAFETY: by the contract above.
    unsafe {
        ffi::lua_pushnil(state);
        push_bytes(state, message);
        Ok(2)
    }
}
