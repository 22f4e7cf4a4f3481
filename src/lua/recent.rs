//! What a `with_labels` has found lately, so that label values which come again and again are not looked up anew.
//!
//! A Lua string stays where it is, and while somebody keeps it nothing else has its address. So the addresses of its values tell a
//! label set, and a few comparisons do instead of encoding, hashing and comparing text. The strings and the metrics are kept
//! in a Lua table, the addresses in a userdata, both upvalues of the function. There are few places, and a label set gets one only if
//! it comes twice before another one that would have the same.
//!
//! Where hardly any label set comes again soon, looking costs more than it gives: after so many failures it rests for a while.
//!
//! It is for label sets that have a series of their own, in families whose series don't go.

use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, c_void};

/// The upvalue with the addresses: nil at first, true after a first look-up, then a [`Recent`].
pub(super) const ADDRESSES: c_int = 4;
/// The upvalue with the table: for each place the metric and then the strings.
pub(super) const KEPT: c_int = 5;

const PLACES: usize = 16;
/// Label sets of more values are always looked up.
const MOST_VALUES: usize = 6;

/// After as many failures in a row it rests,
const PATIENCE: u32 = 64;
/// for as many calls.
const REST: u32 = 1024;

/// The addresses of label values; null for what isn't there or isn't a string.
type Addresses = [*const c_void; MOST_VALUES];

struct Recent {
    values: usize,
    addresses: [Addresses; PLACES],
    /// The hash of the label set that was looked up last for each place.
    looked_up: [u64; PLACES],
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
#[inline(always)]
unsafe fn addresses(state: *mut lua_State, values: usize) -> (Addresses, u64) {
    let mut addresses = [std::ptr::null(); MOST_VALUES];
    let mut hash = 0_u64;
    for (index, found) in (2..).zip(addresses.iter_mut().take(values)) {
        // SAFETY: it is an argument, or none.
        *found = unsafe { address(state, index) };
        hash = (hash ^ found.addr() as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
    (addresses, hash)
}

/// The address of the string at `index`. Lua 5.4 tells that of any object in one call. What it tells of other things is never that of a
/// string that is kept: no two objects have the same one, and no Lua code can make a light userdata of it.
#[inline(always)]
unsafe fn address(state: *mut lua_State, index: c_int) -> *const c_void {
    // SAFETY: the index is valid or none; `lua_tolstring` changes nothing where there is a string already.
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

fn place(hash: u64) -> usize {
    hash as usize % PLACES
}

/// Where the table has what belongs to a place.
fn index(place: usize, values: usize) -> ffi::lua_Integer {
    (place * (values + 1) + 1) as ffi::lua_Integer
}

/// Pushes the metric of the label values that are the arguments, if it was found lately.
///
/// # Safety
/// The function that runs has the two upvalues.
#[inline(always)]
pub(super) unsafe fn push_found(state: *mut lua_State) -> bool {
    // SAFETY: a userdata in this upvalue is one that `remember` made, with the table in the other one.
    unsafe {
        let recent = ffi::lua_touserdata(state, ffi::lua_upvalueindex(ADDRESSES));
        let Some(recent) = recent.cast::<Recent>().as_mut() else {
            return false;
        };
        let values = recent.values;
        if recent.rests() || ffi::lua_gettop(state) != values as c_int + 1 {
            return false;
        }
        let (addresses, hash) = addresses(state, values);
        let place = place(hash);
        if addresses == recent.addresses[place] {
            // There is nothing in a place that was never taken.
            if ffi::lua_rawgeti(state, ffi::lua_upvalueindex(KEPT), index(place, values)) != ffi::LUA_TNIL {
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
/// The function that runs has the two upvalues, and is always called with as many values, which are strings by now.
pub(super) unsafe fn remember(state: *mut lua_State, values: usize) {
    let known = ffi::lua_upvalueindex(ADDRESSES);
    // SAFETY: what is at `known` is made by `begin`, and nobody else has it. No other reference to it is there while `recent` is:
    // until its end nothing runs Lua, as nothing allocates. Values are copied that are on the stack already, and elements are set
    // that `begin` has made room for.
    unsafe {
        match ffi::lua_type(state, known) {
            _ if values > MOST_VALUES => {}
            ffi::LUA_TNIL => {
                ffi::lua_pushboolean(state, 1);
                ffi::lua_replace(state, known);
            }
            ffi::LUA_TBOOLEAN => begin(state, values),
            _ => {
                let recent = &mut *ffi::lua_touserdata(state, known).cast::<Recent>();
                if recent.rest > 0 {
                    return;
                }
                let (addresses, hash) = addresses(state, values);
                let place = place(hash);
                if recent.looked_up[place] != hash {
                    recent.looked_up[place] = hash;
                    return;
                }
                let (table, first) = (ffi::lua_upvalueindex(KEPT), index(place, values));
                ffi::lua_pushvalue(state, -1);
                ffi::lua_rawseti(state, table, first);
                for value in 1..=values {
                    ffi::lua_pushvalue(state, value as c_int + 1);
                    ffi::lua_rawseti(state, table, first + value as ffi::lua_Integer);
                }
                recent.addresses[place] = addresses;
            }
        }
    }
}

/// Makes the two upvalues.
unsafe fn begin(state: *mut lua_State, values: usize) {
    // SAFETY: the block has the size of what is written to it. Both are there before either is an upvalue, since Lua may run a
    // finalizer while it makes them, which may call this very function.
    unsafe {
        ffi::lua_createtable(state, (PLACES * (values + 1)) as c_int, 0);
        let block = ffi::lua_newuserdata(state, size_of::<Recent>()).cast::<Recent>();
        block.write(Recent {
            values,
            addresses: [[std::ptr::null(); MOST_VALUES]; PLACES],
            looked_up: [0; PLACES],
            patience: PATIENCE,
            rest: 0,
        });
        ffi::lua_replace(state, ffi::lua_upvalueindex(ADDRESSES));
        ffi::lua_replace(state, ffi::lua_upvalueindex(KEPT));
    }
}
