//! Waiting for many descriptors at once, and waking the waiting thread from other threads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Wakes a thread that sleeps in [`wait_readable`].
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Creates an event that has not been notified.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Notifies the event; it stays notified until [`EventFd::clear`].
    pub fn notify(&self) {
        // The write fails only after 2^64 - 2 notifications; the event is notified then anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Clears the event, so that [`wait_readable`] sleeps again.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sleeps until at least one descriptor is readable or at its end, or `limit` has passed. Returns
/// which descriptors are. Returns early, with none, if a signal interrupts the sleep.
///
/// # Errors
/// When there are more descriptors than the process may have.
pub fn wait_readable(fds: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    match poll(&mut polled, limit.as_ref()) {
        Ok(_) => Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(rustix::io::Errno::INTR) => Ok(vec![false; fds.len()]),
        Err(error) => Err(error.into()),
    }
}

/// Makes a read from a descriptor return at once if there is nothing to read.
///
/// # Errors
/// When the descriptor does not allow it.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    Ok(rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_is_heard_until_it_is_silenced() {
        let event_fd = EventFd::new().unwrap();
        let heard = || wait_readable(&[event_fd.as_fd()], Some(Duration::ZERO)).unwrap()[0];
        assert!(!heard());
        event_fd.notify();
        event_fd.notify();
        assert!(heard());
        event_fd.clear();
        assert!(!heard());
    }
}
