//! What the C library's allocator does with memory that was freed.

/// Keeps freed memory for the next allocation instead of giving it back to the kernel.
///
/// Jobs allocate and free the same few large buffers again and again. By default glibc maps
/// many of them anew or trims the heap after a job, and then each page of each job costs a
/// page fault. With this, buffers of up to 32 MiB come from the heap, and up to 256 MiB of
/// freed memory stay there.
///
/// Small pieces that were freed are joined with their neighbours at once: glibc puts that off
/// until something large is freed, and meanwhile the heap of a worker whose jobs are all small
/// grows, by half a mebibyte until it is noticed.
///
/// For programs, at their start; a library leaves this to the program. Does nothing where
/// the C library is another one.
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

/// Has all threads allocate from one heap. By default glibc gives each new thread one of up to
/// eight heaps for each core, and keeps in each what was freed there: a coordinator whose workers
/// are replaced, and with them the threads that serve them, grows by several mebibytes that way.
///
/// For programs whose threads allocate little at the same time. As above else.
pub fn use_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: as above.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
