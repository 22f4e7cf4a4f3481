//! `set`, `add`, `sample` and `reset`: the calls that must cost nothing.

use super::block::{FamilyState, Handle};
use super::call::{run, Outcome};
use super::lease::Metric;
use super::notice::{self, About};
use super::number::number_at;
use super::view;
use crate::model::{Kind, Number};
use crate::store::{cell, Refused, Taken};
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::sync::atomic::AtomicU64;

/// The methods of a type and the functions behind them.
pub(super) fn methods(kind: Kind) -> &'static [(&'static CStr, ffi::lua_CFunction)] {
    match kind {
        Kind::Gauge => &[(c"set", gauge_set), (c"add", gauge_add), (c"reset", reset_metric::<0>)],
        Kind::Counter => &[
            (c"set", counter_set),
            (c"add", counter_add),
            (c"reset", reset_metric::<1>),
        ],
        Kind::Histogram => &[(c"sample", histogram_sample), (c"reset", reset_metric::<2>)],
        Kind::Summary => &[(c"sample", summary_sample), (c"reset", reset_metric::<3>)],
    }
}

/// The metric that is the first argument, if it is none of the handles that most are: a lease, or the one behind a view.
///
/// # Safety
/// The metric is used no longer than the first argument stays where it is.
#[cold]
unsafe fn other_metric<'a>(state: *mut lua_State, kind: Kind) -> Result<Metric<'a>, &'static CStr> {
    // SAFETY: by the contract above.
    unsafe {
        if let Some(metric) = Metric::at(state, 1, kind) {
            return Ok(metric);
        }
        // So that the handle doesn't come to stand for a missing argument.
        ffi::lua_settop(state, 2);
        view::linked_handle(state, 1, kind).ok_or_else(|| wrong_self(kind))
    }
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

/// All words of a record but those of the labels.
const WHOLE: usize = 0;

/// Runs `update` with the number that is the second argument, on the first `words` words of the metric that is the
/// first one. What isn't taken, or not like any other, is logged once.
///
/// # Safety
/// The records of this type have as many words.
#[inline(always)]
unsafe fn with_number(
    state: *mut lua_State,
    kind: Kind,
    words: usize,
    method: &'static str,
    update: impl FnOnce(&[AtomicU64], Number, &FamilyState) -> Result<Taken, Refused>,
) -> c_int {
    // SAFETY: by the contract above; the metric stays the first argument.
    unsafe {
        run(state, || {
            let Some(handle) = Handle::at(state, 1, kind) else {
                return with_other(state, kind, method, update);
            };
            let taken = match number_at(state, 2) {
                Some(number) => {
                    let update = |family: &FamilyState, record: &[AtomicU64]| update(record, number, family);
                    match words {
                        WHOLE => handle.with(update)?,
                        words => handle.with_words(words, update)?,
                    }
                }
                None => Some(Err(Refused::NotANumber)),
            };
            if !matches!(taken, Some(Ok(Taken::Plainly))) {
                tell(state, Metric::Handle(handle), method, taken);
            }
            Ok(0)
        })
    }
}

/// The same where the first argument is none of the handles that most are. Apart, so that those pay nothing for it.
///
/// # Safety
/// A raw function's state.
#[cold]
#[inline(never)]
unsafe fn with_other(
    state: *mut lua_State,
    kind: Kind,
    method: &'static str,
    update: impl FnOnce(&[AtomicU64], Number, &FamilyState) -> Result<Taken, Refused>,
) -> Outcome {
    // SAFETY: the metric stays the first argument.
    unsafe {
        let metric = other_metric(state, kind)?;
        let taken = match number_at(state, 2) {
            Some(number) => metric.update(|family, record| {
                let taken = update(record, number, family);
                if method == "sample" && taken.is_ok() {
                    cell::samples::into_window(record, number, &family.family);
                }
                taken
            })?,
            None => Some(Err(Refused::NotANumber)),
        };
        if !matches!(taken, Some(Ok(Taken::Plainly))) {
            tell(state, metric, method, taken);
        }
        Ok(0)
    }
}

/// Logs what became of the second argument.
///
/// # Safety
/// A raw function's state.
#[cold]
unsafe fn tell(state: *mut lua_State, metric: Metric<'_>, method: &'static str, taken: Option<Result<Taken, Refused>>) {
    // SAFETY: the first argument keeps the handle, whatever else goes; a missing second one is nil.
    unsafe {
        ffi::lua_settop(state, 2);
        match taken {
            Some(Err(why)) => notice::refused(state, metric.family(), method, 2, why),
            Some(Ok(Taken::FirstNegative)) => {
                let why = "is negative, so the page no longer has its sum and count";
                notice::send(state, metric.family(), About::Negative, method, Some(2), why);
            }
            Some(Ok(Taken::Plainly)) | None => {}
        }
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
                cell::gauge::set(record, number, &family.family.cork);
                Ok(Taken::Plainly)
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
                cell::gauge::add(record, number, &family.family.cork);
                Ok(Taken::Plainly)
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
        with_number(
            state,
            Kind::Counter,
            cell::VALUE_WORDS,
            "set",
            |record, number, family| cell::counter::set(record, number, &family.family),
        )
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
    // SAFETY: a raw function's state.
    unsafe {
        with_number(state, Kind::Histogram, WHOLE, "sample", |record, number, family| {
            cell::samples::histogram(record, number, &family.family)
        })
    }
}

/// Puts the metric with this record back to where it began.
pub(super) fn reset(family: &FamilyState, record: &[AtomicU64]) {
    let family = &family.family;
    match family.kind {
        Kind::Gauge => cell::gauge::set(record, Number::ZERO, &family.cork),
        Kind::Counter => cell::counter::reset(record, family),
        Kind::Histogram | Kind::Summary => cell::samples::reset(record, family),
    }
}

unsafe extern "C-unwind" fn reset_metric<const KIND: usize>(state: *mut lua_State) -> c_int {
    // SAFETY: the metric stays the first argument.
    unsafe {
        run(state, || {
            let kind = Kind::ALL[KIND];
            match Metric::at(state, 1, kind) {
                Some(metric) => metric.update(reset)?,
                None => other_metric(state, kind)?.update(reset)?,
            };
            Ok(0)
        })
    }
}
