//! Operations that a sandbox denies and that safe code cannot express. Tests use them to try the
//! sandbox.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Forks a process that ends at once, and reaps it. The caller must have only one thread.
///
/// # Errors
/// When the sandbox denies that.
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

/// Becomes the tracer of a process, which keeps running.
///
/// # Errors
/// When the sandbox denies that.
pub fn trace(pid: u32) -> io::Result<()> {
    let null = ptr::null_mut::<libc::c_void>();
    // SAFETY: this request takes no memory of this process, and what it does to another process
    // does not touch this one's memory.
    let got = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid.cast_signed(), null, null) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the kernel refuse a system call from here on (EPERM), as a container's profile may do. The
/// call is `close_range` or `prlimit64`.
///
/// # Errors
/// When there is no seccomp, or `call` is another call.
pub fn refuse(call: &str) -> io::Result<()> {
    let number = match call {
        "close_range" => libc::SYS_close_range,
        "prlimit64" => libc::SYS_prlimit64,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let calls = BTreeMap::from([(number, Vec::new())]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = TargetArch::try_from(ARCH).map_err(io::Error::other)?;
    let program: BpfProgram = SeccompFilter::new(calls, SeccompAction::Allow, refuse, arch)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// Writes into bytes that are borrowed for reading, as a stray pointer does.
pub fn write_astray(bytes: &[u8]) {
    for byte in bytes {
        // SAFETY: none. A test calls this where the page can only be read, and the kernel ends the
        // process for it; anything else that this may write to belongs to a test that then fails.
        unsafe { ptr::from_ref(byte).cast_mut().write_volatile(!*byte) };
    }
}

/// Writes through `/proc/self/mem` into bytes that are borrowed for reading. That file ignores
/// whether a page is writable if the kernel may make a copy of the page.
///
/// # Errors
/// When the kernel or the sandbox denies that.
pub fn write_through_proc(bytes: &[u8], with: &[u8]) -> io::Result<()> {
    let memory = File::options().write(true).open("/proc/self/mem")?;
    memory.write_all_at(with, bytes.as_ptr() as u64)
}

/// Makes the pages that hold these bytes writable. The first byte must be at the start of a page.
///
/// # Errors
/// When the kernel or the sandbox denies that.
pub fn unprotect(bytes: &[u8]) -> io::Result<()> {
    let start = bytes.as_ptr().cast_mut().cast();
    // SAFETY: the kernel changes what may be done with the pages, and no byte of them.
    let got = unsafe { libc::mprotect(start, bytes.len(), libc::PROT_READ | libc::PROT_WRITE) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
