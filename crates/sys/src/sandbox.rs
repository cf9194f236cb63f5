//! A sandbox that a process enters for good. Inside, the process has no access to files, the
//! network, programs or other processes, and cannot start a process or a thread.
//!
//! The sandbox has two parts that do not rely on each other. *seccomp* allows a list of system
//! calls and answers every other call with EPERM: a forbidden call gets an error and does not kill
//! the process. The kernel's audit log records the call, too. *Landlock* takes away all rights to
//! the file system, to TCP, and to signals and abstract sockets outside the sandbox (as far as the
//! kernel knows these), whichever system call uses them. What was open before stays open.

#[doc(hidden)]
pub mod attempts;
mod calls;

use std::env::consts::ARCH;
use std::fmt;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// A part of the sandbox. A kernel may lack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxPart {
    /// The Landlock security module.
    Landlock,
    /// Seccomp, the kernel's system call filters.
    Seccomp,
}

impl SandboxPart {
    /// Both parts.
    pub const ALL: [Self; 2] = [Self::Landlock, Self::Seccomp];

    /// The kernel version and configuration that the part needs.
    pub fn needs(self) -> &'static str {
        match self {
            Self::Landlock => "Linux 5.13 or later with landlock among its security modules",
            Self::Seccomp => "Linux 4.14 or later with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64",
        }
    }
}

impl fmt::Display for SandboxPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

/// The parts that this kernel lacks. This check restricts nothing.
pub fn missing() -> Vec<SandboxPart> {
    let has = |part: &SandboxPart| match part {
        SandboxPart::Landlock => has_landlock(),
        SandboxPart::Seccomp => has_seccomp(),
    };
    SandboxPart::ALL.into_iter().filter(|part| !has(part)).collect()
}

fn has_landlock() -> bool {
    // Create a ruleset, and put no thread under it.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

fn has_seccomp() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads the four bytes of `action` and changes nothing.
    let known = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    known == 0 && TargetArch::try_from(ARCH).is_ok()
}

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether this process has called [`enter`].
pub(crate) fn is_entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// Puts this process into the sandbox. Returns the parts that failed, each with the reason; the
/// other parts are in force.
///
/// From here on this process cannot open or create a file, connect, execute a program, fork, start
/// a thread, trace a process, or signal any process but itself. It can use its memory, and the
/// descriptors that it has or receives.
pub fn enter() -> Vec<(SandboxPart, String)> {
    // The first use of these two looks up their fast paths, in files and by calls that the sandbox
    // does not allow. Without that lookup, reading the clock would be a system call.
    crate::clock::now();
    crate::affinity::core();
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    // seccomp needs `no_new_privs`, which is just as useful without seccomp.
    let unprivileged = rustix::thread::set_no_new_privs(true).map_err(io::Error::from);
    let landlock = match threads {
        1 => landlock().map_err(|error| error.to_string()),
        n => Err(format!("it covers one thread, and this process has {n}")),
    };
    let seccomp = unprivileged
        .map_err(|error| error.to_string())
        .and_then(|()| seccomp(libc::SECCOMP_FILTER_FLAG_TSYNC));
    ENTERED.store(true, Ordering::Relaxed);
    let ends = [(SandboxPart::Landlock, landlock), (SandboxPart::Seccomp, seccomp)];
    ends.into_iter().filter_map(|(part, end)| Some((part, end.err()?))).collect()
}

/// Takes away the calling thread's rights. Requires the first version of the Landlock interface. Of
/// what later versions can forbid, forbids as much as the kernel knows.
fn landlock() -> Result<(), RulesetError> {
    let latest = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(latest))?
        .handle_access(AccessNet::from_all(latest))?
        .scope(Scope::from_all(latest))?
        .create()?
        .restrict_self()?;
    // The first version was a hard requirement, so at least that is enforced.
    debug_assert_ne!(status.ruleset, RulesetStatus::NotEnforced);
    Ok(())
}

/// Puts the filter on the calling thread, or with `SECCOMP_FILTER_FLAG_TSYNC` on all threads.
fn seccomp(flags: libc::c_ulong) -> Result<(), String> {
    let program = filter().map_err(|error| error.to_string())?;
    let program =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut().cast() };
    // Not through seccompiler's own function, which cannot ask for the log.
    let flags = flags | libc::SECCOMP_FILTER_FLAG_LOG;
    // SAFETY: `program` names a live array of that many instructions, in the kernel's
    // own layout; it is copied and not written.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            ptr::from_ref(&program),
        )
    };
    match done {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error().to_string()),
        thread => Err(format!("thread {thread} has a filter of its own")),
    }
}

fn filter() -> Result<BpfProgram, BackendError> {
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = TargetArch::try_from(ARCH)?;
    SeccompFilter::new(calls::allowed()?, refuse, SeccompAction::Allow, arch)?.try_into()
}

#[cfg(test)]
mod tests;
