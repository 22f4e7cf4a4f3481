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

/// Functions by the names they have as methods.
pub(super) type Methods = &'static [(&'static CStr, ffi::lua_CFunction)];

/// The methods of a type, for views and leases.
pub(super) fn methods(kind: Kind) -> Methods {
    match kind {
        Kind::Gauge => &[
            (c"set", gauge_set::<false>),
            (c"add", gauge_add::<false>),
            (c"reset", reset_metric::<0>),
        ],
        Kind::Counter => &[
            (c"set", counter_set),
            (c"add", counter_add::<false>),
            (c"reset", reset_metric::<1>),
        ],
        Kind::Histogram => &[(c"sample", histogram_sample::<false>), (c"reset", reset_metric::<2>)],
        Kind::Summary => &[(c"sample", summary_sample::<false>), (c"reset", reset_metric::<3>)],
    }
}

/// Those that a metric has as functions of its own, with its handle as an upvalue.
pub(super) fn bound_methods(kind: Kind) -> Methods {
    match kind {
        Kind::Gauge => &[(c"set", gauge_set::<true>), (c"add", gauge_add::<true>)],
        Kind::Counter => &[(c"add", counter_add::<true>)],
        Kind::Histogram => &[(c"sample", histogram_sample::<true>)],
        Kind::Summary => &[(c"sample", summary_sample::<true>)],
    }
}

/// Whether this is one of those.
pub(super) fn is_bound(function: Option<ffi::lua_CFunction>) -> bool {
    let bound = Kind::ALL.into_iter().flat_map(bound_methods);
    function.is_some_and(|function| {
        bound
            .into_iter()
            .any(|(_, other)| std::ptr::fn_addr_eq(function, *other))
    })
}

/// The metric that is the first argument: a lease, or the one behind a view.
///
/// # Safety
/// The metric is used no longer than the first argument stays where it is.
#[cold]
unsafe fn any_metric<'a>(state: *mut lua_State, kind: Kind) -> Result<Metric<'a>, &'static CStr> {
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
/// first one. What isn't taken, or not like any other, is logged once. `BOUND` says that the function has a handle as an upvalue.
///
/// # Safety
/// The records of this type have as many words. If it is bound, the function was made with a handle of this type.
#[inline(always)]
unsafe fn with_number<const BOUND: bool>(
    state: *mut lua_State,
    kind: Kind,
    words: usize,
    method: &'static str,
    update: impl Fn(&[AtomicU64], Number, &FamilyState) -> Result<Taken, Refused> + Copy,
) -> c_int {
    // SAFETY: by the contract above; the handle's function keeps it.
    unsafe {
        run(state, || {
            let handle = if BOUND { Handle::of_call(state) } else { None };
            let Some(handle) = handle else {
                return with_any(state, kind, method, update);
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

/// The same for whatever else the first argument is. Apart, so that most calls pay nothing for it.
///
/// # Safety
/// A raw function's state.
#[cold]
#[inline(never)]
unsafe fn with_any(
    state: *mut lua_State,
    kind: Kind,
    method: &'static str,
    update: impl Fn(&[AtomicU64], Number, &FamilyState) -> Result<Taken, Refused>,
) -> Outcome {
    // SAFETY: the metric stays the first argument.
    unsafe {
        let metric = any_metric(state, kind)?;
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

unsafe extern "C-unwind" fn gauge_set<const BOUND: bool>(state: *mut lua_State) -> c_int {
    // SAFETY: a gauge's record has `VALUE_WORDS` words, and it is bound to gauges.
    unsafe { with_number::<BOUND>(state, Kind::Gauge, cell::VALUE_WORDS, "set", set_gauge) }
}

unsafe extern "C-unwind" fn gauge_add<const BOUND: bool>(state: *mut lua_State) -> c_int {
    // SAFETY: a gauge's record has `VALUE_WORDS` words, and it is bound to gauges.
    unsafe { with_number::<BOUND>(state, Kind::Gauge, cell::VALUE_WORDS, "add", add_to_gauge) }
}

unsafe extern "C-unwind" fn counter_add<const BOUND: bool>(state: *mut lua_State) -> c_int {
    // SAFETY: a counter's record has `VALUE_WORDS` words, and it is bound to counters.
    unsafe { with_number::<BOUND>(state, Kind::Counter, cell::VALUE_WORDS, "add", add_to_counter) }
}

unsafe extern "C-unwind" fn counter_set(state: *mut lua_State) -> c_int {
    // SAFETY: it isn't bound.
    unsafe { with_number::<false>(state, Kind::Counter, cell::VALUE_WORDS, "set", set_counter) }
}

unsafe extern "C-unwind" fn summary_sample<const BOUND: bool>(state: *mut lua_State) -> c_int {
    // SAFETY: a summary's record has `SUMMARY_WORDS` words, and it is bound to summaries.
    unsafe { with_number::<BOUND>(state, Kind::Summary, cell::SUMMARY_WORDS, "sample", sample_summary) }
}

unsafe extern "C-unwind" fn histogram_sample<const BOUND: bool>(state: *mut lua_State) -> c_int {
    // SAFETY: it is bound to histograms.
    unsafe { with_number::<BOUND>(state, Kind::Histogram, WHOLE, "sample", sample_histogram) }
}

#[inline(always)]
fn set_gauge(record: &[AtomicU64], to: Number, family: &FamilyState) -> Result<Taken, Refused> {
    cell::gauge::set(record, to, &family.family.cork);
    Ok(Taken::Plainly)
}

#[inline(always)]
fn add_to_gauge(record: &[AtomicU64], step: Number, family: &FamilyState) -> Result<Taken, Refused> {
    cell::gauge::add(record, step, &family.family.cork);
    Ok(Taken::Plainly)
}

#[inline(always)]
fn add_to_counter(record: &[AtomicU64], step: Number, _: &FamilyState) -> Result<Taken, Refused> {
    cell::counter::add(record, step)
}

fn set_counter(record: &[AtomicU64], to: Number, family: &FamilyState) -> Result<Taken, Refused> {
    cell::counter::set(record, to, &family.family)
}

#[inline(always)]
fn sample_summary(record: &[AtomicU64], sample: Number, _: &FamilyState) -> Result<Taken, Refused> {
    cell::samples::summary(record, sample)
}

#[inline(always)]
fn sample_histogram(record: &[AtomicU64], sample: Number, family: &FamilyState) -> Result<Taken, Refused> {
    cell::samples::histogram(record, sample, &family.family)
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
                None => any_metric(state, kind)?.update(reset)?,
            };
            Ok(0)
        })
    }
}
