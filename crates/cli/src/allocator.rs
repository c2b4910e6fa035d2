//! The allocator, how soon it gives freed memory back to the system, and the size of its pages.

use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, whose options have no names in Rust.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Ten seconds: queries free and take large tables all the time, and to have the system clear them
/// again was a seventh of their CPU.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// For loads: a quarter less memory than with the allocator's own second, for some 8% more CPU.
pub(crate) const SHORT: Duration = Duration::from_millis(20);

/// Says how long freed memory is kept. To be called before other threads run.
pub(crate) fn keep_freed_memory(time: Duration) {
    let milliseconds =
        std::ffi::c_long::try_from(time.as_millis()).unwrap_or(std::ffi::c_long::MAX);
    // Sound: the option exists, any value of it is allowed, and no other thread runs yet.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, milliseconds);
    }
}

/// How long a build runs before memory comes in huge pages.
pub(crate) const HUGE_PAGES_AFTER: Duration = Duration::from_secs(1);

/// Whether the system may give memory in pages of 2 MiB from now on (Linux; elsewhere nothing
/// happens).
///
/// Large hash tables are a fifth quicker in them. A short run is twice as slow and takes a quarter
/// more memory, as the system clears all of a page of which little is used; a load, whose buffers
/// are many and small, is some 10% slower. Processes that are started from here inherit it.
pub(crate) fn huge_pages(allowed: bool) {
    // Sound: the call takes plain numbers and touches no memory of ours. If it is refused, pages
    // stay as they are.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    unsafe {
        let zero: libc::c_ulong = 0;
        libc::prctl(libc::PR_SET_THP_DISABLE, libc::c_ulong::from(!allowed), zero, zero, zero);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = allowed;
}
