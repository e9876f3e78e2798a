/// For a process that stays: one arena of the allocator for all threads, large blocks that go back to the kernel as soon as they are
/// free, and little kept for later. To be called before there are threads.
#[allow(unsafe_code)]
pub fn spare_memory() {
    const LARGE: libc::c_int = 32 << 10;
    for (parameter, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE)]
    {
        // SAFETY: mallopt(3) takes two numbers, and refuses those it does not like; no other thread allocates meanwhile.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives the kernel back what is free.
#[allow(unsafe_code)]
pub fn return_memory() {
    // SAFETY: malloc_trim(3) takes a number, and the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}
