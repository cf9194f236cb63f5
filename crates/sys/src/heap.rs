//! What the C library's allocator does with freed memory.

/// Keeps freed memory for the next allocation instead of giving it back to the kernel.
///
/// Jobs allocate and free the same few large buffers again and again. By default, glibc maps many
/// of them anew or trims the heap after a job; then each page of each job costs a page fault. With
/// this setting, buffers of up to 32 MiB come from the heap, and up to 256 MiB of freed memory stay
/// there.
///
/// The allocator also merges small freed pieces with their neighbours at once. By default, glibc
/// delays that until something large is freed. Meanwhile the heap of a worker whose jobs are all
/// small grows; one worker's heap grew by half a mebibyte.
///
/// Programs call this at their start; a library leaves the choice to the program. Does nothing with
/// another C library.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        const MIB: libc::c_int = 1 << 20;
        // SAFETY: `mallopt` only stores the figures, under the allocator's lock.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 * MIB);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 256 * MIB);
            libc::mallopt(libc::M_MXFAST, 0);
        }
    }
}

/// Makes all threads allocate from one heap. By default, glibc gives each new thread one of up to
/// eight heaps per core, and keeps in each heap what was freed there. A coordinator that replaces
/// workers also replaces the threads that serve them, and would grow by several mebibytes that way.
///
/// For programs whose threads seldom allocate at the same time. Otherwise as for
/// [`keep_freed_memory`].
pub fn use_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: as above.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
