//! What a sandbox denies and safe code has no words for: for tests that try it.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::io;
use std::ptr;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

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

/// Has a system call refused from here on (EPERM), as the profile of a container may do:
/// `close_range` or `prlimit64`.
///
/// # Errors
/// When there is no seccomp, or the call is another.
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
