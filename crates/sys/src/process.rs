//! Child processes: watched through a pidfd, killed with their whole process group, and reaped with
//! their resource usage.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};

use std::time::{Duration, Instant};

use crate::event_fd::wait_readable;
use crate::process_group_guard::ProcessGroupGuard;
use crate::usage::Usage;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process_group,
    pidfd_open, set_parent_process_death_signal, waitid,
};

/// A child process that leads its own process group and has not been reaped yet.
///
/// While the child is not reaped, the kernel does not reuse its pid, so a signal reaches this child
/// or no process. [`Child::reap`] consumes the value for that reason. Dropping the value kills and
/// reaps the child. The child and its group do not outlive this process, however this process ends;
/// see [`ProcessGroupGuard`].
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    is_reaped: bool,
    _group: ProcessGroupGuard,
}

/// How long to wait for a dead child that a tracer still holds.
pub const HELD_LIMIT: Duration = Duration::from_secs(2);
/// Interval between attempts to reap such a child.
pub const HELD_LOOK: Duration = Duration::from_millis(20);

/// How a child ended, and what it used over its whole life.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    /// Exit status or signal.
    pub status: ExitStatus,
    /// Resources that the child used, including those of its own children that it has reaped.
    pub usage: Usage,
}

impl Reaped {
    /// Processor time in user and system mode, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.usage.user_ns + self.usage.system_ns
    }
}

impl Child {
    /// Watches a child of this process that has not been waited for yet.
    ///
    /// # Errors
    /// When `pid` is not the id of a process, the kernel has no pidfd (Linux before 5.3), or no
    /// descriptor is free.
    pub fn watch(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("not a process id"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let child = Self { pid, pidfd, is_reaped: false, _group: ProcessGroupGuard::new(pid)? };
        OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(child.pid());
        Ok(child)
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// A descriptor that becomes readable when the child ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills the child and every process of its group with SIGKILL. Has no effect on processes that
    /// have already ended.
    pub fn kill_group(&self) {
        // The child is not reaped, so its group exists and this does not fail with ESRCH. One
        // exception: a child that is not a worker may not have set its group yet right after its
        // start. The signal through the pidfd reaches that child.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Stops the child and its group with SIGSTOP.
    pub fn stop_group(&self) {
        let _ = kill_process_group(self.pid, Signal::STOP);
    }

    /// Continues the child and its group after [`Child::stop_group`].
    pub fn continue_group(&self) {
        let _ = kill_process_group(self.pid, Signal::CONT);
    }

    /// Waits until the child has ended, kills what is left of its process group, and reaps the
    /// child.
    ///
    /// # Errors
    /// When other code in this process has already waited for the child, or a tracer holds it for
    /// longer than [`HELD_LIMIT`].
    pub fn reap(mut self) -> io::Result<Reaped> {
        wait_readable(&[self.pidfd()], None)?;
        self.take()
    }

    /// Reaps the child if it has ended. Returns `None` while the child runs, and while it is dead
    /// and a tracer (`strace`, a debugger) has not let go of it yet. Until then no other process
    /// can reap it.
    ///
    /// # Errors
    /// When other code in this process has already waited for the child.
    pub fn try_reap(&mut self) -> io::Result<Option<Reaped>> {
        // Check first without reaping: while the leader is a zombie, its group id is not reused, so
        // the SIGKILL below reaches the right group.
        let ended = loop {
            let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), only_look) {
                Err(rustix::io::Errno::INTR) => {}
                ended => break ended,
            }
        };
        let reaped = match ended {
            Ok(None) => return Ok(None),
            Ok(Some(_)) => {
                let _ = kill_process_group(self.pid, Signal::KILL);
                wait4(self.pid)
            }
            Err(error) => Err(error.into()),
        };
        self.disown();
        reaped.map(Some)
    }

    /// Leaves a dead child to the tracer that holds it. The child stays a zombie at most until this
    /// process ends.
    pub fn abandon(mut self) {
        self.disown();
    }

    fn disown(&mut self) {
        self.is_reaped = true;
        OWN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pid());
    }

    /// Reaps a child that has ended or is about to end. Gives up after [`HELD_LIMIT`].
    fn take(&mut self) -> io::Result<Reaped> {
        let begin = Instant::now();
        loop {
            if let Some(reaped) = self.try_reap()? {
                return Ok(reaped);
            }
            let left = HELD_LIMIT.saturating_sub(begin.elapsed());
            if left.is_zero() {
                self.disown();
                return Err(io::Error::other("it is dead, and a tracer holds it"));
            }
            if wait_readable(&[self.pidfd()], Some(left))?[0] {
                if let Some(reaped) = self.try_reap()? {
                    return Ok(reaped);
                }
                // The child is dead, and a tracer holds it.
                std::thread::sleep(HELD_LOOK);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill_group();
            // Ignore the error: if other code has already waited for the child, it is dead anyway.
            let _ = self.take();
        }
    }
}

fn wait4(pid: Pid) -> io::Result<Reaped> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers point to live, writable memory of the right type.
        let got = unsafe {
            libc::wait4(
                pid.as_raw_nonzero().get(),
                &raw mut status,
                libc::WNOHANG,
                usage.as_mut_ptr(),
            )
        };
        if got > 0 {
            break;
        }
        if got == 0 {
            // The caller's `waitid` has just seen the child ended, yet it cannot be reaped.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: `rusage` consists of plain integers, for which zeroes are valid, and wait4 has filled
    // it in.
    let usage = unsafe { usage.assume_init() };
    Ok(Reaped { status: ExitStatus::from_raw(status), usage: Usage::of(&usage) })
}

/// Describes how a process ended, in words that fit after "worker": "exited with status 1", "killed
/// by SIGSEGV".
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("killed by {}{core}", signal_name(signal))
        }
        (None, None) => "ended".to_owned(),
    }
}

/// Like [`describe`], for a process that this process did not kill. The text says that a SIGKILL
/// came from outside.
pub fn describe_unasked(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGKILL) => {
            "killed by SIGKILL: killed from outside, perhaps by the kernel for memory".to_owned()
        }
        _ => describe(status),
    }
}

/// Whether a signal is one that ends a process from outside, and that a faulty program does not
/// send to itself.
pub fn comes_from_outside(signal: i32) -> bool {
    matches!(signal, libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP)
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGALRM => "SIGALRM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGPROF => "SIGPROF",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// Closes every descriptor above standard error.
///
/// Call this at the very start of a worker's life. Descriptors that were inherited by accident keep
/// other workers' sockets open and hide their deaths. This process must not have opened any
/// descriptor itself yet.
///
/// # Errors
/// When the kernel has no `close_range` (Linux before 5.9) or refuses it.
pub fn close_inherited_descriptors() -> io::Result<()> {
    // SAFETY: called before this process owns any descriptor above 2, so no
    // `OwnedFd` loses what it owns.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the kernel to send SIGKILL to this process when the thread that started it ends. Then
/// checks that `parent` is still this process's parent, because the parent may have died before the
/// signal was set.
///
/// # Errors
/// When this process has another parent.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let actual = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    if actual == parent {
        Ok(())
    } else {
        Err(io::Error::other(format!("the parent is process {actual}, not {parent}")))
    }
}

/// Makes the kernel kill this process before others when memory runs out: a worker can be replaced,
/// its coordinator cannot. Processes that this process starts inherit the setting.
///
/// Without `/proc` this changes nothing.
pub fn be_killed_first() {
    // Any process may raise its own score; 1000 is the maximum.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Whether a signal has stopped a process and nothing has continued it yet. A process that a
/// debugger holds does not count as stopped. Linux only; always false on other systems.
pub fn is_stopped(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// The state letter in `/proc/PID/stat`; `None` if there is no such process or no `/proc`.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name before the state may contain any character, closing brackets too.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Removes variables from this process's environment, so that programs that this process starts do
/// not see them.
///
/// Call this at the start of a worker's life, before it has a second thread.
pub fn clear_environment(names: &[&str]) {
    for name in names.iter().filter(|name| std::env::var_os(name).is_some()) {
        // SAFETY: the worker is single-threaded at this point, so nobody reads the
        // environment at the same time.
        unsafe { std::env::remove_var(name) };
    }
}

/// Kills and reaps the children of this process that have one of `names` and are not among `known`.
/// Returns how many there were.
///
/// A fork server may fork a worker and die before it reports that worker. Such a worker is a child
/// of this process and would stay a zombie.
pub fn reap_strays(names: &[String], known: &[u32]) -> usize {
    let is_stray = |pid: &u32| !known.contains(pid) && names.contains(&name(*pid));
    let strays = children().into_iter().filter(is_stray).filter_map(|pid| Child::watch(pid).ok());
    strays
        .map(|stray| {
            stray.kill_group();
            // No other code knows of this child, so nothing else waits for it.
            let _ = stray.reap();
        })
        .count()
}

/// Pids of the children that a [`Child`] watches and will reap.
pub(crate) static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Kills the children of this process that were stopped before they began to execute their program.
/// Returns how many there were.
///
/// Until its exec, a child has the name of the thread that starts it. That thread waits for the
/// exec, and no other thread knows of the child. This kills only children with one of `names`.
pub fn kill_pre_exec(names: &[&str]) -> usize {
    let is_unborn = |pid: &u32| names.contains(&&*name(*pid)) && is_stopped(*pid);
    let unborn =
        children().into_iter().filter(is_unborn).filter_map(|pid| Pid::from_raw(pid.cast_signed()));
    // Nothing reaps the child before its starting thread goes on, so the pid still belongs to it.
    unborn.filter(|&pid| rustix::process::kill_process(pid, Signal::KILL).is_ok()).count()
}

/// Pids of all children of this process; empty without `/proc`.
pub(crate) fn children() -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let lists = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// The name of a process, see [`set_name`]. Empty if there is no such process or no `/proc`.
pub fn name(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Sets the calling thread's name, which `ps` and `top` show. The name of a process is that of its
/// main thread.
pub fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // The name is cosmetic, so a failure does not matter.
        let _ = rustix::thread::set_name(&name);
    }
}

/// This process's id.
pub fn pid() -> u32 {
    getpid().as_raw_nonzero().get().cast_unsigned()
}

/// The effective user id of this process.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use crate::sandbox::attempts;

    #[expect(clippy::zombie_processes, reason = "reaped through its pidfd")]
    fn sh(script: &str) -> Child {
        let child = Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap();
        Child::watch(child.id()).unwrap()
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(describe(sh("exit 3").reap().unwrap().status), "exited with status 3");
        let status = sh("kill -SEGV $$").reap().unwrap().status;
        assert_eq!(describe(status), "killed by SIGSEGV");
        assert_eq!(describe_unasked(status), describe(status));
        let killed = describe_unasked(sh("kill -KILL $$").reap().unwrap().status);
        assert!(killed.contains("for memory"), "{killed}");
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "reaped through its pidfd")]
    fn a_killed_child_takes_its_group_along_and_is_reaped_once() {
        // The grandchild holds the write end of the pipe open until it dies too.
        let (mut reader, writer) = io::pipe().unwrap();
        let is_readable = |reader: &io::PipeReader| {
            wait_readable(&[reader.as_fd()], Some(Duration::from_secs(60))).unwrap()[0]
        };
        let child = Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & echo; wait"])
            .stdout(writer)
            .process_group(0)
            .spawn()
            .unwrap();
        let child = Child::watch(child.id()).unwrap();
        assert!(is_readable(&reader), "it has forked");
        reader.read_exact(&mut [0]).unwrap();
        child.kill_group();
        let reaped = child.reap().unwrap();
        assert_eq!(describe(reaped.status), "killed by SIGKILL");
        assert!(reaped.usage.peak_rss_bytes > 0);
        assert!(is_readable(&reader), "the grandchild lives on");
        assert_eq!(io::read_to_string(reader).unwrap(), "");
    }

    #[test]
    fn a_stopped_process_is_told_from_one_that_runs() {
        let child = sh("while :; do :; done");
        assert!(!is_stopped(child.pid()));
        let pid = Pid::from_raw(child.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        let begin = Instant::now();
        while !is_stopped(child.pid()) {
            assert!(begin.elapsed().as_secs() < 20, "it is not seen to be stopped");
        }
        child.kill_group();
        child.reap().unwrap();
        assert!(!is_stopped(pid.as_raw_nonzero().get().cast_unsigned()));
    }

    #[test]
    fn a_child_that_is_dropped_is_gone() {
        let child = sh("sleep 1000");
        let pid = child.pid();
        drop(child);
        assert!(Child::watch(pid).is_err(), "not even a zombie is left");
    }

    /// The tracer has to be a separate process: a process that traces its own child can still reap
    /// it.
    #[test]
    fn a_dead_child_that_a_tracer_holds_keeps_nobody_waiting() {
        const TRACED: &str = "BRIGADE_TEST_TRACED";
        if let Ok(pid) = std::env::var(TRACED) {
            attempts::trace(pid.parse().unwrap()).unwrap();
            eprintln!("traced");
            io::stdin().read_to_end(&mut Vec::new()).unwrap();
            return;
        }
        let mut child = sh("exec sleep 1000");
        let name = "process::tests::a_dead_child_that_a_tracer_holds_keeps_nobody_waiting";
        let mut tracer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(TRACED, child.pid().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = io::BufReader::new(tracer.stderr.take().unwrap());
        while !said.contains("traced") {
            assert!(io::BufRead::read_line(&mut output, &mut said).unwrap() > 0, "{said}");
        }
        assert!(child.try_reap().unwrap().is_none(), "it lives");
        child.kill_group();
        let is_dead = || wait_readable(&[child.pidfd()], Some(Duration::from_secs(60))).unwrap()[0];
        assert!(is_dead());
        for _ in 0..3 {
            assert!(child.try_reap().unwrap().is_none(), "it is dead, and held");
        }
        drop(tracer.stdin.take());
        tracer.wait().unwrap();
        assert_eq!(describe(child.reap().unwrap().status), "killed by SIGKILL");
    }

    #[test]
    fn nothing_to_watch_is_an_error() {
        assert!(Child::watch(0).is_err());
        assert!(Child::watch(u32::MAX).is_err());
    }
}
