//! `metric:iter_samples()`: what a metric would put on a page, in that order.

use super::call::run;
use super::link::linked;
use super::metric::Metric;
use super::number;
use super::text::{push_bytes, Short};
use crate::model::{plain_text, Column, Kind, Number};
use crate::store::{values, Family};
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, CStr};
use std::sync::atomic::AtomicU64;

/// The function for metrics of a type.
pub(super) fn iter_samples_of(kind: Kind) -> ffi::lua_CFunction {
    for_kind!(kind, iter_samples)
}

/// `metric:iter_samples()`: an iterator and the metric. The iterator's upvalues are the handle or lease, and how many
/// samples it has given.
unsafe extern "C-unwind" fn iter_samples<const KIND: usize>(state: *mut lua_State) -> c_int {
    let kind = Kind::ALL[KIND];
    // SAFETY: either way one userdata is pushed, a handle or a lease, which becomes an upvalue with the number above
    // it.
    unsafe {
        run(state, "iter_samples", || {
            ffi::lua_settop(state, 1);
            match Metric::at(state, 1, kind) {
                Some(_) => ffi::lua_pushvalue(state, 1),
                None => {
                    linked(state, 1, kind).ok_or(c"metre: a metric expected; call iter_samples with ':'")?;
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
    // SAFETY: the function keeps its upvalue, the metric's userdata. The sample has no destructor, and its texts are
    // static or on Rust's stack, while Lua allocates.
    unsafe {
        run(state, "iter_samples.next", || {
            let metric = Metric::at(state, ffi::lua_upvalueindex(1), kind).ok_or(c"metre: a metric expected")?;
            let counter = ffi::lua_upvalueindex(2);
            let step = ffi::lua_tointegerx(state, counter, std::ptr::null_mut()) as usize;
            number::push_integer(state, step as i64 + 1);
            ffi::lua_replace(state, counter);
            let sample = metric
                .with(|family, record| sample(&family.family, record, step))?
                .flatten();
            let Some(sample) = sample else {
                ffi::lua_pushnil(state);
                return Ok(1);
            };
            push_bytes(state, sample.suffix.as_bytes());
            match sample.label {
                Some((name, text)) => {
                    ffi::lua_createtable(state, 0, 1);
                    push_bytes(state, text.as_bytes());
                    ffi::lua_setfield(state, -2, name.as_ptr());
                }
                None => ffi::lua_pushnil(state),
            }
            number::push(state, sample.value);
            Ok(3)
        })
    }
}

/// One sample of a metric.
struct Sample {
    suffix: &'static str,
    /// A label of its own, with its text.
    label: Option<(&'static CStr, Short)>,
    value: Number,
}

/// The sample with this number, counted from 0, if there are as many: quantiles, then what each column has.
fn sample(family: &Family, record: &[AtomicU64], step: usize) -> Option<Sample> {
    let quantiles = family.quantile_count(record);
    if step < quantiles {
        let (quantile, value) = family.quantiles_of(record).into_iter().nth(step)?;
        return Some(Sample {
            // As on the page, where a histogram's are a family of their own.
            suffix: if family.kind == Kind::Histogram {
                "_quantiles"
            } else {
                ""
            },
            label: Some((c"quantile", Short::of(plain_text(quantile).as_bytes()))),
            value: Number::Float(value),
        });
    }
    let mut left = step - quantiles;
    for column in family.kind.columns() {
        let buckets = match column {
            Column::Buckets => family.buckets.as_slice(),
            _ => &[],
        };
        if let Some(bucket) = buckets.get(left) {
            return Some(Sample {
                suffix: column.suffix(),
                label: Some((c"le", Short::of(bucket.le.as_bytes()))),
                value: values::count(record, left + 1).into(),
            });
        }
        left -= buckets.len();
        if let Some(value) = values::column(record, *column, family.count_words()) {
            if left == 0 {
                let suffix = column.suffix();
                return Some(Sample {
                    suffix,
                    label: None,
                    value,
                });
            }
            left -= 1;
        }
    }
    None
}
