//! Getting written data to the disk.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes the kernel start writing the contents of `file` to its disk. Does not wait for the disk.
///
/// # Errors
/// When the file system cannot do that. A later sync writes the contents all the same.
pub fn start_writeback(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and no memory is passed.
    let result =
        unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_written_on_and_a_pipe_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 5000]).unwrap();
        start_writeback(&file).unwrap();
        file.sync_data().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(writer));
        assert!(start_writeback(&pipe).is_err());
    }
}
