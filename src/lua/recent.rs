//! What a `with_labels` has found lately, so that label values which come again and again are not looked up anew.
//!
//! A Lua string stays where it is, and while somebody keeps it nothing else has its address. So the addresses of its
//! values tell a label set, and a few comparisons do instead of encoding, hashing and comparing text. The strings and
//! the metrics are kept in a Lua table, the addresses in a userdata, both upvalues of the function. The table has few
//! slots, and a label set gets one only if it comes twice before another label set that would have the same slot.
//!
//! Where hardly any label set comes again soon, looking costs more than it gives: after so many failures it rests for a
//! while.
//!
//! It is for label sets that have a series of their own, in families whose series don't go.

use super::preconditions::{holds, room};
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, c_void};

/// The upvalue with the addresses: nil at first, true after a first look-up, then a userdata block that is a
/// [`Recent`].
pub(super) const ADDRESSES: c_int = 4;
/// The upvalue with the table: for each slot the metric and then the strings.
pub(super) const KEPT: c_int = 5;

const SLOTS: usize = 16;
/// Label sets of more values are always looked up.
const MOST_VALUES: usize = 6;

/// After as many failures in a row it rests,
const PATIENCE: u32 = 64;
/// for as many calls.
const REST: u32 = 1024;

/// The addresses of label values; null for a missing one and, on Luas that tell those of strings alone, for what isn't
/// a string.
type Addresses = [*const c_void; MOST_VALUES];

struct Recent {
    values: usize,
    addresses: [Addresses; SLOTS],
    /// The hash of the label set that was looked up last for each slot.
    looked_up: [u64; SLOTS],
    /// How many failures in a row are left until it rests, and for how many calls it still does.
    patience: u32,
    rest: u32,
}

impl Recent {
    /// Whether this call is one that it rests for.
    #[inline(always)]
    fn rests(&mut self) -> bool {
        let rests = self.rest > 0;
        self.rest -= u32::from(rests);
        rests
    }

    fn failed(&mut self) {
        self.patience -= 1;
        if self.patience == 0 {
            self.patience = PATIENCE;
            self.rest = REST;
        }
    }
}

/// The addresses of the first `values` arguments after the first, and their hash.
///
/// # Safety
/// `values` is at most [`MOST_VALUES`].
#[inline(always)]
unsafe fn addresses(state: *mut lua_State, values: usize) -> (Addresses, u64) {
    let mut addresses = [std::ptr::null(); MOST_VALUES];
    let mut hash = 0_u64;
    for (index, found) in (2..).zip(addresses.iter_mut().take(values)) {
        // SAFETY: the index is that of an argument, or of a missing one.
        *found = unsafe { address(state, index) };
        hash = (hash ^ found.addr() as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
    (addresses, hash)
}

/// The address of the string at `index`. Where Lua tells that of any object, it takes one call. The address of anything
/// else is not that of a string that is kept, since two objects that are alive have two. Only a light userdata may be
/// any address: then the metric of that string is found, and nothing worse. (Lua code makes one by `debug.upvalueid`
/// alone.)
///
/// # Safety
/// `index` is that of an argument, also of a missing one.
#[inline(always)]
unsafe fn address(state: *mut lua_State, index: c_int) -> *const c_void {
    // SAFETY: what is returned is compared and never read from. `lua_tolstring` is asked for strings alone, so it
    // changes nothing.
    unsafe {
        #[cfg(lua_string_addresses)]
        return ffi::lua_topointer(state, index);
        #[cfg(not(lua_string_addresses))]
        match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING => ffi::lua_tolstring(state, index, std::ptr::null_mut()).cast(),
            _ => std::ptr::null(),
        }
    }
}

/// The slot that a label set may have.
fn slot(hash: u64) -> usize {
    hash as usize % SLOTS
}

/// Where the table has the metric of a slot, and behind it the strings: 112 at most, which fits any Lua's index.
fn index(slot: usize, values: usize) -> ffi::lua_Integer {
    (slot * (values + 1) + 1) as ffi::lua_Integer
}

/// Whether the upvalue with the addresses has them, at least by its length.
///
/// # Safety
/// The function that runs has the two upvalues.
unsafe fn is_recent(state: *mut lua_State) -> bool {
    // SAFETY: by the contract above; the length of anything can be asked for.
    unsafe { ffi::lua_rawlen(state, ffi::lua_upvalueindex(ADDRESSES)) as usize == size_of::<Recent>() }
}

/// Pushes the metric of the label values that are the arguments, if it was found lately.
///
/// # Safety
/// - The function that runs has the two upvalues, which are nil at first and are then set here alone.
/// - There is room for one value.
#[inline(always)]
pub(super) unsafe fn push_found(state: *mut lua_State) -> bool {
    // SAFETY:
    // - A userdata in the upvalue is one that `begin` made, with the table in the other upvalue; anything else gives
    //   null.
    // - No other reference to it is there while `recent` is: until its last use nothing runs Lua, as a raw look-up
    //   allocates nothing and asks no metamethod.
    // - `begin` has got no more values than `addresses` takes.
    unsafe {
        let recent = ffi::lua_touserdata(state, ffi::lua_upvalueindex(ADDRESSES));
        let Some(recent) = recent.cast::<Recent>().as_mut() else {
            return false;
        };
        holds!(is_recent(state), "the upvalue with the addresses has another length");
        let values = recent.values;
        if recent.rests() || ffi::lua_gettop(state) != values as c_int + 1 {
            return false;
        }
        let (addresses, hash) = addresses(state, values);
        let slot = slot(hash);
        if addresses == recent.addresses[slot] {
            // There is nothing in a slot that was never taken.
            if ffi::lua_rawgeti(state, ffi::lua_upvalueindex(KEPT), index(slot, values)) != ffi::LUA_TNIL {
                recent.patience = PATIENCE;
                return true;
            }
            ffi::lua_pop(state, 1);
        }
        recent.failed();
        false
    }
}

/// Remembers that the metric on top of the stack is that of the label values that are the arguments.
///
/// # Safety
/// - The function that runs has the two upvalues, which are nil at first and are then set here alone.
/// - It is always called with as many values, which are strings by now.
/// - There is room for three values, and nothing with a destructor is alive.
pub(super) unsafe fn remember(state: *mut lua_State, values: usize) {
    let known = ffi::lua_upvalueindex(ADDRESSES);
    // SAFETY:
    // - A userdata at `known` is one that `begin` made, for as many values, at most `MOST_VALUES`.
    // - No other reference to it is there while `recent` is: until its last use nothing runs Lua. Values are copied
    //   that are on the stack already, and raw assignments ask no metamethod and run no finalizer, even where the table
    //   has to grow since somebody with the debug library has changed it.
    // - Lua can leave from there only by an error of memory, over nothing with a destructor.
    unsafe {
        let room = room(state, 3);
        match ffi::lua_type(state, known) {
            _ if values > MOST_VALUES => {}
            ffi::LUA_TNIL => {
                ffi::lua_pushboolean(state, 1);
                ffi::lua_replace(state, known);
            }
            ffi::LUA_TBOOLEAN => begin(state, values),
            _ => {
                holds!(is_recent(state), "the upvalue with the addresses has another length");
                let recent = &mut *ffi::lua_touserdata(state, known).cast::<Recent>();
                holds!(recent.values == values, "{values} values after {}", recent.values);
                if recent.rest > 0 {
                    return;
                }
                let (addresses, hash) = addresses(state, values);
                let slot = slot(hash);
                if recent.looked_up[slot] != hash {
                    recent.looked_up[slot] = hash;
                    return;
                }
                let (table, first) = (ffi::lua_upvalueindex(KEPT), index(slot, values));
                ffi::lua_pushvalue(state, -1);
                ffi::lua_rawseti(state, table, first);
                for value in 1..=values {
                    ffi::lua_pushvalue(state, value as c_int + 1);
                    ffi::lua_rawseti(state, table, first + value as ffi::lua_Integer);
                }
                recent.addresses[slot] = addresses;
            }
        }
        room.left(state, 0);
    }
}

/// Makes the two upvalues.
///
/// # Safety
/// Those of [`remember`]; `values` is at most [`MOST_VALUES`].
unsafe fn begin(state: *mut lua_State, values: usize) {
    // SAFETY:
    // - The block has the size of what is written to it, and Lua aligns it for any C type.
    // - Both objects are there before either is an upvalue, since Lua may run a finalizer while it makes them, which
    //   may call this very function. Whoever comes last has made a pair; setting the two allocates nothing.
    unsafe {
        ffi::lua_createtable(state, (SLOTS * (values + 1)) as c_int, 0);
        let block = ffi::lua_newuserdata(state, size_of::<Recent>()).cast::<Recent>();
        block.write(Recent {
            values,
            addresses: [[std::ptr::null(); MOST_VALUES]; SLOTS],
            looked_up: [0; SLOTS],
            patience: PATIENCE,
            rest: 0,
        });
        ffi::lua_replace(state, ffi::lua_upvalueindex(ADDRESSES));
        ffi::lua_replace(state, ffi::lua_upvalueindex(KEPT));
    }
}
