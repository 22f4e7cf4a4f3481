//! `metric:iter_samples()`: what a metric would put on a page, in that order.

use super::block::Handle;
use super::call::{contained, push_bytes};
use super::{number, view};
use crate::model::Kind;
use crate::store::{cell, Family};
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;
use std::sync::atomic::AtomicU64;

/// The function for metrics of a type.
pub(super) fn iter_samples_of(kind: Kind) -> ffi::lua_CFunction {
    match kind {
        Kind::Gauge => iter_samples::<0>,
        Kind::Counter => iter_samples::<1>,
        Kind::Histogram => iter_samples::<2>,
        Kind::Summary => iter_samples::<3>,
    }
}

/// Returns an iterator and the metric. The iterator's upvalues are the handle and the number of the last sample.
unsafe extern "C-unwind" fn iter_samples<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: the handle is pushed and becomes an upvalue.
    unsafe {
        contained(state, || {
            ffi::lua_settop(state, 1);
            match Handle::at(state, 1, kind) {
                Some(_) => ffi::lua_pushvalue(state, 1),
                None => {
                    view::linked_handle(state, 1, kind)
                        .ok_or(c"metre: a metric expected; call iter_samples with ':'")?;
                }
            }
            number::push_integer(state, 0);
            ffi::lua_pushcclosure(state, next::<KIND>, 2);
            ffi::lua_pushvalue(state, 1);
            Ok(2)
        })
    }
}

/// `suffix, extra labels or nil, value` of the next sample.
unsafe extern "C-unwind" fn next<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: the handle is an upvalue, so it lives throughout.
    unsafe {
        contained(state, || {
            let handle = Handle::at(state, ffi::lua_upvalueindex(1), kind).ok_or(c"metre: a metric expected")?;
            let counter = ffi::lua_upvalueindex(2);
            let step = ffi::lua_tointegerx(state, counter, std::ptr::null_mut()) as usize;
            number::push_integer(state, step as i64 + 1);
            ffi::lua_replace(state, counter);
            let pushed = handle.state().is_some_and(|content| {
                let family = content.family();
                push_sample(state, family, handle.whole(family), step)
            });
            if !pushed {
                ffi::lua_pushnil(state);
                return Ok(1);
            }
            Ok(3)
        })
    }
}

/// Pushes the three values of the sample with this number, counted from 0; false if there are no more.
unsafe fn push_sample(state: *mut lua_State, family: &Family, record: &[AtomicU64], step: usize) -> bool {
    let buckets = family.buckets.as_slice();
    // SAFETY: there is room for the three values and the two of a bucket's label.
    unsafe {
        let plain = |suffix: &str| {
            push_bytes(state, suffix.as_bytes());
            ffi::lua_pushnil(state);
        };
        match (family.kind, step) {
            (Kind::Gauge, 0) => {
                plain("");
                number::push(state, cell::gauge::value(record));
            }
            (Kind::Counter, 0) => {
                plain("_total");
                number::push(state, cell::counter::value(record));
            }
            (Kind::Histogram, step) if step < buckets.len() => {
                push_bytes(state, b"_bucket");
                ffi::lua_createtable(state, 0, 1);
                push_bytes(state, buckets[step].le.as_bytes());
                ffi::lua_setfield(state, -2, c"le".as_ptr());
                number::push_count(state, cell::samples::count(record, step + 1));
            }
            // Gauges and counters have no more than one sample before `_created`.
            (Kind::Gauge, _) => return false,
            (kind, step) => {
                let names: &[&str] = match kind {
                    Kind::Counter => &["_created"],
                    _ => &["_count", "_sum", "_created"],
                };
                let before = match kind {
                    Kind::Counter => 1,
                    _ => buckets.len(),
                };
                let Some(name) = names.get(step - before) else {
                    return false;
                };
                plain(name);
                match *name {
                    "_count" => {
                        let count = cell::samples::count(record, family.count_words());
                        number::push_count(state, count);
                    }
                    "_sum" => number::push(state, cell::samples::sum(record)),
                    _ => ffi::lua_pushnumber(state, cell::created(record)),
                }
            }
        }
        true
    }
}
