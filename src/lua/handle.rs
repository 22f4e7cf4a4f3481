//! What Lua holds for a metric in a family whose series stay: a *handle*, a userdata that points to the record.
//!
//! Modules get a handle as what is behind a table of methods or a [`view`](super::view), and in families of many series
//! as it is ([`objects`](super::objects)).

use super::block::{block_at, handle_tag, FamilyBlock, FamilyContent, Length};
use super::call::Stop;
use super::preconditions::{holds, room};
use crate::model::Kind;
use crate::store::read_shape;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A handle's userdata block. Nobody writes to it once it is made.
#[repr(C)]
pub(super) struct Handle {
    tag: *const u8,
    record: *const AtomicU64,
    family: *const FamilyBlock,
    /// The address of the table whose methods have this handle, which they keep alive; null if there is none.
    owner: *const c_void,
}

impl Handle {
    /// Pushes a handle without a metatable.
    ///
    /// # Safety
    /// - There is room for one value, and nothing with a destructor is alive.
    /// - `kind` is the type of the family in the block `family`.
    /// - `record` is a record of that family, whose series never go.
    /// - The caller sets a metatable that keeps `family` alive.
    /// - `owner` is null, or the address of a table that the caller has every function keep that gets this handle.
    pub(super) unsafe fn push(
        state: *mut lua_State,
        record: *const AtomicU64,
        kind: Kind,
        family: *const FamilyBlock,
        owner: *const c_void,
    ) {
        // SAFETY: the block has the size of what is written to it, and Lua aligns it for any C type.
        unsafe {
            room(state, 1);
            #[cfg(lua_user_values)]
            let block = ffi::lua_newuserdatauv(state, size_of::<Handle>(), 0);
            #[cfg(not(lua_user_values))]
            let block = ffi::lua_newuserdata(state, size_of::<Handle>());
            block.cast::<Handle>().write(Handle {
                tag: handle_tag(kind),
                record,
                family,
                owner,
            });
        }
    }

    /// The handle of a metric of type `kind` at `index`.
    ///
    /// # Safety
    /// - `index` is valid, or that of a missing argument.
    /// - The handle is used no longer than it is on the stack or otherwise referred to.
    #[inline(always)]
    pub(super) unsafe fn at<'a>(state: *mut lua_State, index: c_int, kind: Kind) -> Option<&'a Handle> {
        // SAFETY: what has the tag was written by `push`, and nobody writes to it, so a shared reference is sound while
        // it lives.
        unsafe { block_at::<Handle>(state, index, handle_tag(kind), Length::Exactly).map(|block| &*block) }
    }

    /// The handle that is the first upvalue of the function that runs, if the first argument is the table that has this
    /// function as a method.
    ///
    /// # Safety
    /// - The function was made with a handle of a metric of type `kind` there, and with that handle's owner as another
    ///   upvalue; see [`FamilyBlock::of_call`].
    /// - The handle is used no longer than the function runs.
    #[inline(always)]
    pub(super) unsafe fn of_call<'a>(state: *mut lua_State, kind: Kind) -> Option<&'a Handle> {
        let index = ffi::lua_upvalueindex(1);
        // SAFETY:
        // - By the contract there is a handle, which the function that runs keeps.
        // - `lua_topointer` reads no memory of ours. What it gives is the owner's address for the owner alone, which
        //   the function keeps, too, as no two objects that are alive have one address; or for a light userdata with
        //   that address, which gets the update of its owner and reaches nothing else.
        unsafe {
            holds!(
                Handle::at(state, index, kind).is_some(),
                "the first upvalue is no handle"
            );
            let handle: &Handle = &*ffi::lua_touserdata(state, index).cast();
            (ffi::lua_topointer(state, 1) == handle.owner).then_some(handle)
        }
    }

    /// The family's block.
    #[inline(always)]
    pub(super) fn family(&self) -> &FamilyBlock {
        // SAFETY: the handle's metatable keeps the block's memory, whether it has content or not.
        unsafe { &*self.family }
    }

    /// The first `words` words of the record.
    ///
    /// # Safety
    /// - The family's content is there as long as the words are used.
    /// - The record has as many words.
    #[inline(always)]
    unsafe fn record(&self, words: usize) -> &[AtomicU64] {
        // SAFETY:
        // - By `push`'s contract the record is one of the family's, whose series never go: so nobody frees it before
        //   the content, and it never moves.
        // - All of its words are atomics to everybody. The first one is its shape, which never changes.
        unsafe {
            holds!(
                words <= read_shape((*self.record).load(Relaxed)).0,
                "a record is shorter than {words} words"
            );
            std::slice::from_raw_parts(self.record, words)
        }
    }

    /// [`FamilyBlock::with`], with the first `words` words of the record too.
    ///
    /// # Safety
    /// The record has as many words.
    #[inline(always)]
    pub(super) unsafe fn with_words<T: 'static>(
        &self,
        words: usize,
        use_it: impl FnOnce(&FamilyContent, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        self.family().with(|family| {
            // SAFETY: `with` has the content, and `T` can't borrow from it; as many words by the contract above.
            let record = unsafe { self.record(words) };
            use_it(family, record)
        })
    }

    /// [`FamilyBlock::with`], with the whole record but for the labels too.
    #[inline(always)]
    pub(super) fn with<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyContent, &[AtomicU64]) -> T,
    ) -> Result<Option<T>, Stop> {
        self.family().with(|family| {
            // SAFETY: `with` has the content; every record of a family has as many words before its labels.
            let record = unsafe { self.record(family.family.record_words()) };
            use_it(family, record)
        })
    }

    /// [`FamilyBlock::with`], with the encoded label set too.
    pub(super) fn with_labels<T: 'static>(
        &self,
        use_it: impl FnOnce(&FamilyContent, &[u8]) -> T,
    ) -> Result<Option<T>, Stop> {
        self.family().with(|family| {
            // SAFETY: `with` has the content; a record begins with its own length, which never changes.
            let (record, label_bytes) = unsafe {
                let (words, label_bytes) = read_shape((*self.record).load(Relaxed));
                (self.record(words), label_bytes)
            };
            let labels = record.iter().skip(record.len() - label_bytes.div_ceil(8));
            let labels = labels.flat_map(|word| word.load(Relaxed).to_le_bytes());
            use_it(family, &labels.take(label_bytes).collect::<Vec<u8>>())
        })
    }
}
