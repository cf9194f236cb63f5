//! Memory use of a process.

use std::fs;

/// Current resident set of a process in bytes: its own memory and the shared memory that it has
/// touched. `None` if the process does not exist any more.
///
/// It reads `/proc/PID/statm` (proc_pid_statm(5)), which takes a few microseconds. The kernel
/// updates the value in batches, so it may lag by some dozen pages.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let pages = resident_pages(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?)?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The resident set is the second field.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_field_is_taken() {
        assert_eq!(resident_pages("5120 1337 200 60 0 900 0\n"), Some(1337));
        assert_eq!(resident_pages(""), None);
        assert_eq!(resident_pages("5120 x"), None);
    }

    #[test]
    fn this_process_has_memory_and_no_process_has_none() {
        assert!(resident_bytes(std::process::id()) > Some(64 << 10));
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
