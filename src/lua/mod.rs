//! The wall: the only folder that knows Lua, and the only one with `unsafe`.
//!
//! What runs a thousand times a second (updates, `with_labels`, field reads) are raw C functions over small userdata
//! blocks; everything else goes through mlua. `docs/design.md`, "The wall", has the shapes and what they cost.
//!
//! # In which order to read
//! Each file uses files further up alone:
//! 1. the tools: `preconditions`, `tables`, `text`, `number`; `call`, how a raw function begins and ends; `recent`;
//! 2. what Lua holds: `block`, `handle`, `lease`, `metric` (either of the two);
//! 3. what metrics can do: `notice`, `link`, `update`, `stopwatch`, `samples`; `bucket`, `view`, for those who read;
//! 4. from families to metrics: `objects`, `label_text`, `label`, `iterate`; `register`, a family's Lua side;
//! 5. the calls through mlua: `collector`, `guard`, `config`, `provider`.
//!
//! # Rules for every raw function here
//! - What can panic runs inside [`call::pure`], so a panic ends there: the function returns what `lua/metre/panics.lua`
//!   has for it.
//! - mlua's `lua_rawgeti` and `lua_rawseti` panic on Lua 5.1, 5.2 and LuaJIT for an index beyond a C `int`, so they get
//!   none that Lua code has chosen.
//! - Lua may leave it (by `longjmp`, or by unwinding on LuaJIT) in any call that can raise: allocation, metamethods. So
//!   those calls stand outside `pure`, and nothing that has a destructor, no lock and no `&mut` to a family is alive
//!   then.
//!
//! # What SAFETY comments and contracts take for granted
//! - `state` is the state that Lua has called the raw function with; each function here hands on what it has got.
//! - "Room for n values" is n slots of Lua's stack above its top. A raw function has `LUA_MINSTACK` (20) above its
//!   arguments. Debug builds look at that and at other numbers of a contract ([`preconditions`]).
//! - An index is *valid* if there is a value or an upvalue; that of a missing argument may be asked for its type and as
//!   a userdata. It is *absolute* if it is counted from below, or an upvalue's: then it stays that value's while others
//!   are pushed.
//! - References go only to userdata blocks and strings of Lua's. They stay where they are as long as something that Lua
//!   knows refers to them: the stack, an upvalue of the function that runs, a metatable. Tables are never referred to
//!   from Rust.
//! - The debug library can take all of that apart; `docs/design.md`, "What is promised?", says what holds nevertheless.
//!
//! # What a new Lua version needs
//! - a feature in `Cargo.toml`, and a row in `build.rs` that says what it can do (without one it doesn't compile);
//!   where it can't do what this folder needs, or can do more, a capability there and a `cfg` of that name here;
//! - its opening function (below) and its name, `provider::LUA_VERSION`;
//! - a look at what asks for Lua 5.1 and LuaJIT by name: `collector` and `guard` (finalizers that raise errors), `call`
//!   (results).
//!
//! # What a new type of metric needs
//! A row in `for_kind!`, its fields in `view::field` (for which the compiler doesn't ask), and the arms for which it does,
//! in `update` and `notice`. Tables by type are as long as `Kind::ALL`.
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
mod handle;
mod iterate;
mod label;
mod label_text;
mod lease;
mod link;
mod metric;
mod notice;
mod number;
mod objects;
mod preconditions;
mod provider;
mod recent;
mod register;
mod samples;
mod stopwatch;
mod tables;
mod text;
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
        lua.create_function(|_, site: Option<String>| {
            panics::arm(site);
            Ok(())
        })?,
    )?;
    guard::export(&functions)?;
    provider::export(lua, &functions)?;
    provider::export_checks(lua, &functions)?;
    Ok(functions)
}

/// Opens the module, with the collector standing still.
macro_rules! opening {
    ($name:ident, $inner:ident) => {
        #[no_mangle]
        unsafe extern "C-unwind" fn $name(state: *mut mlua::lua_State) -> std::ffi::c_int {
            // SAFETY: Lua has called this with its state, and `lua_module` has made the other one.
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
    // SAFETY: `exec_raw` runs this as a protected C function, so with room. The thread that is pushed is taken off
    // again, and no Lua code has the key.
    unsafe {
        lua.exec_raw((), |state| {
            preconditions::begins(state);
            ffi::lua_pushthread(state);
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, (&raw const KEY).cast());
        })
    }
}
