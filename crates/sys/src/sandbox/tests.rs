//! Each test puts its restriction on a thread of its own, so that it does not affect other threads.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{catch_unwind, resume_unwind};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use libc::c_long;

use super::*;

/// The error number of a raw call; 0 if the call succeeded.
fn errno(result: c_long) -> i32 {
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

/// Tries on `other`, a process of this test, what a process in the sandbox may not do. Returns the
/// error numbers.
fn tries(other: i32) -> Vec<(&'static str, i32)> {
    let null = ptr::null_mut::<libc::c_void>();
    let mut byte = 0_u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: each call is given live memory or null where it allows null; what they
    // open is closed at the end of the test process; the forked child does nothing
    // but end.
    unsafe {
        let fork = || match libc::fork() {
            0 => libc::_exit(0),
            pid if pid > 0 => c_long::from(libc::waitpid(pid, ptr::null_mut(), 0).min(0)),
            failed => c_long::from(failed),
        };
        vec![
            ("open", errno(libc::open(c"/".as_ptr(), libc::O_RDONLY).into())),
            ("stat", errno(libc::access(c"/".as_ptr(), libc::F_OK).into())),
            ("socket", errno(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into())),
            ("unix socket", errno(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into())),
            ("datagrams", {
                let mut pair = [0; 2];
                errno(libc::socketpair(1, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()).into())
            }),
            ("execve", errno(libc::execve(c"/none".as_ptr(), null.cast(), null.cast()).into())),
            ("fork", errno(fork())),
            ("ptrace", errno(libc::ptrace(libc::PTRACE_SEIZE, other, null, null))),
            ("its memory", {
                let none = libc::iovec { iov_base: null, iov_len: 0 };
                errno(libc::process_vm_readv(other, &local, 1, &none, 1, 0) as c_long)
            }),
            ("kill", errno(libc::kill(other, 0).into())),
            ("pidfd", errno(libc::syscall(libc::SYS_pidfd_open, other, 0))),
            ("owner of signals", errno(libc::fcntl(0, libc::F_SETOWN, other).into())),
            ("its affinity", {
                let mut set = std::mem::zeroed();
                errno(libc::sched_getaffinity(other, size_of_val(&set), &raw mut set).into())
            }),
            ("its limits", {
                errno(libc::prlimit(other, libc::RLIMIT_NOFILE, ptr::null(), null.cast()).into())
            }),
        ]
    }
}

struct OtherProcess(Child);

impl OtherProcess {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Whether this machine lacks a part. The test is skipped then.
fn lacks(part: SandboxPart) -> bool {
    let lacks = missing().contains(&part);
    if lacks {
        crate::skip::skip("sandbox", &format!("there is no {part} here"));
    }
    lacks
}

#[test]
fn what_the_filter_does_not_allow_is_refused_and_does_not_kill() {
    if lacks(SandboxPart::Seccomp) {
        return;
    }
    let other = OtherProcess::start();
    let pid = other.pid();
    let inside = thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        seccomp(0).unwrap();
        tries(pid)
    });
    for (what, errno) in inside.join().unwrap() {
        assert_eq!(errno, libc::EPERM, "{what}");
    }
    // Nothing forbids these outside the sandbox; otherwise the check above would show nothing.
    let outside = OtherProcess::start();
    for (what, errno) in tries(outside.pid()) {
        assert!(![libc::EPERM, libc::EACCES].contains(&errno), "{what}: {errno}");
    }
}

#[test]
fn what_a_worker_does_is_allowed() {
    if lacks(SandboxPart::Seccomp) {
        return;
    }
    let inside = thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        seccomp(0).unwrap();
        crate::affinity::step_aside();
        thread::sleep(Duration::from_micros(1));
        let map = HashMap::from([(1, vec![0_u8; 1 << 20])]);
        let caught = catch_unwind(|| resume_unwind(Box::new(map.len())));
        let own = rustix::process::getpid();
        (caught.is_err(), rustix::process::test_kill_process(own).is_ok())
    });
    assert_eq!(inside.join().unwrap(), (true, true));
}

#[test]
fn landlock_alone_takes_the_file_system() {
    if lacks(SandboxPart::Landlock) {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let path = own.clone();
    let inside = thread::spawn(move || {
        landlock().unwrap();
        File::open(path).map(drop).map_err(|error| error.kind())
    });
    assert_eq!(inside.join().unwrap(), Err(io::ErrorKind::PermissionDenied));
    File::open(own).unwrap();
}

#[test]
fn a_kernel_that_lacks_a_part_is_found_out() {
    if lacks(SandboxPart::Seccomp) {
        return;
    }
    let without = |call: c_long| {
        thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let answer = SeccompAction::Errno(libc::ENOSYS as u32);
            let arch = TargetArch::try_from(ARCH).unwrap();
            let rules = [(call, Vec::new())].into();
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).unwrap();
            seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
            missing()
        })
        .join()
        .unwrap()
    };
    let always = missing();
    for (part, call) in [
        (SandboxPart::Landlock, libc::SYS_landlock_create_ruleset),
        (SandboxPart::Seccomp, libc::SYS_seccomp),
    ] {
        assert!(without(call).contains(&part), "{part}");
        assert!(!always.contains(&part) || part == SandboxPart::Landlock);
    }
}
