//! The system calls that a worker may make in its sandbox.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError,
    SeccompCmpArgLen::{self, Dword, Qword},
    SeccompCmpOp::{self, Eq, MaskedEq},
    SeccompCondition, SeccompRule,
};

/// Calls that are allowed with any arguments. The kernel remembers that decision, so these calls
/// cost next to nothing.
const FREE: &[c_long] = &[
    // Memory, and memory files: a large output may be one of these.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Open descriptors. None of these calls makes a descriptor from a name.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    // ipc-channel. Each socket keeps the peer that it was created with.
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // Waiting and time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_setitimer,
    // The process itself. Programs do not expect an error where none is documented.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

/// What one argument has to be: its index, its width, how to compare it, and with what value.
type Condition = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

/// Calls that are allowed only with such arguments. Several entries for one call are alternatives.
fn bound() -> Vec<(c_long, Vec<Condition>)> {
    let own = u64::from(std::process::id());
    let command = |command: libc::c_int| vec![(1, Dword, Eq, command as u64)];
    vec![
        // Only to its own process: the process aborts that way.
        (libc::SYS_kill, vec![(0, Dword, Eq, own)]),
        (libc::SYS_tgkill, vec![(0, Dword, Eq, own)]),
        // Only for its own thread: it leaves the core of the thread that sends it requests.
        (libc::SYS_sched_getaffinity, vec![(0, Dword, Eq, 0)]),
        (libc::SYS_sched_setaffinity, vec![(0, Dword, Eq, 0)]),
        // Not F_SETOWN, which makes the kernel send signals.
        (libc::SYS_fcntl, command(libc::F_GETFD)),
        (libc::SYS_fcntl, command(libc::F_SETFD)),
        (libc::SYS_fcntl, command(libc::F_GETFL)),
        (libc::SYS_fcntl, command(libc::F_SETFL)),
        (libc::SYS_fcntl, command(libc::F_DUPFD_CLOEXEC)),
        // The C library's `fstat` uses this from version 2.33 to 2.38. The call also accepts a
        // name, so the process can see a file's metadata, but not its content.
        (libc::SYS_newfstatat, vec![(3, Dword, Eq, libc::AT_EMPTY_PATH as u64)]),
        // Only without an address: with one, a datagram socket could reach any other socket.
        (libc::SYS_sendto, vec![(4, Qword, Eq, 0)]),
        // ipc-channel sends a long message this way.
        (
            libc::SYS_socketpair,
            vec![
                (0, Dword, Eq, libc::AF_UNIX as u64),
                (1, Dword, MaskedEq(0xf), libc::SOCK_SEQPACKET as u64),
            ],
        ),
    ]
}

/// The rules of the filter: each allowed call, with the conditions on its arguments.
pub(super) fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FREE.iter().map(|&call| (call, Vec::new())).collect();
    for (call, conditions) in bound() {
        let conditions = conditions
            .into_iter()
            .map(|(place, width, compare, with)| SeccompCondition::new(place, width, compare, with))
            .collect::<Result<_, _>>()?;
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    }
    Ok(rules)
}
