//! The userdata blocks that Lua holds: one a family, and one a metric that somebody writes to (a *handle*).
//!
//! A handle points into its family's memory, and its metatable keeps the family's block from being collected. A
//! family's block outlives its content in one case only: its finalizer has run, at the end of the Lua state or
//! together with everything that refers to it, and some other finalizer still uses a handle. Then the block's
//! pointer is null, which every access checks.

use crate::model::Kind;
use crate::store::{cell, Family, FamilyWriter};
use mlua::ffi::{self, lua_State};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicU64;

/// Marks our blocks: the address of a byte in this module (one a kind, and one for families), which nobody else
/// has a reason to keep. With the block's size it tells our userdata from anybody else's.
static TAGS: [u8; 5] = [0; 5];

const FAMILY_TAG: usize = 4;

#[inline(always)]
fn tag(index: usize) -> *const u8 {
    &raw const TAGS[index]
}

/// What a family's block points to.
pub(super) struct FamilyState {
    pub(super) writer: FamilyWriter,
    /// Which kinds of bad input have been logged, as bits.
    pub(super) noticed: Cell<u32>,
}

impl FamilyState {
    pub(super) fn family(&self) -> &Family {
        self.writer.family()
    }
}

/// A family's userdata block.
#[repr(C)]
pub(super) struct FamilyBlock {
    tag: *const u8,
    state: *mut FamilyState,
}

/// A handle's userdata block.
#[repr(C)]
pub(super) struct Handle {
    tag: *const u8,
    record: *const AtomicU64,
    family: *const FamilyBlock,
}

/// The block at `index` if it is a userdata of `T`'s size with this tag first.
#[inline(always)]
unsafe fn block_at<T>(state: *mut lua_State, index: c_int, tag: *const u8) -> Option<*mut T> {
    // SAFETY: the address is read only if there are as many bytes as a `T` has, and both blocks begin with a pointer.
    // Light userdata have the length 0. Lua aligns blocks for any C type.
    unsafe {
        let block = ffi::lua_touserdata(state, index);
        let ours = !block.is_null()
            && ffi::lua_rawlen(state, index) as usize == size_of::<T>()
            && block.cast::<*const u8>().read() == tag;
        ours.then_some(block.cast())
    }
}

impl FamilyBlock {
    /// Pushes a new block, without a metatable yet.
    ///
    /// # Safety
    /// There is room on the stack.
    pub(super) unsafe fn push(state: *mut lua_State) -> *mut FamilyBlock {
        // SAFETY: the block has the size of what is written to it.
        unsafe {
            let block: *mut FamilyBlock = ffi::lua_newuserdata(state, size_of::<FamilyBlock>()).cast();
            block.write(FamilyBlock {
                tag: tag(FAMILY_TAG),
                state: std::ptr::null_mut(),
            });
            block
        }
    }

    /// Gives a block its content.
    pub(super) fn fill(&mut self, content: FamilyState) {
        self.state = Box::into_raw(Box::new(content));
    }

    /// The block at `index`.
    ///
    /// # Safety
    /// `index` is valid. The block is used no longer than it is on the stack or otherwise referred to.
    #[inline(always)]
    pub(super) unsafe fn at(state: *mut lua_State, index: c_int) -> Option<*mut FamilyBlock> {
        // SAFETY: by the contract above.
        unsafe { block_at(state, index, tag(FAMILY_TAG)) }
    }

    /// The content, unless it was finalized.
    #[inline(always)]
    pub(super) fn state(&self) -> Option<&FamilyState> {
        // SAFETY: either null or from `fill`'s box, which only `finalize` drops, setting it to null.
        unsafe { self.state.as_ref() }
    }

    /// The content to change, unless it was finalized.
    ///
    /// # Safety
    /// No other reference to the content exists, and no Lua code runs while this one does.
    #[inline(always)]
    pub(super) unsafe fn state_mut(&mut self) -> Option<&mut FamilyState> {
        // SAFETY: as in `state`, and unique by the contract above.
        unsafe { self.state.as_mut() }
    }

    /// Drops the content.
    fn finalize(&mut self) {
        let content = std::mem::replace(&mut self.state, std::ptr::null_mut());
        if !content.is_null() {
            // SAFETY: it came from `Box::into_raw`, and is dropped once, as the pointer is null from now on.
            drop(unsafe { Box::from_raw(content) });
        }
    }
}

/// `__gc` of families.
pub(super) unsafe extern "C-unwind" fn family_gc(state: *mut lua_State) -> c_int {
    // SAFETY: `state` is ours to use; the block is on the stack, and nobody else refers to its content now.
    unsafe {
        super::call::run(state, || {
            if let Some(block) = FamilyBlock::at(state, 1) {
                super::call::pure(|| (*block).finalize())?;
            }
            Ok(0)
        })
    }
}

impl Handle {
    /// Pushes a handle without a metatable.
    ///
    /// # Safety
    /// There is room on the stack. `record` is one of the family in `family`, whose block the metatable that the
    /// caller sets keeps alive.
    pub(super) unsafe fn push(state: *mut lua_State, record: *const AtomicU64, kind: Kind, family: *const FamilyBlock) {
        // SAFETY: the block has the size of what is written to it.
        unsafe {
            #[cfg(feature = "lua54")]
            let block = ffi::lua_newuserdatauv(state, size_of::<Handle>(), 0);
            #[cfg(not(feature = "lua54"))]
            let block = ffi::lua_newuserdata(state, size_of::<Handle>());
            block.cast::<Handle>().write(Handle {
                tag: tag(kind as usize),
                record,
                family,
            });
        }
    }

    /// The handle of a metric of type `kind` at `index`.
    ///
    /// # Safety
    /// `index` is valid. The handle is used no longer than it is on the stack or otherwise referred to.
    #[inline(always)]
    pub(super) unsafe fn at<'a>(state: *mut lua_State, index: c_int, kind: Kind) -> Option<&'a Handle> {
        // SAFETY: nobody writes to a handle's block, so a shared reference is sound while it lives.
        unsafe { block_at(state, index, tag(kind as usize)).map(|block| &*block) }
    }

    /// Whether this is a handle of the family in `block`. Memory is used again: a handle that a finalizer has kept
    /// beyond its family's end may have the record address of another family.
    #[inline(always)]
    pub(super) fn is_of(&self, block: *const FamilyBlock) -> bool {
        self.family == block
    }

    /// The family, unless it was finalized.
    #[inline(always)]
    pub(super) fn state(&self) -> Option<&FamilyState> {
        // SAFETY: the handle's metatable keeps the block's memory; no `&mut` to it or to its content lives while Lua
        // calls us.
        unsafe { (*self.family).state() }
    }

    /// The first `words` words of the record.
    ///
    /// # Safety
    /// The record has as many (`cell`'s layout), and `state` has just shown that the family is there.
    #[inline(always)]
    pub(super) unsafe fn record(&self, words: usize) -> &[AtomicU64] {
        // SAFETY: records neither move nor go while their family is there.
        unsafe { std::slice::from_raw_parts(self.record, words) }
    }

    /// The whole record but for the labels.
    #[inline(always)]
    pub(super) fn whole(&self, family: &Family) -> &[AtomicU64] {
        let words = cell::record_words(family);
        // SAFETY: as many as the type's layout has, and the family is at hand.
        unsafe { self.record(words) }
    }
}

/// A key for the registry or for a hidden field: the address of a static.
pub(super) fn key(of: &'static u8) -> *const c_void {
    (&raw const *of).cast()
}
