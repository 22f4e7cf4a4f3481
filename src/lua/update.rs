//! `set`, `add`, `sample` and `reset`: the calls that must cost nothing.

use super::block::{FamilyState, Handle};
use super::call::{pure, run, Outcome};
use super::notice::{self, About};
use super::number::number_at;
use super::view;
use crate::model::{Kind, Number};
use crate::store::{cell, Refused};
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::sync::atomic::AtomicU64;

/// The methods of a type and the functions behind them.
pub(super) fn methods(kind: Kind) -> &'static [(&'static CStr, ffi::lua_CFunction)] {
    match kind {
        Kind::Gauge => &[(c"set", gauge_set), (c"add", gauge_add), (c"reset", gauge_reset)],
        Kind::Counter => &[(c"set", counter_set), (c"add", counter_add), (c"reset", counter_reset)],
        Kind::Histogram => &[(c"sample", histogram_sample), (c"reset", samples_reset_histogram)],
        Kind::Summary => &[(c"sample", summary_sample), (c"reset", samples_reset_summary)],
    }
}

/// Runs `update` on the metric that is the first argument, with its family.
#[inline(always)]
unsafe fn on_metric(state: *mut lua_State, kind: Kind, update: impl FnOnce(&Handle, &FamilyState) -> Outcome) -> c_int {
    // SAFETY: the handle is the first argument and stays on the stack.
    unsafe {
        run(state, || {
            let handle = match Handle::at(state, 1, kind) {
                Some(handle) => handle,
                None => view::linked_handle(state, 1, kind).ok_or(wrong_self(kind))?,
            };
            match handle.state() {
                Some(family) => update(handle, family),
                None => Ok(0),
            }
        })
    }
}

/// Runs `update` with the number that is the second argument. What isn't taken is logged once.
#[inline(always)]
unsafe fn with_number(
    state: *mut lua_State,
    kind: Kind,
    words: usize,
    method: &str,
    update: impl FnOnce(&[AtomicU64], Number, &FamilyState) -> Result<(), Refused>,
) -> c_int {
    // SAFETY: `words` is the record length of the type (see the callers), and the family is there.
    unsafe {
        on_metric(state, kind, |handle, family| {
            let taken = match number_at(state, 2) {
                Some(number) => pure(|| update(handle.record(words), number, family))?,
                None => Err(Refused::NotANumber),
            };
            if let Err(why) = taken {
                refuse(state, family, method, why);
            }
            Ok(0)
        })
    }
}

#[cold]
unsafe fn refuse(state: *mut lua_State, family: &FamilyState, method: &str, why: Refused) {
    // SAFETY: index 2 is an argument or none; the family isn't used afterwards.
    unsafe { notice::send(state, family, About::Value, method, 2, why.reason()) }
}

#[cold]
fn wrong_self(kind: Kind) -> &'static CStr {
    match kind {
        Kind::Gauge => c"metre: a gauge expected; call its methods with ':'",
        Kind::Counter => c"metre: a counter expected; call its methods with ':'",
        Kind::Histogram => c"metre: a histogram expected; call its methods with ':'",
        Kind::Summary => c"metre: a summary expected; call its methods with ':'",
    }
}

unsafe extern "C-unwind" fn gauge_set(state: *mut lua_State) -> c_int {
    // SAFETY: a gauge's record has `VALUE_WORDS` words.
    unsafe {
        with_number(
            state,
            Kind::Gauge,
            cell::VALUE_WORDS,
            "set",
            |record, number, family| {
                cell::gauge::set(record, number, &family.family().cork);
                Ok(())
            },
        )
    }
}

unsafe extern "C-unwind" fn gauge_add(state: *mut lua_State) -> c_int {
    // SAFETY: a gauge's record has `VALUE_WORDS` words.
    unsafe {
        with_number(
            state,
            Kind::Gauge,
            cell::VALUE_WORDS,
            "add",
            |record, number, family| {
                cell::gauge::add(record, number, &family.family().cork);
                Ok(())
            },
        )
    }
}

unsafe extern "C-unwind" fn counter_add(state: *mut lua_State) -> c_int {
    // SAFETY: a counter's record has `VALUE_WORDS` words.
    unsafe {
        with_number(state, Kind::Counter, cell::VALUE_WORDS, "add", |record, number, _| {
            cell::counter::add(record, number)
        })
    }
}

unsafe extern "C-unwind" fn counter_set(state: *mut lua_State) -> c_int {
    // SAFETY: a counter's record has `VALUE_WORDS` words.
    unsafe {
        with_number(state, Kind::Counter, cell::VALUE_WORDS, "set", |record, number, _| {
            cell::counter::set(record, number)
        })
    }
}

unsafe extern "C-unwind" fn summary_sample(state: *mut lua_State) -> c_int {
    // SAFETY: a summary's record has `SUMMARY_WORDS` words.
    unsafe {
        with_number(
            state,
            Kind::Summary,
            cell::SUMMARY_WORDS,
            "sample",
            |record, number, _| cell::samples::summary(record, number),
        )
    }
}

unsafe extern "C-unwind" fn histogram_sample(state: *mut lua_State) -> c_int {
    // SAFETY: index 2 is an argument or none.
    unsafe {
        on_metric(state, Kind::Histogram, |handle, state_of_family| {
            let family = state_of_family.family();
            let taken = match number_at(state, 2) {
                Some(number) => pure(|| cell::samples::histogram(handle.whole(family), number, &family.buckets))?,
                None => Err(Refused::NotANumber),
            };
            if let Err(why) = taken {
                refuse(state, state_of_family, "sample", why);
            }
            Ok(0)
        })
    }
}

/// Puts the metric with this record back to where it began.
pub(super) fn reset(record: &[AtomicU64], family: &FamilyState) {
    let family = family.family();
    match family.kind {
        Kind::Gauge => cell::gauge::set(record, Number::ZERO, &family.cork),
        Kind::Counter => cell::counter::reset(record),
        Kind::Histogram | Kind::Summary => cell::samples::reset(record, family.count_words()),
    }
}

unsafe fn reset_metric(state: *mut lua_State, kind: Kind) -> c_int {
    // SAFETY: a raw function's state.
    unsafe {
        on_metric(state, kind, |handle, family| {
            pure(|| reset(handle.whole(family.family()), family))?;
            Ok(0)
        })
    }
}

unsafe extern "C-unwind" fn gauge_reset(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    unsafe { reset_metric(state, Kind::Gauge) }
}

unsafe extern "C-unwind" fn counter_reset(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    unsafe { reset_metric(state, Kind::Counter) }
}

unsafe extern "C-unwind" fn samples_reset_histogram(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    unsafe { reset_metric(state, Kind::Histogram) }
}

unsafe extern "C-unwind" fn samples_reset_summary(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    unsafe { reset_metric(state, Kind::Summary) }
}
