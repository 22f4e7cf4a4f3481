//! Memory that only starting needed.
//!
//! Starting runs a little code in many places of this module, and around each of them the kernel maps sixteen pages, in the end nearly
//! the whole file. Here they are given back. What is used again comes from the page cache, for the price of a page fault.

use super::call::run;
use mlua::ffi::lua_State;
use nix::libc::{self, c_int, c_void, size_t};
use std::sync::atomic::{AtomicBool, Ordering::*};

/// `trim()`: gives back the pages of this module's code and constants, the first time that it is called in a process.
pub(super) unsafe extern "C-unwind" fn trim(state: *mut lua_State) -> c_int {
    static DONE: AtomicBool = AtomicBool::new(false);
    // SAFETY: `visit` is called with objects that are loaded, while none is being unloaded, and doesn't unwind.
    unsafe {
        run(state, "trim", || {
            if !DONE.swap(true, Relaxed) {
                libc::dl_iterate_phdr(Some(visit), std::ptr::null_mut());
            }
            Ok(0)
        })
    }
}

#[cfg(target_pointer_width = "64")]
type Header = libc::Elf64_Phdr;
#[cfg(not(target_pointer_width = "64"))]
type Header = libc::Elf32_Phdr;

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
        (object.dlpi_addr as usize, headers)
    };
    let segments = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let range = |segment: &Header| {
        let start = base + segment.p_vaddr as usize;
        start..start + segment.p_memsz as usize
    };
    if !segments().any(|segment| range(segment).contains(&(&raw const HERE).addr())) {
        return 0;
    }
    // SAFETY: `sysconf` has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    if !page.is_power_of_two() {
        return 1;
    }
    // Nobody but a debugger writes to these, so they are as they are in the file; those that the loader relocates are writable ones.
    for segment in segments().filter(|segment| segment.p_flags & libc::PF_W == 0) {
        let range = range(segment);
        let start = range.start & !(page - 1);
        // SAFETY: whole pages of a mapping from a file that were never changed read as before afterwards. What this returns
        // doesn't matter: if they stay, they stay.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                range.end.next_multiple_of(page) - start,
                libc::MADV_DONTNEED,
            );
        }
    }
    1
}
