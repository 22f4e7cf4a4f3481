//! From label values to metrics: `with_labels`, `with_partial_label`, `data:get`.

use super::block::{FamilyBlock, FamilyState};
use super::call::{bytes_at, pure, push_bytes, run, string_at, Outcome, Stop};
use super::lease::Leased;
use super::notice::{self, About};
use super::place::{place, push_handles, push_lease, push_metric, push_view, Place};
use super::{number, recent, view};
use crate::model::labels::{self, LabelSet};
use crate::model::Number;
use crate::policy::Limit;
use crate::store::Assigned;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// The upvalues of [`with_labels`] and [`get`]: the family, the values of its first keys as encoded (or nil), and the
/// table of its metrics.
const FAMILY: c_int = 1;
const PREFIX: c_int = 2;
const HANDLES_UPVALUE: c_int = 3;

/// `with_labels_of(family, prefix or nil)`: the family's `with_labels`.
pub(super) unsafe extern "C-unwind" fn with_labels_of(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    // Two upvalues more are for what it finds.
    unsafe {
        run(state, "with_labels_of", || {
            closure_over(state, with_labels, recent::KEPT)
        })
    }
}

/// `get_of(family)`: the `get` of the family's `data`.
pub(super) unsafe extern "C-unwind" fn get_of(state: *mut lua_State) -> c_int {
    // SAFETY: a raw function's state.
    unsafe { run(state, "get_of", || closure_over(state, get, HANDLES_UPVALUE)) }
}

unsafe fn closure_over(state: *mut lua_State, function: ffi::lua_CFunction, upvalues: c_int) -> Outcome {
    // SAFETY: these are pushed; the family's type is checked, which the function relies on.
    unsafe {
        ffi::lua_settop(state, 2);
        FamilyBlock::at(state, 1)?;
        let prefix = bytes_at(state, 2).unwrap_or_default();
        if !pure(|| labels::is_encoded(prefix))? {
            return Err(c"metre: label values that are encoded expected".into());
        }
        push_handles(state, FAMILY);
        ffi::lua_settop(state, upvalues);
        ffi::lua_pushcclosure(state, function, upvalues);
        Ok(1)
    }
}

/// `family:with_labels(...)`: the metric of these label values, new if there is none.
unsafe extern "C-unwind" fn with_labels(state: *mut lua_State) -> c_int {
    // SAFETY: the upvalues are those of `closure_over`.
    unsafe {
        run(state, "with_labels", || match recent::push_found(state) {
            true => Ok(1),
            false => look_up(state),
        })
    }
}

/// The same without looking at what was found lately.
unsafe fn look_up(state: *mut lua_State) -> Outcome {
    // SAFETY: the upvalues are those of `closure_over`.
    unsafe {
        let arguments = ffi::lua_gettop(state);
        let found = find(state, |family, labels| {
            let (location, placed) = family.writer.borrow_mut().find_or_create(labels)?;
            Some((place(family, location), placed))
        })?;
        let (place, placed) = found.ok_or(c"metre: no room for another series in this family")?;
        if placed != Assigned::Plainly {
            tell(state, FamilyBlock::of_call(state, FAMILY), placed);
        }
        match place.serial {
            None => {
                let handles = ffi::lua_upvalueindex(HANDLES_UPVALUE);
                push_metric(state, handles, ffi::lua_upvalueindex(FAMILY), place);
                if placed == Assigned::Plainly {
                    recent::remember(state, arguments.max(1) as usize - 1);
                }
            }
            Some(serial) => push_own_lease(state, place, serial, placed)?,
        }
        Ok(1)
    }
}

/// The label set of these values and the arguments from the second to the last one.
///
/// # Safety
/// The arguments are strings.
#[inline(always)]
unsafe fn label_set(state: *mut lua_State, prefix: &[u8], last: c_int) -> LabelSet {
    let mut set = LabelSet::new();
    set.push_encoded(prefix);
    for index in 2..=last {
        // SAFETY: the string stays on the stack.
        set.push(unsafe { string_at(state, index) });
    }
    set
}

/// Logs what became of a label set.
#[cold]
unsafe fn tell(state: *mut lua_State, family: &FamilyBlock, placed: Assigned) {
    // SAFETY: no value on the stack is named.
    unsafe {
        match placed {
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
    // SAFETY: the upvalues are those of `closure_over`.
    unsafe {
        run(state, "get", || {
            let found = find(state, |family, labels| {
                let location = family.writer.borrow().find(labels)?;
                Some(place(family, location))
            });
            let place = match found {
                Ok(Some(place)) => place,
                Err(Stop::Panicked) => return Err(Stop::Panicked),
                Ok(None) | Err(Stop::Misuse(_)) => {
                    ffi::lua_pushnil(state);
                    return Ok(1);
                }
            };
            let family = ffi::lua_upvalueindex(FAMILY);
            match place.serial {
                None => push_view(state, family, place, &[])?,
                Some(serial) => {
                    push_own_lease(state, place, serial, Assigned::Plainly)?;
                    view::wrap(state, place.kind)?;
                }
            }
            Ok(1)
        })
    }
}

/// A lease has the labels that were asked for, to find the series again. It has them from the arguments, since Lua may run
/// a finalizer meanwhile that lets the series go.
#[cold]
unsafe fn push_own_lease(state: *mut lua_State, place: Place, serial: u64, placed: Assigned) -> Result<(), Stop> {
    // SAFETY: the upvalues are those of `closure_over`; the arguments are strings by now.
    unsafe {
        let arguments = ffi::lua_gettop(state);
        let prefix = bytes_at(state, ffi::lua_upvalueindex(PREFIX)).unwrap_or_default();
        let label_bytes = match placed {
            // There will never be a series for them, and the one that they share never goes.
            Assigned::Limited(Limit::LabelBytes) => 0,
            _ => pure(|| label_set(state, prefix, arguments).as_bytes().len())?,
        };
        let of = Leased {
            location: place.location,
            serial,
            label_bytes,
            limited: matches!(placed, Assigned::Limited(limit) if limit.may_pass()),
        };
        let handles = ffi::lua_upvalueindex(HANDLES_UPVALUE);
        push_lease(state, handles, ffi::lua_upvalueindex(FAMILY), place, of, |labels| {
            let set = label_set(state, prefix, arguments);
            // The arguments are what they were.
            let length = labels.len().min(set.as_bytes().len());
            labels[..length].copy_from_slice(&set.as_bytes()[..length]);
        })
    }
}

/// Runs `look_up` with the label set that the arguments after the first are. `None` if that gave it, or at the end of
/// the state.
#[inline(always)]
unsafe fn find<T: 'static>(
    state: *mut lua_State,
    look_up: impl FnOnce(&FamilyState, &[u8]) -> Option<T>,
) -> Result<Option<T>, Stop> {
    // SAFETY: the upvalues are those of `closure_over`. `with` calls nothing that can raise: `bytes_at` doesn't.
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
                make_text(state, index, block);
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
    // SAFETY: all values stay on the stack. The string is built from pieces by Lua itself, so no buffer is alive.
    unsafe {
        run(state, "prefix", || {
            ffi::lua_settop(state, 3);
            let block = FamilyBlock::at(state, 1)?;
            if ffi::lua_type(state, 3) != ffi::LUA_TSTRING {
                make_text(state, 3, block);
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

/// Replaces the label value at `index`, which is not a string, by text. Numbers become their digits, whole ones
/// without a point, so that 1 and 1.0 are one label value as they are one key of a Lua table; nil becomes the empty
/// value; anything else what `tostring` makes of it, or the name of its type if that fails or would be an address.
#[cold]
unsafe fn make_text(state: *mut lua_State, index: c_int, block: &FamilyBlock) {
    // SAFETY: values are pushed within LUA_MINSTACK and end in the slot they replace. `tostring` runs protected.
    unsafe {
        let type_ = ffi::lua_type(state, index);
        if type_ != ffi::LUA_TNUMBER {
            notice::send(
                state,
                block,
                About::Label,
                "label value",
                Some(index),
                "is not a string",
            );
        }
        if ffi::lua_checkstack(state, 4) == 0 {
            return;
        }
        match type_ {
            ffi::LUA_TNUMBER => push_number_text(state, index),
            ffi::LUA_TBOOLEAN if ffi::lua_toboolean(state, index) != 0 => push_bytes(state, b"true"),
            ffi::LUA_TBOOLEAN => push_bytes(state, b"false"),
            ffi::LUA_TNIL => push_bytes(state, b""),
            _ if ffi::luaL_getmetafield(state, index, c"__tostring".as_ptr()) != 0 => {
                ffi::lua_pushvalue(state, index);
                let failed = ffi::lua_pcall(state, 1, 1, 0) != 0;
                if failed || ffi::lua_type(state, -1) != ffi::LUA_TSTRING {
                    ffi::lua_pop(state, 1);
                    ffi::lua_pushstring(state, ffi::lua_typename(state, type_));
                }
            }
            _ => {
                ffi::lua_pushstring(state, ffi::lua_typename(state, type_));
            }
        }
        ffi::lua_replace(state, index);
    }
}

unsafe fn push_number_text(state: *mut lua_State, index: c_int) {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    // SAFETY: text is pushed from buffers of this function, which have no destructors.
    unsafe {
        match number::number_at(state, index) {
            Some(Number::Int(n)) => push_bytes(state, itoa::Buffer::new().format(n).as_bytes()),
            Some(Number::Float(x)) if x.trunc() == x && x.abs() < TWO_63 => {
                push_bytes(state, itoa::Buffer::new().format(x as i64).as_bytes());
            }
            Some(Number::Float(x)) if x.is_finite() => push_bytes(state, ryu::Buffer::new().format(x).as_bytes()),
            Some(Number::Float(x)) if x.is_nan() => push_bytes(state, b"nan"),
            Some(Number::Float(x)) if x > 0.0 => push_bytes(state, b"inf"),
            _ => push_bytes(state, b"-inf"),
        }
    }
}
