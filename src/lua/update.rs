//! `set`, `add`, `sample` and `reset`: the calls that must cost nothing.

use super::block::{FamilyState, Handle};
use super::call::{run, Outcome, Stop};
use super::lease::Metric;
use super::notice::{self, About};
use super::number::number_at;
use super::view;
use crate::model::{Kind, Number};
use crate::store::{updates, values, Refused, Taken};
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::sync::atomic::AtomicU64;

/// An update with a number.
trait Update {
    /// The type of metric it is for.
    const KIND: Kind;
    /// Its name as a method.
    const METHOD: &'static str;
    /// The words of a record that it gets; all but those of the labels, if they are none.
    const WORDS: usize = 0;

    /// Does it.
    fn run(record: &[AtomicU64], number: Number, family: &FamilyState) -> Result<Taken, Refused>;
}

struct GaugeSet;
struct GaugeAdd;
struct CounterSet;
struct CounterAdd;
struct HistogramSample;
struct SummarySample;

impl Update for GaugeSet {
    const KIND: Kind = Kind::Gauge;
    const METHOD: &'static str = "set";
    const WORDS: usize = values::NUMBER_RECORD_WORDS;

    #[inline(always)]
    fn run(record: &[AtomicU64], to: Number, family: &FamilyState) -> Result<Taken, Refused> {
        updates::gauge::set(record, to, &family.family.cork);
        Ok(Taken::Plainly)
    }
}

impl Update for GaugeAdd {
    const KIND: Kind = Kind::Gauge;
    const METHOD: &'static str = "add";
    const WORDS: usize = values::NUMBER_RECORD_WORDS;

    #[inline(always)]
    fn run(record: &[AtomicU64], step: Number, family: &FamilyState) -> Result<Taken, Refused> {
        updates::gauge::add(record, step, &family.family.cork);
        Ok(Taken::Plainly)
    }
}

impl Update for CounterSet {
    const KIND: Kind = Kind::Counter;
    const METHOD: &'static str = "set";
    const WORDS: usize = values::NUMBER_RECORD_WORDS;

    fn run(record: &[AtomicU64], to: Number, family: &FamilyState) -> Result<Taken, Refused> {
        updates::counter::set(record, to, &family.family)
    }
}

impl Update for CounterAdd {
    const KIND: Kind = Kind::Counter;
    const METHOD: &'static str = "add";
    const WORDS: usize = values::NUMBER_RECORD_WORDS;

    #[inline(always)]
    fn run(record: &[AtomicU64], step: Number, _: &FamilyState) -> Result<Taken, Refused> {
        updates::counter::add(record, step)
    }
}

impl Update for HistogramSample {
    const KIND: Kind = Kind::Histogram;
    const METHOD: &'static str = "sample";

    #[inline(always)]
    fn run(record: &[AtomicU64], sample: Number, family: &FamilyState) -> Result<Taken, Refused> {
        updates::samples::histogram(record, sample, &family.family)
    }
}

impl Update for SummarySample {
    const KIND: Kind = Kind::Summary;
    const METHOD: &'static str = "sample";
    const WORDS: usize = values::SUMMARY_RECORD_WORDS;

    #[inline(always)]
    fn run(record: &[AtomicU64], sample: Number, family: &FamilyState) -> Result<Taken, Refused> {
        updates::samples::summary(record, sample, &family.family)
    }
}

/// Functions by the names they have as methods.
pub(super) type Methods = &'static [(&'static CStr, ffi::lua_CFunction)];

/// The updates that metrics of this type have as methods.
pub(super) fn methods(kind: Kind) -> Methods {
    match kind {
        Kind::Gauge => &[(c"set", any::<GaugeSet>), (c"add", any::<GaugeAdd>)],
        Kind::Counter => &[(c"set", any::<CounterSet>), (c"add", any::<CounterAdd>)],
        Kind::Histogram => &[(c"sample", any::<HistogramSample>)],
        Kind::Summary => &[(c"sample", any::<SummarySample>)],
    }
}

/// Those that a metric of this type has as functions of its own, with its handle and itself as upvalues.
pub(super) fn bound_methods(kind: Kind) -> Methods {
    match kind {
        Kind::Gauge => &[(c"set", bound::<GaugeSet>), (c"add", bound::<GaugeAdd>)],
        Kind::Counter => &[(c"add", bound::<CounterAdd>)],
        Kind::Histogram => &[(c"sample", bound::<HistogramSample>)],
        Kind::Summary => &[(c"sample", bound::<SummarySample>)],
    }
}

/// The metric that is the first argument: a lease, or the one behind a view.
///
/// # Safety
/// The metric is used no longer than the first argument stays where it is.
#[inline]
unsafe fn any_metric<'a>(state: *mut lua_State, kind: Kind) -> Result<Metric<'a>, Stop> {
    // SAFETY: by the contract above.
    unsafe {
        if let Some(metric) = Metric::at(state, 1, kind) {
            return Ok(metric);
        }
        // So that the handle doesn't come to stand for a missing argument.
        ffi::lua_settop(state, 2);
        view::linked_handle(state, 1, kind).ok_or_else(|| wrong_self(kind).into())
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

/// The method of a metric that has it as an element: runs the update with the number that is the second argument. What isn't
/// taken, or not like any other, is logged once.
unsafe extern "C-unwind" fn bound<U: Update>(state: *mut lua_State) -> c_int {
    // SAFETY: `bound_methods` gives it to metrics of this type only, with their handle, which the function keeps. Records of this
    // type have as many words (`cell`'s layout).
    unsafe {
        run(state, U::METHOD, || {
            let Some(handle) = Handle::of_call(state) else {
                return update_any(state, U::KIND, U::METHOD, U::run);
            };
            // This closure is used nowhere else, so that the compiler puts it here and doesn't call it: two nanoseconds.
            let taken = match number_at(state, 2) {
                Some(number) => {
                    let update = |family: &FamilyState, record: &[AtomicU64]| U::run(record, number, family);
                    match U::WORDS {
                        0 => handle.with(update)?,
                        words => handle.with_words(words, update)?,
                    }
                }
                None => Some(Err(Refused::NotANumber)),
            };
            if !matches!(taken, Some(Ok(Taken::Plainly))) {
                tell(state, Metric::Handle(handle), U::METHOD, taken);
            }
            Ok(0)
        })
    }
}

/// The same method of whatever else there is.
unsafe extern "C-unwind" fn any<U: Update>(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    unsafe { run(state, U::METHOD, || update_any(state, U::KIND, U::METHOD, U::run)) }
}

/// Runs the update for whatever metric the first argument is.
///
/// # Safety
/// A raw function's state.
#[inline(never)]
unsafe fn update_any(
    state: *mut lua_State,
    kind: Kind,
    method: &'static str,
    update: fn(&[AtomicU64], Number, &FamilyState) -> Result<Taken, Refused>,
) -> Outcome {
    // SAFETY: the metric stays the first argument.
    unsafe {
        let metric = any_metric(state, kind)?;
        let taken = match number_at(state, 2) {
            Some(number) => metric.update(|family, record| {
                let taken = update(record, number, family);
                if let ("sample", Ok(taken)) = (method, taken) {
                    updates::samples::into_window(record, number, taken, &family.family);
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
    // SAFETY: the metric is there until `notice::send` has called Lua, and isn't used any more then. A missing second argument
    // is nil.
    unsafe {
        ffi::lua_settop(state, 2);
        match taken {
            Some(Err(why)) => notice::refused(state, metric.family(), method, 2, why),
            Some(Ok(Taken::Clamped)) => {
                let why =
                    "is negative and counts as 0, since neither times nor sizes are; allow_negative in a rule keeps it";
                notice::send(state, metric.family(), About::Clamped, method, Some(2), why);
            }
            Some(Ok(Taken::FirstNegative)) => notice::without_sum(state, metric, method, 2),
            Some(Ok(Taken::Plainly)) | None => {}
        }
    }
}

/// Puts the metric with this record back to where it began.
pub(super) fn reset(family: &FamilyState, record: &[AtomicU64]) {
    let family = &family.family;
    match family.kind {
        Kind::Gauge => updates::gauge::set(record, Number::ZERO, &family.cork),
        Kind::Counter => updates::counter::reset(record, family),
        Kind::Histogram | Kind::Summary => updates::samples::reset(record, family),
    }
}

/// `reset()` of metrics of this type.
pub(super) fn reset_of(kind: Kind) -> ffi::lua_CFunction {
    for_kind!(kind, reset_metric)
}

unsafe extern "C-unwind" fn reset_metric<const KIND: usize>(state: *mut lua_State) -> c_int {
    // SAFETY: the metric stays the first argument.
    unsafe {
        run(state, "reset", || {
            let kind = Kind::ALL[KIND];
            match Metric::at(state, 1, kind) {
                Some(metric) => metric.update(reset)?,
                None => any_metric(state, kind)?.update(reset)?,
            };
            Ok(0)
        })
    }
}
