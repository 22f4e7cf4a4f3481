//! Memory that only starting needed.
//!
//! Starting runs a little code in many places of this module, and around each of them the kernel maps sixteen pages, in the end nearly
//! the whole file. Here they are given back. What is used again comes from the page cache, for the price of a page fault.

use mlua::ffi::lua_State;
use nix::libc::{self, c_int, c_void, size_t};
use std::sync::atomic::{AtomicBool, Ordering::*};

/// `trim()`: gives back the pages of this module's code and constants, the first time that it is called in a process.
pub(super) unsafe extern "C-unwind" fn trim(_: *mut lua_State) -> c_int {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Relaxed) {
        // SAFETY: `visit` is called with objects that are loaded, while none is being unloaded, and doesn't unwind.
        unsafe { libc::dl_iterate_phdr(Some(visit), std::ptr::null_mut()) };
    }
    0
}

/// Something in this module.
static HERE: u8 = 0;

/// Looks at one loaded object, and ends the search by 1 if it was this module.
unsafe extern "C" fn visit(object: *mut libc::dl_phdr_info, _size: size_t, _data: *mut c_void) -> c_int {
    // SAFETY: the loader hands out a valid description of an object with its program headers.
    let (base, headers) = unsafe {
        let object = &*object;
        if object.dlpi_phdr.is_null() {
            return 0;
        }
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
        (object.dlpi_addr, headers)
    };
    let segments = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let here = &raw const HERE as u64;
    if !segments().any(|segment| (base + segment.p_vaddr..base + segment.p_vaddr + segment.p_memsz).contains(&here)) {
        return 0;
    }
    // SAFETY: `sysconf` has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    if !page.is_power_of_two() {
        return 1;
    }
    // Nobody has ever written to these, so they are as they are in the file; those that the loader relocates are writable ones.
    for segment in segments().filter(|segment| segment.p_flags & libc::PF_W == 0) {
        let start = (base + segment.p_vaddr) & !(page - 1);
        let end = (base + segment.p_vaddr + segment.p_memsz).next_multiple_of(page);
        // SAFETY: whole pages of a mapping from a file that were never changed read as before afterwards. What this returns
        // doesn't matter: if they stay, they stay.
        unsafe {
            libc::madvise(
                start as usize as *mut c_void,
                (end - start) as usize,
                libc::MADV_DONTNEED,
            );
        }
    }
    1
}
