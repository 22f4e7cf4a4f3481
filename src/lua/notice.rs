//! Telling operators, once, that something was repaired or not taken.

use super::block::{key, FamilyBlock};
use super::call::{self, Short};
use crate::policy::Limit;
use crate::runtime::panics;
use crate::store::Refused;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

static CALLBACK: u8 = 0;

/// What a notice is about; one of each per family is logged.
#[derive(Clone, Copy)]
pub(super) enum About {
    /// A value that an update brought.
    Value,
    /// A label value that is not a string, or not UTF-8.
    Label,
    /// The first sample below zero.
    Negative,
    /// A value that was assigned to a field.
    Field,
    /// Label sets that ran into a limit.
    Limit(Limit),
}

impl About {
    /// The bit that stands for it, and what becomes of what it is about, if that isn't said.
    fn bit(self) -> (u32, &'static str) {
        let repaired = "ignored or repaired, and ";
        match self {
            About::Value => (1, repaired),
            About::Label => (2, repaired),
            About::Negative => (4, repaired),
            About::Field => (8, repaired),
            About::Limit(limit) => (16 << limit as u32, ""),
        }
    }
}

/// `on_notice(f)`: from now on `f(family_name, what, value or nil, why, outcome)` is called for each notice.
pub(super) unsafe extern "C-unwind" fn on_notice(state: *mut lua_State) -> c_int {
    // SAFETY: one value is on the stack and is taken off.
    unsafe {
        call::run(state, "on_notice", || {
            ffi::lua_settop(state, 1);
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&CALLBACK));
            Ok(0)
        })
    }
}

/// Counts that the value at `index` was refused, and logs it once.
///
/// # Safety
/// `index` is an absolute index of a value.
#[cold]
pub(super) unsafe fn refused(
    state: *mut lua_State,
    family: &FamilyBlock,
    what: &'static str,
    index: c_int,
    why: Refused,
) {
    // The family has gone only at the end of the state, when nobody looks any more.
    let noted = family.with(|family| {
        panics::inject("notice");
        family.family.note_refused(why);
    });
    let about = match why {
        Refused::ReadOnly => About::Field,
        _ => About::Value,
    };
    // SAFETY: by the contract above.
    unsafe {
        match noted {
            Ok(_) => send(state, family, about, what, Some(index), why.reason()),
            Err(_) => give_up(state),
        }
    }
}

/// There is no notice, since something has panicked.
#[cold]
unsafe fn give_up(state: *mut lua_State) {
    // SAFETY: what is pushed is popped.
    unsafe {
        if ffi::lua_checkstack(state, 4) != 0 {
            call::push_instead(state, "notice");
            ffi::lua_pop(state, 1);
        }
    }
}

/// Calls the callback, unless this family has had a notice about the same. The text says what became of the value
/// at `index`: `what`, a short form of the value if it can be shown, `why`. Errors in the callback go nowhere.
///
/// # Safety
/// `index` is an absolute index, of a value or none.
#[cold]
pub(super) unsafe fn send(
    state: *mut lua_State,
    family: &FamilyBlock,
    about: About,
    what: &'static str,
    index: Option<c_int>,
    why: &'static str,
) {
    let (bit, outcome) = about.bit();
    let name = family.with(|family| {
        let known = family.noticed.replace(family.noticed.get() | bit) & bit != 0;
        (!known).then(|| Short::of(&family.family.raw_name))
    });
    let name = match name {
        Ok(Some(Some(name))) => name,
        Ok(_) => return,
        // SAFETY: a raw function's state.
        Err(_) => return unsafe { give_up(state) },
    };
    // SAFETY: what is pushed is popped.
    unsafe {
        if ffi::lua_checkstack(state, 8) == 0 {
            return;
        }
        let top = ffi::lua_gettop(state);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&CALLBACK));
        call::push_bytes(state, name.as_bytes());
        call::push_bytes(state, what.as_bytes());
        match index {
            Some(index) => push_short(state, index),
            None => ffi::lua_pushnil(state),
        }
        call::push_bytes(state, why.as_bytes());
        call::push_bytes(state, outcome.as_bytes());
        ffi::lua_pcall(state, 5, 0, 0);
        ffi::lua_settop(state, top);
    }
}

/// Pushes the value at `index` if it is a number or short text, else the name of its type.
unsafe fn push_short(state: *mut lua_State, index: c_int) {
    const LONGEST: usize = 60;
    // SAFETY: the value is on the stack while it is looked at.
    unsafe {
        let type_ = ffi::lua_type(state, index);
        let short = call::bytes_at(state, index).is_some_and(|text| text.len() <= LONGEST);
        if type_ == ffi::LUA_TNUMBER || short {
            ffi::lua_pushvalue(state, index);
        } else {
            ffi::lua_pushstring(state, ffi::lua_typename(state, type_.max(ffi::LUA_TNIL)));
        }
    }
}
