//! From label values to metrics: `with_labels`, `with_partial_label`, `data:get`.

use super::block::{FamilyBlock, FamilyContent};
use super::call::{pure, run, Outcome, Stop};
use super::lease::Leased;
use super::notice::{self, About};
use super::objects::{push_lease, push_metric, push_metrics, push_view, Series};
use super::text::{bytes_at, push_bytes, string_at};
use super::{label_text, recent, view};
use crate::model::labels::{self, LabelSet};
use crate::policy::Limit;
use crate::store::Assigned;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// The upvalues of [`with_labels`] and [`get`]: the family, the values of its first keys as encoded (or nil), and the
/// table of its metrics.
const FAMILY: c_int = 1;
const PREFIX: c_int = 2;
const METRICS: c_int = 3;

/// `with_labels_of(family, prefix or nil)`: the family's `with_labels`.
pub(super) unsafe extern "C-unwind" fn with_labels_of(state: *mut lua_State) -> c_int {
    // SAFETY: nothing has been done to the stack. `with_labels` has two more upvalues, for what it finds, which are
    // nil.
    unsafe {
        run(state, "with_labels_of", || {
            closure_over(state, with_labels, recent::KEPT)
        })
    }
}

/// `get_of(family)`: the `get` of the family's `data`.
pub(super) unsafe extern "C-unwind" fn get_of(state: *mut lua_State) -> c_int {
    // SAFETY: nothing has been done to the stack.
    unsafe { run(state, "get_of", || closure_over(state, get, METRICS)) }
}

/// The function, with the upvalues that [`FAMILY`] and the others name, and nil for what is above them.
///
/// # Safety
/// The stack has the arguments alone, and nothing with a destructor is alive.
unsafe fn closure_over(state: *mut lua_State, function: ffi::lua_CFunction, upvalues: c_int) -> Outcome {
    // SAFETY:
    // - There are two values, and the table of metrics becomes the third. So the upvalues are what their constants say.
    // - The first one is a family's block, and the prefix nil or whole label values, which the function relies on. It
    //   stays on the stack while its bytes are looked at.
    unsafe {
        ffi::lua_settop(state, 2);
        FamilyBlock::at(state, 1)?;
        let prefix = bytes_at(state, 2).unwrap_or_default();
        if !pure(|| labels::is_encoded(prefix))? {
            return Err(c"metre: label values that are encoded expected".into());
        }
        push_metrics(state, FAMILY);
        ffi::lua_settop(state, upvalues);
        ffi::lua_pushcclosure(state, function, upvalues);
        Ok(1)
    }
}

/// `family:with_labels(...)`: the metric of these label values, new if there is none.
unsafe extern "C-unwind" fn with_labels(state: *mut lua_State) -> c_int {
    // SAFETY: `closure_over` has made the upvalues, and nothing with a destructor is alive.
    unsafe {
        run(state, "with_labels", || match recent::push_found(state) {
            true => Ok(1),
            false => look_up(state),
        })
    }
}

/// [`with_labels`] without looking at what was found lately.
///
/// # Safety
/// - The function that runs is `with_labels`.
/// - The stack has the arguments alone, and nothing with a destructor is alive.
unsafe fn look_up(state: *mut lua_State) -> Outcome {
    // SAFETY:
    // - Upvalues have absolute indices. They are the family's block, which the series is one of, and the table of its
    //   metrics.
    // - `find` has made strings of all arguments, as many as there are label names. `tell` leaves the stack as it was.
    // - A family without serial numbers has no leases.
    unsafe {
        let arguments = ffi::lua_gettop(state);
        let found = find(state, |family, labels| {
            let (location, assigned) = family.writer.borrow_mut().find_or_create(labels)?;
            Some((Series::at(family, location), assigned))
        })?;
        let (series, assigned) = found.ok_or(c"metre: no room for another series in this family")?;
        if assigned != Assigned::Plainly {
            tell(state, FamilyBlock::of_call(state, FAMILY), assigned);
        }
        match series.serial {
            None => {
                let metrics = ffi::lua_upvalueindex(METRICS);
                push_metric(state, metrics, ffi::lua_upvalueindex(FAMILY), series);
                if assigned == Assigned::Plainly {
                    recent::remember(state, arguments.max(1) as usize - 1);
                }
            }
            Some(serial) => push_own_lease(state, series, serial, assigned)?,
        }
        Ok(1)
    }
}

/// The label set of these values and the arguments from the second to the last one.
///
/// # Safety
/// All arguments from the second to the last one are strings.
#[inline(always)]
unsafe fn label_set(state: *mut lua_State, prefix: &[u8], last: c_int) -> LabelSet {
    let mut set = LabelSet::new();
    set.push_encoded(prefix);
    for index in 2..=last {
        // SAFETY: by the contract above; the string is on the stack while it is copied.
        set.push(unsafe { string_at(state, index) });
    }
    set
}

/// Logs what became of a label set.
///
/// # Safety
/// Nothing with a destructor is alive, and `family` is referred to while Lua runs, or not used any more then.
#[cold]
unsafe fn tell(state: *mut lua_State, family: &FamilyBlock, assigned: Assigned) {
    // SAFETY: by the contract above; no index is given.
    unsafe {
        match assigned {
            Assigned::Plainly => {}
            Assigned::Repaired => {
                notice::send(state, family, About::Label, "a label value", None, "is not valid UTF-8")
            }
            Assigned::Limited(limit) => {
                notice::send(
                    state,
                    family,
                    About::Limit(limit),
                    "new label sets",
                    None,
                    limit.meaning(),
                );
            }
        }
    }
}

/// `family.data:get(...)`: the metric of these label values to read, nil if there is none.
unsafe extern "C-unwind" fn get(state: *mut lua_State) -> c_int {
    // SAFETY:
    // - `closure_over` has made the upvalues; the family's is an absolute index.
    // - A view without a serial number needs no labels.
    // - The lease that is pushed is on top when it is wrapped.
    unsafe {
        run(state, "get", || {
            let found = find(state, |family, labels| {
                let location = family.writer.borrow().find(labels)?;
                Some(Series::at(family, location))
            });
            let series = match found {
                Ok(Some(series)) => series,
                Err(Stop::Panicked) => return Err(Stop::Panicked),
                Ok(None) | Err(Stop::Misuse(_)) => {
                    ffi::lua_pushnil(state);
                    return Ok(1);
                }
            };
            let family = ffi::lua_upvalueindex(FAMILY);
            match series.serial {
                None => push_view(state, family, series, &[])?,
                Some(serial) => {
                    push_own_lease(state, series, serial, Assigned::Plainly)?;
                    view::wrap(state, series.kind)?;
                }
            }
            Ok(1)
        })
    }
}

/// Pushes the lease of a series with the labels that were asked for, to find the series again. It has them from the
/// arguments, since Lua may run a finalizer meanwhile that lets the series go.
///
/// # Safety
/// - The function that runs is one that `closure_over` has made, and the series is one of the family that it has.
/// - The stack has the arguments alone. All but the first one are strings.
/// - There is room for four values, and nothing with a destructor is alive.
#[cold]
unsafe fn push_own_lease(state: *mut lua_State, series: Series, serial: u64, assigned: Assigned) -> Result<(), Stop> {
    // SAFETY:
    // - The upvalues are the family's block and the table of its metrics.
    // - The prefix is an upvalue, and the arguments stay on the stack: so all of them are there when the labels are
    //   written.
    // - The label sets live in `pure` alone.
    unsafe {
        let arguments = ffi::lua_gettop(state);
        let prefix = bytes_at(state, ffi::lua_upvalueindex(PREFIX)).unwrap_or_default();
        let label_bytes = match assigned {
            // There will never be a series for them, and the one that they share never goes.
            Assigned::Limited(Limit::LabelBytes) => 0,
            _ => pure(|| label_set(state, prefix, arguments).as_bytes().len())?,
        };
        let of = Leased {
            location: series.location,
            serial,
            label_bytes,
            limited: matches!(assigned, Assigned::Limited(limit) if limit.may_pass()),
        };
        let metrics = ffi::lua_upvalueindex(METRICS);
        push_lease(state, metrics, ffi::lua_upvalueindex(FAMILY), series, of, |labels| {
            let set = label_set(state, prefix, arguments);
            // The arguments are what they were.
            let length = labels.len().min(set.as_bytes().len());
            labels[..length].copy_from_slice(&set.as_bytes()[..length]);
        })
    }
}

/// Runs `look_up` with the label set that the arguments after the first are, which it makes strings. `None` if
/// `look_up` gave that, or at the end of the state.
///
/// # Safety
/// - The function that runs is one that `closure_over` has made.
/// - The stack has the arguments alone, and nothing with a destructor is alive.
/// - `look_up` calls nothing in Lua.
#[inline(always)]
unsafe fn find<T: 'static>(
    state: *mut lua_State,
    look_up: impl FnOnce(&FamilyContent, &[u8]) -> Option<T>,
) -> Result<Option<T>, Stop> {
    // SAFETY:
    // - The family's block and the prefix are upvalues, which the function keeps whatever Lua code `make_text` runs.
    // - All arguments are strings when the label set is made of them: that code doesn't get at this function's stack.
    // - The label set, which has a destructor, lives in `with` alone, where nothing can raise: `string_at` doesn't.
    unsafe {
        let block = FamilyBlock::of_call(state, FAMILY);
        let prefix = bytes_at(state, ffi::lua_upvalueindex(PREFIX)).unwrap_or_default();
        let top = ffi::lua_gettop(state);
        let missing = block
            .with(|family| {
                let keys = family.family.label_names.len();
                keys.wrapping_sub(labels::values(prefix).count())
            })?
            .ok_or(c"metre: the Lua state is closing")?;
        if usize::try_from(top - 1).unwrap_or(0) != missing {
            return Err(c"number of labels passed to with_labels does not match number of label keys".into());
        }
        for index in 2..=top {
            if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
                label_text::make_text(state, index, block);
                if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
                    return Err(c"metre: no room on the stack for the text of a label value".into());
                }
            }
        }
        let found = block.with(|family| {
            let set = label_set(state, prefix, top);
            look_up(family, set.as_bytes())
        })?;
        Ok(found.flatten())
    }
}

/// `prefix(family, prefix or nil, value)`: the encoded prefix with one more value.
pub(super) unsafe extern "C-unwind" fn prefix(state: *mut lua_State) -> c_int {
    // SAFETY:
    // - The block and the value are on the stack, where they stay while they are used.
    // - The string is built by Lua from three pieces on the stack, so nothing with a destructor is alive. What is no
    //   text there, as `make_text` had no room, raises an error.
    unsafe {
        run(state, "prefix", || {
            ffi::lua_settop(state, 3);
            let block = FamilyBlock::at(state, 1)?;
            if ffi::lua_type(state, 3) != ffi::LUA_TSTRING {
                label_text::make_text(state, 3, block);
            }
            if ffi::lua_type(state, 2) != ffi::LUA_TSTRING {
                push_bytes(state, b"");
                ffi::lua_replace(state, 2);
            }
            let value = bytes_at(state, 3).unwrap_or_default();
            let (length, used) = pure(|| labels::length_prefix(value.len()))?;
            push_bytes(state, length.get(..used).unwrap_or_default());
            ffi::lua_insert(state, 3);
            ffi::lua_concat(state, 3);
            Ok(1)
        })
    }
}
