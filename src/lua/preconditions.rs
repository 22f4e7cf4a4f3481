//! What the contracts of this folder say in numbers, which debug builds look at: room on the stack, indices, lengths,
//! tags.
//!
//! Lua looks at none of it, unless it is built for that, and writes beyond its stack instead. The specs run on a debug
//! build, which ends the process where a contract is broken. (`debug_assert!` would panic, and a panic is contained
//! here as if it were a fault like any other, or passes over Lua's own frames.) A release build has nothing of this.

use mlua::ffi::{self, lua_State};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_int;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::Location;

/// Ends the process in debug builds, with the message, unless the condition holds.
macro_rules! holds {
    ($condition:expr, $($message:tt)+) => {
        if cfg!(debug_assertions) && !$condition {
            $crate::lua::preconditions::broken(format_args!($($message)+));
        }
    };
}
pub(super) use holds;

#[cold]
#[track_caller]
pub(super) fn broken(message: std::fmt::Arguments<'_>) -> ! {
    eprintln!("metre, {}: a contract is broken: {message}", Location::caller());
    std::process::abort();
}

/// What `lua_getstack` tells of the function that runs, and of no other one that has not ended.
type Call = [u8; size_of::<ffi::lua_Debug>()];

/// A call of one of our functions.
struct Frame {
    state: *mut lua_State,
    call: Call,
    /// How high its stack may grow.
    limit: c_int,
}

/// How many calls are remembered, of which most have ended.
const MOST_FRAMES: usize = 250;

thread_local! {
    /// The calls that have begun, the latest one first. Those that an error has ended stay until Lua has another one in
    /// their place. Never dropped, as Lua may end after what a thread drops.
    static FRAMES: ManuallyDrop<RefCell<VecDeque<Frame>>> = const { ManuallyDrop::new(RefCell::new(VecDeque::new())) };
}

/// The function that runs in `state`.
///
/// # Safety
/// `state` is a Lua state.
unsafe fn call(state: *mut lua_State) -> Call {
    let mut call = MaybeUninit::<ffi::lua_Debug>::uninit();
    // SAFETY: level 0 is the function that runs; of one that there isn't, nothing is written. All bytes are zeros or
    // what Lua has written, so they can be read as bytes.
    unsafe {
        // The padding, too.
        call.as_mut_ptr().write_bytes(0, 1);
        ffi::lua_getstack(state, 0, call.as_mut_ptr());
        call.as_ptr().cast::<Call>().read()
    }
}

/// Runs `use_it` on the call that runs, which is made if there is none yet.
///
/// # Safety
/// `state` is a Lua state.
unsafe fn with_frame<T>(state: *mut lua_State, use_it: impl FnOnce(&mut Frame) -> T) -> T {
    // SAFETY: by the contract above.
    let call = unsafe { call(state) };
    FRAMES.with(|frames| {
        let mut frames = frames.borrow_mut();
        let known = frames
            .iter()
            .position(|frame| frame.state == state && frame.call == call);
        let frame = known.and_then(|known| frames.remove(known));
        // One that is missing from a full list may have begun and been pushed out: nothing is known of it.
        let limit = if frames.len() < MOST_FRAMES { 0 } else { c_int::MAX };
        frames.push_front(frame.unwrap_or(Frame { state, call, limit }));
        frames.truncate(MOST_FRAMES);
        use_it(&mut frames[0])
    })
}

/// A C function of ours begins: Lua has room for `LUA_MINSTACK` values above its arguments.
///
/// # Safety
/// `state` is the state that Lua or mlua has called the function with.
#[inline(always)]
pub(super) unsafe fn begins(state: *mut lua_State) {
    if cfg!(debug_assertions) {
        // SAFETY: by the contract above.
        unsafe {
            let limit = ffi::lua_gettop(state) + ffi::LUA_MINSTACK;
            with_frame(state, |frame| frame.limit = limit);
        }
    }
}

/// Has Lua make room for `values` more values. False if there is none.
///
/// # Safety
/// `state` is the state that the function was called with.
pub(super) unsafe fn make_room(state: *mut lua_State, values: c_int) -> bool {
    // SAFETY: `lua_checkstack` asks for nothing but a state; so does the rest.
    unsafe {
        let is_there = ffi::lua_checkstack(state, values) != 0;
        if cfg!(debug_assertions) && is_there {
            let top = ffi::lua_gettop(state);
            with_frame(state, |frame| frame.limit = frame.limit.max(top + values));
        }
        is_there
    }
}

/// What a function may push, and how many values are on the stack before it does.
#[derive(Clone, Copy)]
pub(super) struct Room {
    top: c_int,
}

/// There is room for `values` more values on the stack.
///
/// # Safety
/// `state` is the state that the function was called with.
#[inline(always)]
#[track_caller]
pub(super) unsafe fn room(state: *mut lua_State, values: c_int) -> Room {
    if !cfg!(debug_assertions) {
        return Room { top: 0 };
    }
    // SAFETY: by the contract above.
    unsafe {
        let top = ffi::lua_gettop(state);
        let limit = with_frame(state, |frame| frame.limit);
        holds!(
            top + values <= limit,
            "{values} values above {top} are more than {limit}"
        );
        Room { top }
    }
}

impl Room {
    /// Of what was pushed `values` values are left.
    ///
    /// # Safety
    /// `state` is the state that the function was called with.
    #[inline(always)]
    #[track_caller]
    pub(super) unsafe fn left(self, state: *mut lua_State, values: c_int) {
        if cfg!(debug_assertions) {
            // SAFETY: by the contract above.
            let top = unsafe { ffi::lua_gettop(state) };
            holds!(
                top == self.top + values,
                "{values} values above {}, not {top}",
                self.top
            );
        }
    }
}

/// There is a value of this type at `index`, which stays that value's whatever is pushed: an argument's, another one
/// counted from below, or an upvalue's.
///
/// # Safety
/// `state` is the state that the function was called with.
#[inline(always)]
#[track_caller]
pub(super) unsafe fn absolute(state: *mut lua_State, index: c_int, type_: c_int) {
    if cfg!(debug_assertions) {
        // SAFETY: the index is looked at first.
        unsafe {
            let top = ffi::lua_gettop(state);
            holds!(
                (1..=top).contains(&index) || index < ffi::LUA_REGISTRYINDEX,
                "{index} is no absolute index of {top} values"
            );
            let found = ffi::lua_type(state, index);
            holds!(
                found == type_,
                "there is a value of type {found}, not {type_}, at {index}"
            );
        }
    }
}
