//! The userdata blocks that Lua holds: one a family, and one a metric that somebody has (a *handle*; in families whose
//! series go or have quantiles, a [`lease`](super::lease)).
//!
//! Modules get a handle as what is behind a table of methods or a [`view`](super::view), and in families of many series as it
//! is ([`place`](super::place)). It points into its family's memory, and its metatable keeps the family's block from being collected. A
//! family's block outlives its content in one case only: its finalizer has run, at the end of the Lua state or
//! together with everything that refers to it, and some other finalizer still uses a handle. Then the block's
//! pointer is null, which every access checks.

use super::call::{pure, Stop};
use crate::model::Kind;
use crate::store::{read_shape, Family, FamilyWriter};
use mlua::ffi::{self, lua_State};
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

/// Marks our blocks: the address of a byte in this module, which nobody else
/// has a reason to keep. With the block's size it tells our userdata from anybody else's.
static TAGS: [u8; 2 * KINDS + 1] = [0; 2 * KINDS + 1];

const KINDS: usize = Kind::ALL.len();
/// Handles have the tags before this one, and leases those after it: one a kind.
const FAMILY_TAG: usize = KINDS;
/// The first of the leases' tags.
pub(super) const LEASE_TAGS: usize = FAMILY_TAG + 1;

#[inline(always)]
pub(super) fn tag(index: usize) -> *const u8 {
    &raw const TAGS[index]
}

/// What a family's block points to.
pub(super) struct FamilyState {
    pub(super) family: Arc<Family>,
    pub(super) writer: RefCell<FamilyWriter>,
    /// Which kinds of bad input have been logged, as bits.
    pub(super) noticed: Cell<u32>,
    /// Of how many series it has been logged that they have no sum any more.
    pub(super) without_sum: Cell<u32>,
}

impl FamilyState {
    pub(super) fn new(writer: FamilyWriter) -> FamilyState {
        FamilyState {
            family: Arc::clone(writer.family()),
            writer: RefCell::new(writer),
            noticed: Cell::new(0),
            without_sum: Cell::new(0),
        }
    }
}

/// A family's userdata block.
#[repr(C)]
pub(super) struct FamilyBlock {
    tag: *const u8,
    /// Null before it is filled and after it is finalized.
    state: Cell<*mut FamilyState>,
}

/// A handle's userdata block.
#[repr(C)]
pub(super) struct Handle {
    tag: *const u8,
    record: *const AtomicU64,
    family: *const FamilyBlock,
    /// The address of the table whose methods have this handle, which they keep alive; null if there is none.
    owner: *const c_void,
}

/// The block at `index` if it is a userdata of `T`'s size with this tag first.
#[inline(always)]
unsafe fn block_at<T>(state: *mut lua_State, index: c_int, tag: *const u8) -> Option<*const T> {
    // SAFETY: only as many bytes are read as there are, and both blocks begin with a pointer. A foreign userdata of this size may have
    // anything there, also bytes that nobody has written; they are compared alone, and with an address that nobody else has.
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
    /// Pushes a new block, empty and without a metatable yet.
    ///
    /// # Safety
    /// There is room on the stack.
    pub(super) unsafe fn push(state: *mut lua_State) -> *const FamilyBlock {
        // SAFETY: the block has the size of what is written to it.
        unsafe {
            let block: *mut FamilyBlock = ffi::lua_newuserdata(state, size_of::<FamilyBlock>()).cast();
            block.write(FamilyBlock {
                tag: tag(FAMILY_TAG),
                state: Cell::new(std::ptr::null_mut()),
            });
            block
        }
    }

    /// Gives an empty block its content.
    pub(super) fn fill(&self, content: FamilyState) {
        self.state.set(Box::into_raw(Box::new(content)));
    }

    /// The block at `index`, or an error.
    ///
    /// # Safety
    /// `index` is valid. The block is used no longer than it is on the stack or otherwise referred to.
    #[inline(always)]
    pub(super) unsafe fn at<'a>(state: *mut lua_State, index: c_int) -> Result<&'a FamilyBlock, Stop> {
        // SAFETY: by the contract above; blocks are changed through cells alone.
        unsafe {
            match block_at(state, index, tag(FAMILY_TAG)) {
                Some(block) => Ok(&*block),
                None => Err(c"metre: a metric family expected".into()),
            }
        }
    }

    /// The block that is an upvalue of the function that runs.
    ///
    /// # Safety
    /// The function was made with a family's block there. (Upvalues of C functions are out of reach for Lua code, but for the
    /// debug library, which can do as much to any C function.)
    #[inline(always)]
    pub(super) unsafe fn of_call<'a>(state: *mut lua_State, upvalue: c_int) -> &'a FamilyBlock {
        // SAFETY: by the contract above; the function keeps the block.
        unsafe { &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(upvalue)).cast() }
    }

    /// Runs `use_it` on the content, or gives `None` if that is gone. Whatever Lua does, nothing of the content is kept
    /// meanwhile: `use_it` calls nothing that runs Lua, and what it returns borrows nothing.
    #[inline(always)]
    pub(super) fn with<T: 'static>(&self, use_it: impl FnOnce(&FamilyState) -> T) -> Result<Option<T>, Stop> {
        // SAFETY: null, or from `fill`'s box, which only `finalize` drops, setting the pointer to null; that runs in a
        // finalizer, so not in here.
        pure(|| unsafe { self.state.get().as_ref() }.map(use_it))
    }

    /// Drops the content.
    fn finalize(&self) {
        let content = self.state.replace(std::ptr::null_mut());
        if !content.is_null() {
            // SAFETY: it came from `Box::into_raw`, and is dropped once, as the pointer is null from now on.
            drop(unsafe { Box::from_raw(content) });
        }
    }
}

/// `__gc` of families.
pub(super) unsafe extern "C-unwind" fn family_gc(state: *mut lua_State) -> c_int {
    // SAFETY: the block is on the stack. Nobody is inside of `with`, which runs no Lua.
    unsafe {
        super::call::run(state, "__gc", || {
            let block = FamilyBlock::at(state, 1)?;
            pure(|| block.finalize())?;
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
    pub(super) unsafe fn push(
        state: *mut lua_State,
        record: *const AtomicU64,
        kind: Kind,
        family: *const FamilyBlock,
        owner: *const c_void,
    ) {
        // SAFETY: the block has the size of what is written to it.
        unsafe {
            #[cfg(lua_user_values)]
            let block = ffi::lua_newuserdatauv(state, size_of::<Handle>(), 0);
            #[cfg(not(lua_user_values))]
            let block = ffi::lua_newuserdata(state, size_of::<Handle>());
            block.cast::<Handle>().write(Handle {
                tag: tag(kind as usize),
                record,
                family,
                owner,
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
        unsafe { block_at::<Handle>(state, index, tag(kind as usize)).map(|block| &*block) }
    }

    /// The handle that is the first upvalue of the function that runs, if the first argument is the table that has this
    /// function as a method.
    ///
    /// # Safety
    /// The function was made with a handle there; see [`FamilyBlock::of_call`].
    #[inline(always)]
    pub(super) unsafe fn of_call<'a>(state: *mut lua_State) -> Option<&'a Handle> {
        // SAFETY: by the contract above; the function keeps the handle. Two objects that are alive never have one address, and
        // the function keeps the owner alive, too.
        unsafe {
            let handle: &Handle = &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast();
            (ffi::lua_topointer(state, 1) == handle.owner).then_some(handle)
        }
    }

    /// The family's block.
    #[inline(always)]
    pub(super) fn family(&self) -> &FamilyBlock {
        // SAFETY: the handle's metatable keeps the block's memory.
        unsafe { &*self.family }
    }

    /// [`FamilyBlock::with`], with the first `words` words of the record too.
    ///
    /// # Safety
    /// The record has as many (`cell`'s layout).
    #[inline(always)]
    pub(super) unsafe fn with_words<T: 'static>(
        &self,
        words: usize,
        use_it: impl FnOnce(&FamilyState, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        self.family().with(|family| {
            // SAFETY: records neither move nor go while their family is there.
            let record = unsafe { std::slice::from_raw_parts(self.record, words) };
            use_it(family, record)
        })
    }

    /// [`FamilyBlock::with`], with the whole record but for the labels too.
    #[inline(always)]
    pub(super) fn with<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyState, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        self.family().with(|family| {
            let words = family.family.record_words();
            // SAFETY: as many as its family's records have; records neither move nor go while their family is there.
            let record = unsafe { std::slice::from_raw_parts(self.record, words) };
            use_it(family, record)
        })
    }
}

impl Handle {
    /// [`FamilyBlock::with`], with the encoded label set too.
    pub(super) fn with_labels<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyState, &[u8]) -> T,
    ) -> Result<Option<T>, Stop> {
        self.family().with(|family| {
            // SAFETY: a record begins with its own length, which never changes; records neither move nor go while their family is
            // there.
            let (record, label_bytes) = unsafe {
                let (words, label_bytes) = read_shape((*self.record).load(Relaxed));
                (std::slice::from_raw_parts(self.record, words), label_bytes)
            };
            let labels = record.iter().skip(record.len() - label_bytes.div_ceil(8));
            let labels = labels.flat_map(|word| word.load(Relaxed).to_le_bytes());
            use_it(family, &labels.take(label_bytes).collect::<Vec<u8>>())
        })
    }
}

/// A key for the registry or for a hidden field: the address of a static.
pub(super) fn key(of: &'static u8) -> *const c_void {
    (&raw const *of).cast()
}
