//! Files that may keep their reader waiting: pipes, terminals, devices.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::event_fd::wait_readable;

/// How long [`is_readable`] waits: who waits for longer looks now and then whether it still has
/// to.
pub const LOOK: Duration = Duration::from_millis(20);

/// Opens a file for reading without waiting for anything: for the writer of a pipe, or for
/// another program to give up its lease on the file (that is `WouldBlock`).
///
/// The flags are those of a description of its own, also for `/dev/stdin` and what a shell makes
/// of `<(command)`, so no other process is surprised by them.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Waits for [`LOOK`] until a read would give something, or the end. A pipe is not readable
/// before it has had a writer.
///
/// # Errors
/// When the kernel has no memory for it.
pub fn is_readable(file: &File) -> io::Result<bool> {
    Ok(wait_readable(&[file.as_fd()], Some(LOOK))?[0])
}
