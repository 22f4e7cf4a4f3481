//! How long something takes that Lua code does: `now()` when it begins, and a function that ends the measurement and hands
//! on what came of it.
//!
//! A clock, a sample and a look at results as Lua functions cost as much again as all else that is done for a stanza.

use super::call::{push_instead, run, Stop};
use super::link::linked;
use super::metric::Metric;
use super::preconditions::room;
use super::update;
use crate::model::{Kind, Number};
use mlua::ffi::{self, lua_State};
use nix::time::{clock_gettime, ClockId};
use std::ffi::{c_int, CStr};
use std::ptr;

const NO_TIME: &CStr = c"metre: a time of now() expected";

/// Seconds that only go up. Linux always has this clock.
fn seconds() -> f64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
}

/// `now()`: seconds that only go up, since nobody knows when.
pub(super) unsafe extern "C-unwind" fn now(state: *mut lua_State) -> c_int {
    // SAFETY: there is room for a result, and a number needs no memory.
    unsafe {
        run(state, "now", || {
            room(state, 1);
            ffi::lua_pushnumber(state, seconds());
            Ok(1)
        })
    }
}

/// `stop_of(histogram, failed or nil)`: a function `stop(began, …)` that puts the seconds since `began`, a time of `now()`,
/// into the histogram, and returns all that follows. If that begins with nil or false and an error, `failed(error)` is
/// called before.
pub(super) unsafe extern "C-unwind" fn stop_of(state: *mut lua_State) -> c_int {
    // SAFETY:
    // - The stack has the two arguments, and above them what `linked` leaves or a copy of the first one, then a copy of
    //   the second one; there is room for these. The two on top become upvalues.
    // - Nothing with a destructor is alive when memory is taken for the function.
    unsafe {
        run(state, "stop_of", || {
            ffi::lua_settop(state, 2);
            room(state, 3);
            if Metric::at(state, 1, Kind::Histogram).is_some() {
                ffi::lua_pushvalue(state, 1);
            } else if linked(state, 1, Kind::Histogram).is_none() {
                return Err(c"metre: a histogram expected".into());
            }
            ffi::lua_pushvalue(state, 2);
            ffi::lua_pushcclosure(state, stop, 2);
            Ok(1)
        })
    }
}

/// What `stop_of` returns.
unsafe extern "C-unwind" fn stop(state: *mut lua_State) -> c_int {
    // SAFETY:
    // - Only `stop_of` makes this function, with the userdata of a histogram as its first upvalue, which the function
    //   keeps.
    // - Beside its arguments a function has room for 20 values. What is pushed is taken off again, so the results are
    //   the arguments but for the first one.
    // - A number has no destructor, so nothing with one is alive when Lua is called.
    unsafe {
        run(state, "stopwatch", || {
            let results = ffi::lua_gettop(state) - 1;
            if ffi::lua_type(state, 1) != ffi::LUA_TNUMBER {
                return Err(NO_TIME.into());
            }
            let took = Number::Float(seconds() - ffi::lua_tonumberx(state, 1, ptr::null_mut()));
            if let Some(metric) = Metric::at(state, ffi::lua_upvalueindex(1), Kind::Histogram) {
                if let Err(Stop::Panicked) = update::sample(metric, took) {
                    // Whatever waits for the results gets them.
                    push_instead(state, "stopwatch");
                    ffi::lua_pop(state, 1);
                }
            }
            if results >= 2 && ffi::lua_toboolean(state, 2) == 0 && ffi::lua_isnil(state, 3) == 0 {
                tell(state);
            }
            Ok(results)
        })
    }
}

/// Calls the second upvalue, if it is there, with the third argument.
///
/// # Safety
/// There is a third argument, room for two values, and nothing with a destructor is alive.
#[cold]
unsafe fn tell(state: *mut lua_State) {
    // SAFETY: the call is protected, and takes the function and its argument off.
    unsafe {
        let failed = ffi::lua_upvalueindex(2);
        if ffi::lua_isnil(state, failed) != 0 {
            return;
        }
        let room = room(state, 2);
        ffi::lua_pushvalue(state, failed);
        ffi::lua_pushvalue(state, 3);
        if ffi::lua_pcall(state, 1, 0, 0) != 0 {
            ffi::lua_pop(state, 1);
        }
        room.left(state, 0);
    }
}
