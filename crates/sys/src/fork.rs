//! Forking a single-threaded fork server, and communicating with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The side of a fork that the calling process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The fork server; the new process has this pid.
    Parent(u32),
    /// The new process.
    Child,
}

fn has_one_thread() -> io::Result<bool> {
    // `unshare(CLONE_THREAD)` does nothing in a process with one thread and fails in a process with
    // more, see unshare(2). It costs a hundredth of a check in /proc.
    // SAFETY: nothing is taken from another thread, as there is none or the call fails.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EINVAL) => Ok(false),
        // A container may forbid the call as such. Count the threads in /proc instead.
        _ => Ok(std::fs::read_dir("/proc/self/task")?.count() == 1),
    }
}

/// Forks this process. The new process becomes a child of this process's parent (`CLONE_PARENT`),
/// and the parent can wait for it as for any child that it started itself.
///
/// # Errors
/// When this process has more than one thread, when the kernel refuses (the parent is process 1 of
/// a container), or when the kernel does not tell where the C library keeps the thread's id (Linux
/// without checkpoint-restore support).
pub fn fork_sibling() -> io::Result<Forked> {
    if !has_one_thread()? {
        return Err(io::Error::other("a process with several threads cannot be forked"));
    }
    // The C library keeps the thread's id in memory. The kernel has to write the new id there for
    // the new process; otherwise `abort` in the new process would signal the wrong thread.
    let mut address: *mut libc::c_int = std::ptr::null_mut();
    // SAFETY: the call writes one pointer to `address`, which is live.
    let got = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) };
    if got != 0 || address.is_null() {
        return Err(io::Error::other("the kernel does not tell the thread's id address"));
    }
    let flags =
        libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is a fork: the new process has a copy of the
    // memory and goes on here on a copy of the stack. This process has one thread, so
    // no lock is held by a thread that the copy does not have. `address` is where the
    // C library keeps the thread's id, and stays mapped in the copy.
    let pid = unsafe {
        #[cfg(target_arch = "x86_64")]
        let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, address, 0);
        #[cfg(not(target_arch = "x86_64"))]
        let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, address);
        pid
    };
    match pid {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent(pid as u32)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One end of a pair of connected sockets. A message is short, arrives whole, and carries at most
/// one descriptor.
#[derive(Debug)]
pub struct MessageSocket(OwnedFd);

/// Length of the longest message, in bytes.
pub const LONGEST: usize = 512;

impl AsFd for MessageSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl MessageSocket {
    /// Creates two connected ends.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(a), Self(b)))
    }

    /// The end that is standard input of this process.
    ///
    /// Call this only once: the returned value owns the descriptor.
    pub fn standard_input() -> Self {
        // SAFETY: the process that started this one opened descriptor 0 for this very use, and
        // nothing else in this process reads standard input.
        Self(unsafe { OwnedFd::from_raw_fd(0) })
    }

    /// Converts this end into the standard input of a process to be started.
    pub fn into_stdio(self) -> std::process::Stdio {
        self.0.into()
    }

    /// Gives up the descriptor without closing it.
    pub fn forget(self) {
        let _ = self.0.into_raw_fd();
    }

    /// Sends a message, and a descriptor with it if one is given.
    ///
    /// # Errors
    /// When the other end is closed.
    pub fn send(&self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(&self.0, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message, for at most `limit`. Returns `None` when the other end is closed.
    ///
    /// # Errors
    /// When no message arrived in time.
    pub fn receive(
        &self,
        limit: Option<Duration>,
    ) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        // Without a limit only a signal ends the wait early.
        while !crate::event_fd::wait_readable(&[self.0.as_fd()], limit)?[0] {
            if limit.is_some() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let mut message = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut message)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if received.bytes == 0 {
            return Ok(None);
        }
        message.truncate(received.bytes);
        let fd = control.drain().find_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok(Some((message, fd)))
    }
}

/// Makes `input` this process's standard input, and `output` its standard output and standard
/// error.
///
/// # Errors
/// When the kernel refuses.
pub fn take_standard_streams(input: &impl AsFd, output: &impl AsFd) -> io::Result<()> {
    let [input, output] = [input.as_fd().as_raw_fd(), output.as_fd().as_raw_fd()];
    for (from, to) in [(input, 0), (output, 1), (output, 2)] {
        // SAFETY: the standard descriptors belong to the process as a whole; replacing
        // what they refer to is what this function is for.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes this process the leader of a new process group.
///
/// # Errors
/// When this process leads a session.
pub fn lead_group() -> io::Result<()> {
    Ok(rustix::process::setpgid(None, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_cross() {
        let (a, b) = MessageSocket::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        a.send(b"hello", Some(writer.as_fd())).unwrap();
        drop(writer);
        let (message, fd) = b.receive(None).unwrap().unwrap();
        assert_eq!(message, b"hello");
        let mut writer = io::PipeWriter::from(fd.unwrap());
        io::Write::write_all(&mut writer, b"through").unwrap();
        drop(writer);
        assert_eq!(io::read_to_string(reader).unwrap(), "through");
        assert!(b.receive(Some(Duration::from_millis(1))).is_err());
        drop(a);
        assert!(b.receive(None).unwrap().is_none());
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness runs several threads.
        assert!(fork_sibling().unwrap_err().to_string().contains("threads"));
    }
}
