//! The system calls of a worker in its sandbox.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError,
    SeccompCmpArgLen::{self, Dword, Qword},
    SeccompCmpOp::{self, Eq, MaskedEq},
    SeccompCondition, SeccompRule,
};

/// Allowed whatever their arguments are. The kernel remembers that, so they cost next
/// to nothing.
const FREE: &[c_long] = &[
    // Memory, and memory files: a large output may be one.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Descriptors that are open. None of these makes one from a name.
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
    // ipc-channel: sockets have the peers that they were made with.
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
    // Itself. Programs reckon with no error where none is documented.
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

/// What one argument has to be: its place, its width, how it is compared, with what.
type Condition = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

/// Allowed with such arguments; several entries for a call are alternatives.
fn bound() -> Vec<(c_long, Vec<Condition>)> {
    let own = u64::from(std::process::id());
    let command = |command: libc::c_int| vec![(1, Dword, Eq, command as u64)];
    vec![
        // Its own process only: that is how it aborts.
        (libc::SYS_kill, vec![(0, Dword, Eq, own)]),
        (libc::SYS_tgkill, vec![(0, Dword, Eq, own)]),
        // Its own thread only: it leaves the core of who gives it orders.
        (libc::SYS_sched_getaffinity, vec![(0, Dword, Eq, 0)]),
        (libc::SYS_sched_setaffinity, vec![(0, Dword, Eq, 0)]),
        // Not F_SETOWN, which sends signals.
        (libc::SYS_fcntl, command(libc::F_GETFD)),
        (libc::SYS_fcntl, command(libc::F_SETFD)),
        (libc::SYS_fcntl, command(libc::F_GETFL)),
        (libc::SYS_fcntl, command(libc::F_SETFL)),
        (libc::SYS_fcntl, command(libc::F_DUPFD_CLOEXEC)),
        // `fstat` of C libraries from 2.33 to 2.38. A name can be given with it too,
        // so metadata of a file can be seen; its content cannot.
        (libc::SYS_newfstatat, vec![(3, Dword, Eq, libc::AT_EMPTY_PATH as u64)]),
        // Not to an address: a datagram socket could reach any other.
        (libc::SYS_sendto, vec![(4, Qword, Eq, 0)]),
        // ipc-channel's way for a long message.
        (
            libc::SYS_socketpair,
            vec![
                (0, Dword, Eq, libc::AF_UNIX as u64),
                (1, Dword, MaskedEq(0xf), libc::SOCK_SEQPACKET as u64),
            ],
        ),
    ]
}

/// The rules of the filter.
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
