//! The userdata block of a family, which owns the family's memory, and what tells our userdata from anybody else's.
//!
//! What modules hold of a family's metrics ([`handle`](super::handle), [`lease`](super::lease)) points into this
//! memory, and keeps the block from being collected by its metatable. A block outlives its content in one case only:
//! its finalizer has run, at the end of the Lua state or together with everything that refers to it, and some other
//! finalizer still uses a metric. Then the block's pointer is null, which every access checks.

use super::call::{pure, run, Stop};
use super::preconditions::{holds, room};
use crate::model::Kind;
use crate::store::{Family, FamilyWriter};
use mlua::ffi::{self, lua_State};
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::sync::Arc;

/// Marks our blocks: the address of a byte in this module, which nobody else
/// has a reason to keep. With the block's size it tells our userdata from anybody else's.
static TAGS: [u8; 2 * KINDS + 1] = [0; 2 * KINDS + 1];

const KINDS: usize = Kind::ALL.len();
/// Handles have the tags up to this one, and leases those from the next one on: one a kind.
const FAMILY_TAG: usize = KINDS;

/// The tag of handles of a type.
#[inline(always)]
pub(super) fn handle_tag(kind: Kind) -> *const u8 {
    &raw const TAGS[kind as usize]
}

/// The tag of leases of a type.
#[inline(always)]
pub(super) fn lease_tag(kind: Kind) -> *const u8 {
    &raw const TAGS[FAMILY_TAG + 1 + kind as usize]
}

fn family_tag() -> *const u8 {
    &raw const TAGS[FAMILY_TAG]
}

/// What a family's block points to, as long as it isn't finalized.
pub(super) struct FamilyContent {
    pub(super) family: Arc<Family>,
    pub(super) writer: RefCell<FamilyWriter>,
    /// Which kinds of bad input have been logged, as bits.
    pub(super) noticed: Cell<u32>,
    /// Of how many series it has been logged that they have no sum any more.
    pub(super) without_sum: Cell<u32>,
}

impl FamilyContent {
    pub(super) fn new(writer: FamilyWriter) -> FamilyContent {
        FamilyContent {
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
    content: Cell<*mut FamilyContent>,
}

/// How long a block may be.
pub(super) enum Length {
    /// As long as the type.
    Exactly,
    /// The type is only its beginning.
    AtLeast,
}

/// The block at `index` if it is a userdata of `T`'s size with this tag first.
///
/// # Safety
/// - `index` is valid, or that of a missing argument.
/// - `T` begins with its tag, and is no stricter aligned than a pointer.
#[inline(always)]
pub(super) unsafe fn block_at<T>(
    state: *mut lua_State,
    index: c_int,
    tag: *const u8,
    length: Length,
) -> Option<*const T> {
    // SAFETY:
    // - `lua_touserdata` gives null for what is no userdata. Light userdata, which may be any address, have the length
    //   0.
    // - So as many bytes as `T` has are there when the first of them are read. Lua aligns blocks for any C type.
    // - A foreign userdata may have anything there, also bytes that nobody has written. They are compared alone, with
    //   the address of a byte of this module, which no other module has.
    unsafe {
        let block = ffi::lua_touserdata(state, index);
        if block.is_null() {
            return None;
        }
        let found = ffi::lua_rawlen(state, index) as usize;
        let fits = match length {
            Length::Exactly => found == size_of::<T>(),
            Length::AtLeast => found >= size_of::<T>(),
        };
        (fits && block.cast::<*const u8>().read() == tag).then_some(block.cast())
    }
}

impl FamilyBlock {
    /// Pushes a new block, empty and without a metatable yet.
    ///
    /// # Safety
    /// There is room for one value, and nothing with a destructor is alive.
    pub(super) unsafe fn push(state: *mut lua_State) -> *const FamilyBlock {
        // SAFETY: the block has the size of what is written to it, and Lua aligns it for any C type.
        unsafe {
            room(state, 1);
            let block: *mut FamilyBlock = ffi::lua_newuserdata(state, size_of::<FamilyBlock>()).cast();
            block.write(FamilyBlock {
                tag: family_tag(),
                content: Cell::new(std::ptr::null_mut()),
            });
            block
        }
    }

    /// Gives an empty block its content.
    pub(super) fn fill(&self, content: FamilyContent) {
        holds!(self.content.get().is_null(), "a block is filled twice");
        self.content.set(Box::into_raw(Box::new(content)));
    }

    /// The block at `index`, or an error.
    ///
    /// # Safety
    /// - `index` is valid, or that of a missing argument.
    /// - The block is used no longer than it is on the stack or otherwise referred to.
    #[inline(always)]
    pub(super) unsafe fn at<'a>(state: *mut lua_State, index: c_int) -> Result<&'a FamilyBlock, Stop> {
        // SAFETY: what has the tag was written by `push` and is changed through cells alone; it lives by the second
        // condition.
        unsafe {
            match block_at::<FamilyBlock>(state, index, family_tag(), Length::Exactly) {
                Some(block) => Ok(&*block),
                None => Err(c"metre: a metric family expected".into()),
            }
        }
    }

    /// The block that is an upvalue of the function that runs.
    ///
    /// # Safety
    /// - The function was made with a family's block there. (Lua code gets at upvalues of C functions by the debug
    ///   library alone; who sets one can do as much to any C function.)
    /// - The block is used no longer than the function runs.
    #[inline(always)]
    pub(super) unsafe fn of_call<'a>(state: *mut lua_State, upvalue: c_int) -> &'a FamilyBlock {
        let index = ffi::lua_upvalueindex(upvalue);
        // SAFETY: by the contract above; the function that runs keeps its upvalues.
        unsafe {
            holds!(FamilyBlock::at(state, index).is_ok(), "upvalue {upvalue} is no family");
            &*ffi::lua_touserdata(state, index).cast()
        }
    }

    /// Runs `use_it` on the content, or gives `None` if that is gone. Whatever Lua does, nothing of the content is kept
    /// meanwhile: `use_it` calls nothing that runs Lua, and what it returns borrows nothing.
    #[inline(always)]
    pub(super) fn with<T: 'static>(&self, use_it: impl FnOnce(&FamilyContent) -> T) -> Result<Option<T>, Stop> {
        // SAFETY:
        // - The pointer is null or from `fill`'s box, which `finalize` alone drops, setting the pointer to null.
        // - `finalize` runs in a finalizer or in a call of `__gc` by hand. Both need Lua, which `use_it` doesn't run.
        // - All threads but Lua's know the family by its `Arc`, never the content.
        pure(|| unsafe { self.content.get().as_ref() }.map(use_it))
    }

    /// Drops the content.
    fn finalize(&self) {
        let content = self.content.replace(std::ptr::null_mut());
        if !content.is_null() {
            // SAFETY: it came from `Box::into_raw`, is dropped once, as the pointer is null from now on, and nobody is
            // inside of `with`, which runs no Lua.
            drop(unsafe { Box::from_raw(content) });
        }
    }
}

/// `__gc` of families. By `debug.getmetatable` Lua code can call it with anything, also twice.
pub(super) unsafe extern "C-unwind" fn family_gc(state: *mut lua_State) -> c_int {
    // SAFETY: the argument stays on the stack while the block is used, and what drops the content runs in `pure`.
    unsafe {
        run(state, "__gc", || {
            let block = FamilyBlock::at(state, 1)?;
            pure(|| block.finalize())?;
            Ok(0)
        })
    }
}
