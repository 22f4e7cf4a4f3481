//! Telling operators, once, that something was repaired or not taken.

use super::block::FamilyBlock;
use super::call::{push_instead, run};
use super::metric::Metric;
use super::preconditions::{make_room, room};
use super::tables::key;
use super::text::{bytes_at, push_bytes, Short};
use crate::model::{labels, Kind};
use crate::policy::Limit;
use crate::runtime::panics;
use crate::store::{FamilyFields, Refused};
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// The callback for notices in the registry.
static CALLBACK: u8 = 0;

/// What a notice is about; one of each per family is logged.
#[derive(Clone, Copy)]
pub(super) enum About {
    /// A value that an update brought.
    Value,
    /// A label value that is not a string, or not UTF-8.
    Label,
    /// A sample below zero that counts as zero.
    Clamped,
    /// A value that was assigned to a field.
    Field,
    /// Label sets that ran into a limit.
    Limit(Limit),
}

const ONCE: &str = "not logged again for this metric";

impl About {
    /// The bit that stands for it, and what becomes of what it is about and of others like it.
    fn bit(self) -> (u32, &'static str) {
        let repaired = "ignored or repaired, and not logged again for this metric";
        match self {
            About::Value => (1, repaired),
            About::Label => (2, repaired),
            About::Clamped => (4, ONCE),
            About::Field => (8, repaired),
            About::Limit(limit) => (16 << limit as u32, ONCE),
        }
    }
}

/// `on_notice(f)`: from now on `f(family_name, what, value or nil, why, outcome)` is called for each notice.
pub(super) unsafe extern "C-unwind" fn on_notice(state: *mut lua_State) -> c_int {
    // SAFETY: the stack is brought to one value, which the registry takes off.
    unsafe {
        run(state, "on_notice", || {
            ffi::lua_settop(state, 1);
            ffi::lua_rawsetp(state, ffi::LUA_REGISTRYINDEX, key(&CALLBACK));
            Ok(0)
        })
    }
}

/// Counts that the value at `index` was refused, and logs it once.
///
/// # Safety
/// - `index` is an absolute index of a value.
/// - Nothing with a destructor is alive, and nobody uses `family` once Lua has been called, unless it is referred to.
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
    // SAFETY: by the contract above; Lua has not been called yet.
    unsafe {
        match noted {
            Ok(_) => send(state, family, about, what, Some(index), why.reason()),
            Err(_) => give_up(state),
        }
    }
}

/// Counts a panic in place of a notice.
///
/// # Safety
/// Nothing with a destructor is alive.
#[cold]
unsafe fn give_up(state: *mut lua_State) {
    // SAFETY: room is made first, also where the caller has used its own up; the one value that is pushed is popped.
    unsafe {
        if make_room(state, 4) {
            push_instead(state, "notice");
            ffi::lua_pop(state, 1);
        }
    }
}

/// Calls the callback, unless this family has had a notice about the same. The text says what became of the value
/// at `index`: `what`, a short form of the value if it can be shown, `why`. Errors in the callback go nowhere.
///
/// # Safety
/// - `index`, if there is one, is an absolute index of a value.
/// - Nothing with a destructor is alive, and nobody uses `family` once Lua has been called, unless it is referred to.
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
    // SAFETY: by the contract above; the name is a copy, so the family isn't used from here on.
    unsafe {
        match name {
            Ok(Some(Some(name))) => call_back(state, name, what, index, why, outcome),
            Ok(_) => {}
            Err(_) => give_up(state),
        }
    }
}

/// Of how many series of a family it is logged that they lose their sum.
const MOST_SERIES: u32 = 10;

/// Logs that a series has no sum on the page any more, since the value at `index` is below zero: of some series of each
/// family one by one, and then that there are more.
///
/// # Safety
/// - `index` is an absolute index of a value.
/// - Nothing with a destructor is alive, and nobody uses `metric` once Lua has been called, unless it is referred to.
#[cold]
pub(super) unsafe fn without_sum(state: *mut lua_State, metric: Metric<'_>, what: &'static str, index: c_int) {
    let told = metric.with_labels(|family, labels| {
        let told = family.without_sum.get();
        family.without_sum.set(told.saturating_add(1).min(MOST_SERIES + 1));
        let fields = &family.family;
        match told {
            0..MOST_SERIES => Some((Some(fields.kind), Short::of(series_name(fields, labels).as_bytes()))),
            MOST_SERIES => Some((None, Short::of(&fields.raw_name))),
            _ => None,
        }
    });
    // SAFETY: by the contract above; the name is a copy, so the metric isn't used from here on.
    unsafe {
        let (kind, name) = match told {
            Ok(Some(Some(told))) => told,
            Ok(_) => return,
            Err(_) => return give_up(state),
        };
        let of_histograms = "is negative, so the page no longer has its sum and count";
        let of_summaries = "is negative, so the page no longer has its sum";
        let back = "a reset brings them back";
        match kind {
            Some(Kind::Histogram) => call_back(state, name, what, Some(index), of_histograms, back),
            Some(Kind::Gauge | Kind::Counter | Kind::Summary) => {
                call_back(state, name, what, Some(index), of_summaries, "a reset brings it back")
            }
            None => call_back(
                state,
                name,
                "further series",
                None,
                "lose their sums to negative samples, too",
                ONCE,
            ),
        }
    }
}

/// A series as it stands on a page, more or less: what strangers may have sent is cut and escaped.
fn series_name(family: &FamilyFields, labels: &[u8]) -> String {
    const LONGEST: usize = 40;
    let cut = |text: &[u8]| -> String { String::from_utf8_lossy(text).chars().take(LONGEST).collect() };
    let pairs = family.label_names.iter().zip(labels::values(labels));
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{}={:?}", cut(name.as_bytes()), cut(value)))
        .collect();
    let name = String::from_utf8_lossy(&family.raw_name);
    match pairs.is_empty() {
        true => name.into_owned(),
        false => format!("{name}{{{}}}", pairs.join(",")),
    }
}

/// Calls the callback. Errors in it go nowhere.
///
/// # Safety
/// - `index`, if there is one, is an absolute index of a value.
/// - Nothing with a destructor is alive.
unsafe fn call_back(state: *mut lua_State, name: Short, what: &str, index: Option<c_int>, why: &str, outcome: &str) {
    // SAFETY:
    // - Room is made first; the call, which is protected, takes the function and its five arguments off.
    // - The texts are static or on Rust's stack (`Short`), so they stay where they are while Lua runs.
    unsafe {
        if !make_room(state, 8) {
            return;
        }
        let room = room(state, 8);
        let top = ffi::lua_gettop(state);
        ffi::lua_rawgetp(state, ffi::LUA_REGISTRYINDEX, key(&CALLBACK));
        push_bytes(state, name.as_bytes());
        push_bytes(state, what.as_bytes());
        match index {
            Some(index) => push_short(state, index),
            None => ffi::lua_pushnil(state),
        }
        push_bytes(state, why.as_bytes());
        push_bytes(state, outcome.as_bytes());
        ffi::lua_pcall(state, 5, 0, 0);
        ffi::lua_settop(state, top);
        room.left(state, 0);
    }
}

/// Pushes the value at `index` if it is a number or short text, else the name of its type.
///
/// # Safety
/// - `index` is an absolute index of a value, which stays on the stack.
/// - There is room for one value, and nothing with a destructor is alive.
unsafe fn push_short(state: *mut lua_State, index: c_int) {
    const LONGEST: usize = 60;
    // SAFETY: text is looked at where it is on the stack; the names of types are static, and `lua_typename` gets none
    // but a value's.
    unsafe {
        let type_ = ffi::lua_type(state, index);
        let short = bytes_at(state, index).is_some_and(|text| text.len() <= LONGEST);
        if type_ == ffi::LUA_TNUMBER || short {
            ffi::lua_pushvalue(state, index);
        } else {
            ffi::lua_pushstring(state, ffi::lua_typename(state, type_.max(ffi::LUA_TNIL)));
        }
    }
}
