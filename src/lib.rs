//! metre: a statistics provider for Prosody that keeps its metrics in a native store.
//!
//! Data goes one way: `lua` → [`store`] → [`snapshot`] → [`encode`]. Everything but `lua` is plain, safe
//! Rust and is tested without Lua; `docs/design.md` says why it is cut like this.

pub mod config;
pub mod encode;
pub mod model;
pub mod policy;
pub mod runtime;
pub mod snapshot;
pub mod store;
mod sync;

#[cfg(all(test, feature = "model"))]
mod interleavings;
pub mod transport;

#[cfg(any(
    feature = "lua51",
    feature = "lua52",
    feature = "lua53",
    feature = "lua54",
    feature = "luajit"
))]
mod lua;
