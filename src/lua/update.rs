//! `set`, `add`, `sample` and `reset`: the calls that must cost nothing.

use super::block::FamilyContent;
use super::call::{run, Outcome, Stop};
use super::handle::Handle;
use super::link::linked;
use super::metric::Metric;
use super::notice::{self, About};
use super::number::number_at;
use super::preconditions::room;
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
    /// How many words of a record it gets; 0 for all but those of the labels.
    const WORDS: usize = 0;

    /// Whether the number is a sample, which the window of quantiles gets as well.
    const IS_SAMPLE: bool = false;

    /// Updates the record.
    fn run(record: &[AtomicU64], number: Number, family: &FamilyContent) -> Result<Taken, Refused>;
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
    fn run(record: &[AtomicU64], to: Number, family: &FamilyContent) -> Result<Taken, Refused> {
        updates::gauge::set(record, to, &family.family.cork);
        Ok(Taken::Plainly)
    }
}

impl Update for GaugeAdd {
    const KIND: Kind = Kind::Gauge;
    const METHOD: &'static str = "add";
    const WORDS: usize = values::NUMBER_RECORD_WORDS;

    #[inline(always)]
    fn run(record: &[AtomicU64], step: Number, family: &FamilyContent) -> Result<Taken, Refused> {
        updates::gauge::add(record, step, &family.family.cork);
        Ok(Taken::Plainly)
    }
}

impl Update for CounterSet {
    const KIND: Kind = Kind::Counter;
    const METHOD: &'static str = "set";
    const WORDS: usize = values::NUMBER_RECORD_WORDS;

    fn run(record: &[AtomicU64], to: Number, family: &FamilyContent) -> Result<Taken, Refused> {
        updates::counter::set(record, to, &family.family)
    }
}

impl Update for CounterAdd {
    const KIND: Kind = Kind::Counter;
    const METHOD: &'static str = "add";
    const WORDS: usize = values::NUMBER_RECORD_WORDS;

    #[inline(always)]
    fn run(record: &[AtomicU64], step: Number, _: &FamilyContent) -> Result<Taken, Refused> {
        updates::counter::add(record, step)
    }
}

impl Update for HistogramSample {
    const KIND: Kind = Kind::Histogram;
    const METHOD: &'static str = "sample";
    const IS_SAMPLE: bool = true;

    #[inline(always)]
    fn run(record: &[AtomicU64], sample: Number, family: &FamilyContent) -> Result<Taken, Refused> {
        updates::samples::histogram(record, sample, &family.family)
    }
}

impl Update for SummarySample {
    const KIND: Kind = Kind::Summary;
    const METHOD: &'static str = "sample";
    const IS_SAMPLE: bool = true;
    const WORDS: usize = values::SUMMARY_RECORD_WORDS;

    #[inline(always)]
    fn run(record: &[AtomicU64], sample: Number, family: &FamilyContent) -> Result<Taken, Refused> {
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

/// The updates that a metric of this type has as functions of its own, with its handle and itself as upvalues.
pub(super) fn bound_methods(kind: Kind) -> Methods {
    match kind {
        Kind::Gauge => &[(c"set", bound::<GaugeSet>), (c"add", bound::<GaugeAdd>)],
        Kind::Counter => &[(c"add", bound::<CounterAdd>)],
        Kind::Histogram => &[(c"sample", bound::<HistogramSample>)],
        Kind::Summary => &[(c"sample", bound::<SummarySample>)],
    }
}

/// The metric that is the first argument, or the one behind a table that is.
///
/// # Safety
/// - There is room for three values.
/// - The metric is used no longer than the first argument and what this pushes stay on the stack.
#[inline]
unsafe fn any_metric<'a>(state: *mut lua_State, kind: Kind) -> Result<Metric<'a>, Stop> {
    // SAFETY: by the contract above.
    unsafe {
        room(state, 3);
        if let Some(metric) = Metric::at(state, 1, kind) {
            return Ok(metric);
        }
        // So that the userdata doesn't come to stand for a missing argument.
        ffi::lua_settop(state, 2);
        linked(state, 1, kind).ok_or_else(|| wrong_self(kind).into())
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

/// The method of a metric that has it as an element: runs the update with the number that is the second argument. A
/// value that isn't taken, or not plainly, is logged once.
unsafe extern "C-unwind" fn bound<U: Update>(state: *mut lua_State) -> c_int {
    // SAFETY:
    // - Only metrics of the type `U::KIND` have this function, by `bound_methods`, with their handle and themselves as
    //   upvalues.
    // - Records of this type have `U::WORDS` words or more, by the layout that the constant is taken from.
    // - A number has no destructor, so the metric is the only thing alive when Lua is called, and it is an upvalue's.
    unsafe {
        run(state, U::METHOD, || {
            let Some(handle) = Handle::of_call(state, U::KIND) else {
                return update_any::<U>(state);
            };
            // This closure is used nowhere else, so that the compiler puts it here and doesn't call it: two
            // nanoseconds.
            let taken = match number_at(state, 2) {
                Some(number) => {
                    let update = |family: &FamilyContent, record: &[AtomicU64]| U::run(record, number, family);
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

/// The method of handles, leases and views.
unsafe extern "C-unwind" fn any<U: Update>(state: *mut lua_State) -> c_int {
    // SAFETY: nothing has been done to the stack.
    unsafe { run(state, U::METHOD, || update_any::<U>(state)) }
}

/// Runs the update for whatever metric the first argument is.
///
/// # Safety
/// The stack has the arguments alone, and nothing with a destructor is alive.
#[inline(never)]
unsafe fn update_any<U: Update>(state: *mut lua_State) -> Outcome {
    // SAFETY: the metric's userdata is the first argument, or where `any_metric` leaves it, above the second one. There
    // it stays.
    unsafe {
        let metric = any_metric(state, U::KIND)?;
        let taken = match number_at(state, 2) {
            Some(number) => run_any::<U>(metric, number)?,
            None => Some(Err(Refused::NotANumber)),
        };
        if !matches!(taken, Some(Ok(Taken::Plainly))) {
            tell(state, metric, U::METHOD, taken);
        }
        Ok(0)
    }
}

/// Runs the update for whatever kind of metric.
fn run_any<U: Update>(metric: Metric<'_>, number: Number) -> Result<Option<Result<Taken, Refused>>, Stop> {
    metric.update(|family, record| {
        let taken = U::run(record, number, family);
        if let (true, Ok(taken)) = (U::IS_SAMPLE, taken) {
            updates::samples::into_window(record, number, taken, &family.family);
        }
        taken
    })
}

/// Puts a sample into a histogram as its method does, but says nothing of one that isn't taken plainly.
#[inline(always)]
pub(super) fn sample(metric: Metric<'_>, sample: Number) -> Result<(), Stop> {
    match metric {
        Metric::Handle(handle) => handle
            .with(|family, record| HistogramSample::run(record, sample, family).is_ok())
            .map(drop),
        Metric::Lease(_) => run_any::<HistogramSample>(metric, sample).map(drop),
    }
}

/// Logs what became of the second argument.
///
/// # Safety
/// - The first argument is there, and the metric's userdata is on the stack or an upvalue.
/// - There is room for one value, and nothing with a destructor is alive.
#[cold]
unsafe fn tell(state: *mut lua_State, metric: Metric<'_>, method: &'static str, taken: Option<Result<Taken, Refused>>) {
    // SAFETY: there is a second value, nil if the argument is missing, so its index is an absolute one.
    unsafe {
        if ffi::lua_gettop(state) < 2 {
            ffi::lua_settop(state, 2);
        }
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
pub(super) fn reset(family: &FamilyContent, record: &[AtomicU64]) {
    let family = &family.family;
    match family.kind {
        Kind::Gauge => updates::gauge::set(record, Number::ZERO, &family.cork),
        Kind::Counter => updates::counter::reset(record, family),
        Kind::Histogram | Kind::Summary => updates::samples::reset(record, family),
    }
}

/// The function that is `reset` of metrics of this type.
pub(super) fn reset_of(kind: Kind) -> ffi::lua_CFunction {
    for_kind!(kind, reset_metric)
}

unsafe extern "C-unwind" fn reset_metric<const KIND: usize>(state: *mut lua_State) -> c_int {
    // SAFETY: the metric's userdata is the first argument, or where `any_metric` leaves it.
    unsafe {
        run(state, "reset", || {
            let kind = Kind::ALL[KIND];
            any_metric(state, kind)?.update(reset)?;
            Ok(0)
        })
    }
}
