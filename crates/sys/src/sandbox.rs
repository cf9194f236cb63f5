//! A sandbox that a process shuts itself into for good: no file, no network, no
//! program, no further process or thread, nothing of another process.
//!
//! Two parts that do not trust each other. *seccomp* allows a list of system calls and
//! answers every other with EPERM, so what is forbidden is told and does not kill; the
//! kernel's audit log has it too. *Landlock* takes all rights to the file system, to
//! TCP, and to signals and abstract sockets outside of the sandbox (as far as the
//! kernel knows these), whatever system call they are used through. What was open
//! before stays open.

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

/// A part of the sandbox, which a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Landlock security module.
    Landlock,
    /// Filters of system calls.
    Seccomp,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Landlock, Self::Seccomp];

    /// Where there is one.
    pub fn needs(self) -> &'static str {
        match self {
            Self::Landlock => "Linux 5.13 or later with landlock among its security modules",
            Self::Seccomp => "Linux 4.14 or later with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

/// The parts that this kernel lacks. Nothing is restricted by asking.
pub fn missing() -> Vec<Part> {
    let has = |part: &Part| match part {
        Part::Landlock => has_landlock(),
        Part::Seccomp => has_seccomp(),
    };
    Part::ALL.into_iter().filter(|part| !has(part)).collect()
}

fn has_landlock() -> bool {
    // A set of rules that nobody is put under.
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

/// Whether this process has shut itself in.
pub(crate) fn is_entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// Shuts this process in. Returns the parts that failed, with the reason; the others
/// are in force.
///
/// From here on it cannot open or make a file, connect, execute, fork, start a thread,
/// trace, or signal anybody but itself. It can use its memory and the descriptors that
/// it has or is sent.
pub fn enter() -> Vec<(Part, String)> {
    // Looked up at the first use, in files and by calls that are not allowed afterwards;
    // without them the clock would be a system call.
    crate::clock::now();
    crate::affinity::core();
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    // seccomp needs it, and it is no less useful alone.
    let unprivileged = rustix::thread::set_no_new_privs(true).map_err(io::Error::from);
    let landlock = match threads {
        1 => landlock().map_err(|error| error.to_string()),
        n => Err(format!("it covers one thread, and this process has {n}")),
    };
    let seccomp = unprivileged
        .map_err(|error| error.to_string())
        .and_then(|()| seccomp(libc::SECCOMP_FILTER_FLAG_TSYNC));
    ENTERED.store(true, Ordering::Relaxed);
    let ends = [(Part::Landlock, landlock), (Part::Seccomp, seccomp)];
    ends.into_iter().filter_map(|(part, end)| Some((part, end.err()?))).collect()
}

/// Takes the calling thread's rights. The first version of the interface has to be
/// there; of what later ones can forbid, as much as the kernel knows.
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
    // It was created for the first version at least.
    debug_assert_ne!(status.ruleset, RulesetStatus::NotEnforced);
    Ok(())
}

/// Puts the filter over the calling thread, or with `SECCOMP_FILTER_FLAG_TSYNC` over
/// all of them.
fn seccomp(flags: libc::c_ulong) -> Result<(), String> {
    let program = filter().map_err(|error| error.to_string())?;
    let program =
        libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut().cast() };
    // Not seccompiler's own, which cannot ask for the log.
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
