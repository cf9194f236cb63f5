//! Files that may make their reader wait: pipes, terminals, devices.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::event_fd::wait_readable;

/// How long [`is_readable`] waits. A caller that waits longer checks between two calls whether it
/// still has to wait.
pub const LOOK: Duration = Duration::from_millis(20);

/// Opens a file for reading without waiting: neither for the writer of a pipe, nor for another
/// program to give up its lease on the file (that is `WouldBlock`).
///
/// The flags belong to a new open file description, even for `/dev/stdin` and for what a shell
/// makes of `<(command)`, so they affect no other process.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Waits up to [`LOOK`] until a read would return data or the end. A pipe is not readable before it
/// has had a writer.
///
/// # Errors
/// When the kernel has no memory for the wait.
pub fn is_readable(file: &File) -> io::Result<bool> {
    Ok(wait_readable(&[file.as_fd()], Some(LOOK))?[0])
}
