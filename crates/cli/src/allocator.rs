//! The allocator, and how soon it gives freed memory back to the system.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3, whose options have no names in Rust.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
const MILLISECONDS: std::ffi::c_long = 10_000;

/// Keeps freed memory for ten seconds instead of one. Queries free and take large tables all the
/// time, and to have the system clear them again was a seventh of their CPU.
pub(crate) fn keep_freed_memory() {
    // Sound: the option exists, any value of it is allowed, and no other thread runs yet.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, MILLISECONDS);
    }
}
