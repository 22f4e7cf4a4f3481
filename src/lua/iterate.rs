//! Walking a family's metrics: `iter_metrics()` and `clear()`, and what has some of them go.

use super::block::FamilyBlock;
use super::call::{run, Stop};
use super::objects::{push_view, Series};
use super::preconditions::room;
use super::text::{bytes_at, push_bytes};
use super::{number, update};
use crate::model::labels;
use crate::store::Location;
use mlua::ffi::{self, lua_State};
use std::ffi::c_int;

/// `clear(family)`: resets every metric, forgets none.
pub(super) unsafe extern "C-unwind" fn clear(state: *mut lua_State) -> c_int {
    // SAFETY: the family's block is the first argument, which stays on the stack; resetting runs no Lua code.
    unsafe {
        run(state, "clear", || {
            FamilyBlock::at(state, 1)?.with(|family| {
                let writer = family.writer.borrow();
                let mut at = writer.next(None);
                while let Some((location, _)) = at {
                    update::reset(family, writer.record(location));
                    at = writer.next(at);
                }
            })?;
            Ok(0)
        })
    }
}

/// `iter_metrics(family)`: an iterator of `labels, view`, in the order of creation. Its upvalues are the family, the
/// location of the last series, or -1, and the serial number of that series.
pub(super) unsafe extern "C-unwind" fn iter_metrics(state: *mut lua_State) -> c_int {
    // SAFETY: there are three values when they become upvalues, the first one a family's block, which `next` needs.
    unsafe {
        run(state, "iter_metrics", || {
            ffi::lua_settop(state, 1);
            FamilyBlock::at(state, 1)?;
            number::push_integer(state, -1);
            number::push_integer(state, 0);
            ffi::lua_pushcclosure(state, next, 3);
            Ok(1)
        })
    }
}

/// `expire(family)`: lets go of some of the family's series whose time is over. Returns how many series it has looked
/// at, and whether there are more to look at.
pub(super) unsafe extern "C-unwind" fn expire(state: *mut lua_State) -> c_int {
    /// How many series are looked at, which takes well below a millisecond.
    const BUDGET: usize = 10_000;
    // SAFETY: the family's block is the first argument, which stays on the stack; two values are pushed.
    unsafe {
        run(state, "expire", || {
            let done = FamilyBlock::at(state, 1)?.with(|family| family.writer.borrow_mut().expire(BUDGET))?;
            let (looked, more) = done.unwrap_or((0, false));
            number::push_count(state, looked as u64);
            ffi::lua_pushboolean(state, c_int::from(more));
            Ok(2)
        })
    }
}

/// `forget(family, position, value)`: has all of the family's series go whose label at `position`, from 1, is the string
/// `value`. Returns how many go: none of a family whose series stay, nor where there is no such label. For what stands
/// for an ignored family, which has no native side (nil), it is 0, too.
pub(super) unsafe extern "C-unwind" fn forget(state: *mut lua_State) -> c_int {
    // SAFETY: the family's block and the string are arguments, which stay on the stack; what has series go runs no Lua
    // code. There is room for a value while the number is read, and for the result.
    unsafe {
        run(state, "forget", || {
            let mut count = 0;
            if ffi::lua_type(state, 1) != ffi::LUA_TNIL {
                let block = FamilyBlock::at(state, 1)?;
                let position = number::number_at(state, 2).ok_or(c"metre: the position of a label expected")?;
                let value = bytes_at(state, 3).ok_or(c"metre: a label value expected, as a string")?;
                let position = position.as_f64() - 1.0;
                if position >= 0.0 && position.trunc() == position {
                    let gone = block.with(|family| family.writer.borrow_mut().forget(position as usize, value))?;
                    count = gone.unwrap_or(0);
                }
            }
            number::push_count(state, count as u64);
            Ok(1)
        })
    }
}

/// The iterator of `iter_metrics`.
unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    // SAFETY:
    // - The function keeps its upvalue, the family's block. Its other upvalues are numbers, which anything else reads
    //   as 0.
    // - The memory for the labels has a word more than the slice, and is zeros before that is made. Nobody else writes
    //   to that userdata, which has no metatable and stays on the stack, at 1, until the function returns.
    // - Between `block.with` and the next use of the series Lua may have run finalizers. A series that is gone by then
    //   is passed over, and `push_view` gets along with one that goes later.
    unsafe {
        run(state, "iter_metrics.next", || {
            let family = ffi::lua_upvalueindex(1);
            let at_last = ffi::lua_upvalueindex(2);
            let block = FamilyBlock::at(state, family)?;
            let at = ffi::lua_tonumberx(state, at_last, std::ptr::null_mut());
            let serial = ffi::lua_tonumberx(state, ffi::lua_upvalueindex(3), std::ptr::null_mut()) as u64;
            let mut after = (at >= 0.0).then(|| (Location::from_number(at as u32), serial));
            loop {
                ffi::lua_settop(state, 0);
                let next = block.with(|family| {
                    let next = family.writer.borrow().next(after)?;
                    let bytes = family.writer.borrow().label_bytes(next.0);
                    Some((next, bytes, Series::at(family, next.0)))
                })?;
                let Some((next, bytes, series)) = next.flatten() else {
                    ffi::lua_pushnil(state);
                    return Ok(1);
                };
                ffi::lua_pushnumber(state, f64::from(next.0.to_number()));
                ffi::lua_replace(state, at_last);
                // 2^53 of them take longer than anybody lives.
                ffi::lua_pushnumber(state, next.1 as f64);
                ffi::lua_replace(state, ffi::lua_upvalueindex(3));
                after = Some(next);
                // The labels are copied into a userdata, where they stay put while Lua runs. They come after a null word, so
                // that they can't be taken for a tag.
                let memory = ffi::lua_newuserdata(state, size_of::<usize>() + bytes).cast::<u8>();
                memory.write_bytes(0, size_of::<usize>() + bytes);
                let labels = std::slice::from_raw_parts_mut(memory.add(size_of::<usize>()), bytes);
                let there = block.with(|family| {
                    let writer = family.writer.borrow();
                    // A finalizer that Lua has run just now may have let the series go.
                    let there = writer.is_there(next);
                    if there {
                        writer.copy_labels(next.0, labels);
                    }
                    there
                })?;
                if there == Some(true) {
                    push_labels(state, block, labels)?;
                    push_view(state, family, series, labels)?;
                    return Ok(2);
                }
            }
        })
    }
}

/// Pushes the label values as a list, with its length in `n` as Prosody's own; without labels an empty table.
///
/// # Safety
/// - The labels stay where they are while Lua runs.
/// - The block is referred to while Lua runs.
/// - There is room for three values, and nothing with a destructor is alive.
unsafe fn push_labels(state: *mut lua_State, block: &FamilyBlock, labels: &[u8]) -> Result<(), Stop> {
    // SAFETY: the table is new, and its index counted from below. There are no more values than label names, whose
    // number a C `int` holds.
    unsafe {
        let room = room(state, 3);
        let names = block.with(|family| family.family.label_names.len())?;
        let names = names.ok_or(c"metre: the Lua state is closing")?;
        ffi::lua_createtable(state, names as c_int, c_int::from(names > 0));
        if names == 0 {
            return Ok(());
        }
        let table = ffi::lua_gettop(state);
        for (number, value) in (1..).zip(labels::values(labels)) {
            push_bytes(state, value);
            ffi::lua_rawseti(state, table, number);
        }
        number::push_integer(state, names as i64);
        ffi::lua_setfield(state, table, c"n".as_ptr());
        room.left(state, 1);
        Ok(())
    }
}
