//! A process group that does not outlive its owner.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

/// The `fcntl` command that sets the signal for a ready descriptor. The libc crate lacks it. It is
/// the same on every Linux architecture (`asm-generic/fcntl.h`).
const F_SETSIG: libc::c_int = 10;

/// Kills a process group when the guard is dropped, and when this process ends in any way: it
/// returns, panics, executes another program, or gets SIGKILL.
///
/// A parent-death signal reaches only the child, not the processes that the child has started. The
/// guard therefore uses a pipe that no process writes or reads. Both ends of the pipe are
/// asynchronous (`O_ASYNC`), the group owns them (`F_SETOWN`), and their signal is SIGKILL
/// (`F_SETSIG`). Whichever end the kernel closes first, the other end signals the group. The kernel
/// remembers the group itself, not its number, so a later group with the same number is safe. No
/// process of the group takes part, so a stopped, sandboxed or hostile process cannot escape,
/// unless it leaves the group.
///
/// If a process is forked from this one while both ends are open, and does not execute another
/// program, it keeps the group alive as long as it lives.
///
/// Linux only.
#[derive(Debug)]
pub struct ProcessGroupGuard {
    _ends: (OwnedFd, OwnedFd),
}

impl ProcessGroupGuard {
    /// Guards the process group that `leader` leads, or is about to lead.
    ///
    /// # Errors
    /// When no descriptor is free, or there is no such process.
    pub fn new(leader: Pid) -> io::Result<Self> {
        let ends = pipe_with(PipeFlags::CLOEXEC)?;
        for end in [&ends.0, &ends.1] {
            let fd = end.as_raw_fd();
            set(fd, libc::F_SETOWN, -leader.as_raw_nonzero().get())?;
            set(fd, F_SETSIG, libc::SIGKILL)?;
            // A new pipe has no other flags, so this clears none.
            set(fd, libc::F_SETFL, libc::O_ASYNC)?;
        }
        Ok(Self { _ends: ends })
    }
}

fn set(fd: RawFd, command: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the three commands above take an integer and touch no memory of this process;
    // `fd` is open, as its caller holds its owner.
    let result = unsafe { libc::fcntl(fd, command, value) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::Signal;
    use std::os::fd::AsFd;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    #[test]
    fn a_group_ends_with_its_guard() {
        // The grandchild holds the pipe open until it is gone too.
        let (reader, writer) = io::pipe().unwrap();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & kill -STOP $$"])
            .stdin(Stdio::null())
            .stdout(writer)
            .process_group(0)
            .spawn()
            .unwrap();
        let process_group_guard = ProcessGroupGuard::new(Pid::from_child(&child)).unwrap();
        let begin = std::time::Instant::now();
        while !crate::process::is_stopped(child.id()) {
            assert!(begin.elapsed().as_secs() < 20, "it does not stop");
            assert!(child.try_wait().unwrap().is_none(), "it has ended by itself");
        }
        drop(process_group_guard);
        let limit = Some(std::time::Duration::from_secs(20));
        let ended = crate::event_fd::wait_readable(&[reader.as_fd()], limit).unwrap()[0];
        if !ended {
            rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
        }
        assert!(ended, "the group lives on");
        assert_eq!(io::read_to_string(reader).unwrap(), "");
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn nobody_is_tied_by_a_number_that_is_free() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        child.wait().unwrap();
        assert!(ProcessGroupGuard::new(pid).is_err());
    }
}
