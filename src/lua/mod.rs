//! The wall: the only folder that knows Lua, and the only one with `unsafe`.
//!
//! What runs a thousand times a second (updates, `with_labels`, field reads) are raw C functions over small userdata
//! blocks; everything else goes through mlua. `docs/design.md`, "The wall", has the shapes and what they cost.
//!
//! Rules for every raw function here:
//! - What can panic runs inside [`call::pure`], so a panic ends there: the function returns what `lua/metre/panics.lua` has for it.
//! - mlua's `lua_rawgeti` and `lua_rawseti` panic on Lua 5.1, 5.2 and LuaJIT for an index beyond a C `int`, so they get none that Lua code
//!   has chosen.
//! - Lua may leave it (by `longjmp`, or by unwinding on LuaJIT) in any call that can raise: allocation, metamethods. So
//!   those calls stand outside `pure`, and nothing that has a destructor, no lock and no `&mut` to a family is alive then.
#![allow(unsafe_code)]

/// The raw function of a type of metric, `function::<KIND>`, for a type that is known only when this runs.
macro_rules! for_kind {
    ($kind:expr, $($function:ident)::+) => {{
        let function: mlua::ffi::lua_CFunction = match $kind {
            Kind::Gauge => $($function)::+::<{ Kind::Gauge as usize }>,
            Kind::Counter => $($function)::+::<{ Kind::Counter as usize }>,
            Kind::Histogram => $($function)::+::<{ Kind::Histogram as usize }>,
            Kind::Summary => $($function)::+::<{ Kind::Summary as usize }>,
        };
        function
    }};
}

mod block;
mod bucket;
mod call;
mod collector;
mod config;
mod guard;
mod iterate;
mod label;
mod lease;
mod notice;
mod number;
mod place;
mod provider;
mod recent;
mod register;
mod samples;
mod update;
mod view;

use crate::runtime::panics;
use mlua::ffi;
use mlua::prelude::*;

/// What `require` returns for the native module: one function, which makes a provider.
///
/// # Errors
/// When Lua is out of memory.
// The name of the opening function holds the Lua version, so that a module can't be loaded into another one.
#[cfg_attr(feature = "lua54", mlua::lua_module(name = "metre_lua54_inner"))]
#[cfg_attr(feature = "lua53", mlua::lua_module(name = "metre_lua53_inner"))]
#[cfg_attr(feature = "lua52", mlua::lua_module(name = "metre_lua52_inner"))]
#[cfg_attr(
    any(feature = "lua51", feature = "luajit"),
    mlua::lua_module(name = "metre_lua51_inner")
)]
fn open(lua: &Lua) -> LuaResult<LuaTable> {
    anchor_thread(lua)?;
    panics::keep_messages();
    let functions = register::functions(lua)?;
    #[cfg(feature = "panics")]
    functions.set(
        "panic_at",
        lua.create_function(|_, place: Option<String>| {
            panics::arm(place);
            Ok(())
        })?,
    )?;
    provider::export(lua, &functions)?;
    provider::export_checks(lua, &functions)?;
    Ok(functions)
}

/// Opens the module, with the collector standing still.
macro_rules! opening {
    ($name:ident, $inner:ident) => {
        #[no_mangle]
        unsafe extern "C-unwind" fn $name(state: *mut mlua::lua_State) -> std::ffi::c_int {
            // SAFETY: Lua calls it.
            unsafe { collector::opening(state, $inner) }
        }
    };
}

#[cfg(feature = "lua54")]
opening!(luaopen_metre_lua54, luaopen_metre_lua54_inner);
#[cfg(feature = "lua53")]
opening!(luaopen_metre_lua53, luaopen_metre_lua53_inner);
#[cfg(feature = "lua52")]
opening!(luaopen_metre_lua52, luaopen_metre_lua52_inner);
#[cfg(any(feature = "lua51", feature = "luajit"))]
opening!(luaopen_metre_lua51, luaopen_metre_lua51_inner);

/// Keeps the coroutine that opens the module alive as long as its Lua state: mlua goes on using it (seen with 0.11.6),
/// and once it is collected any error is a crash.
fn anchor_thread(lua: &Lua) -> LuaResult<()> {
    static KEY: u8 = 0;
    // SAFETY: one value is pushed, and `lua_rawsetp` takes it off again.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::lua_pushthread(state);
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const KEY).cast());
        })
    }
}
