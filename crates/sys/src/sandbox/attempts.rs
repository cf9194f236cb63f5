//! What a sandbox denies and safe code has no words for: for tests that try it.

use std::io;
use std::ptr;

/// Forks a process that ends at once, and takes its end. The caller has one thread.
///
/// # Errors
/// When that is denied.
pub fn fork() -> io::Result<()> {
    // SAFETY: the child does nothing but end. The status is not asked for.
    let got = unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            pid if pid > 0 => libc::waitpid(pid, ptr::null_mut(), 0),
            failed => failed,
        }
    };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Becomes the tracer of a process, which runs on.
///
/// # Errors
/// When that is denied.
pub fn trace(pid: u32) -> io::Result<()> {
    let null = ptr::null_mut::<libc::c_void>();
    // SAFETY: this request takes no memory of ours, and what it does to another process is
    // not this one's memory.
    let got = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid.cast_signed(), null, null) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
