//! Shortages of memory and descriptors: detects them beforehand where possible, and describes them
//! so that the user can act.
//!
//! Shared memory here consists of memory files (`memfd`). They count as memory of the process that
//! touches them first; the size of `/dev/shm` does not matter.

use std::fs;
use std::io;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::Resource;

use crate::{cores, limits, sandbox};

/// Descriptors that a coordinator may hold for one worker: pidfd, channels, shared
/// memory, pipes.
pub const DESCRIPTORS_PER_WORKER: u64 = 10;
/// Descriptors that a coordinator may hold in addition: standard streams, files in use.
pub const DESCRIPTORS_BESIDES: u64 = 32;

/// Below this size, in bytes, checking the free memory would cost more than the memory.
const WORTH_A_LOOK: u64 = 8 << 20;

/// File size, in bytes, that the shared memory of a pool needs at least.
const LEAST_FILE: u64 = 4 << 20;

/// Whether this process can use `bytes` more. This is a guess, because other processes use memory
/// too. Without the check, the kernel would end some process with SIGBUS or through the OOM killer.
pub fn has_room(bytes: u64) -> bool {
    bytes < WORTH_A_LOOK || available().is_none_or(|free| bytes <= free)
}

/// Memory, in bytes, that this process can take without other programs being moved to disk, and
/// without being killed for the limit of its control group.
fn available() -> Option<u64> {
    if sandbox::is_entered() {
        // The sandbox would refuse the attempt, and the kernel would log it.
        return None;
    }
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_available(&text));
    less(machine, cores::memory_left())
}

/// The lesser of the limits that exist.
fn less(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Says why shared memory of `bytes` bytes could not be allocated, and what would help.
pub fn of_shared_memory(bytes: u64) -> String {
    match memfd_create("brigade-why", MemfdFlags::CLOEXEC) {
        Err(error) => {
            let error = io::Error::from(error);
            return format!("{error}{}", remedy(&error));
        }
        Ok(file) => drop(file),
    }
    let largest = limits::get(Resource::Fsize).ok().and_then(|limit| limit.maximum);
    if let Some(most) = largest.filter(|&most| most < bytes.max(LEAST_FILE)) {
        return format!(
            "files are limited to {} KiB, and shared memory counts as one; raise ulimit -f, or use \
             --backend threads",
            most >> 10
        );
    }
    if let Some(free) = available().filter(|&free| free < bytes) {
        return format!(
            "only {} MiB of memory are free; fewer --workers or smaller jobs need less",
            free >> 20
        );
    }
    if let Some(limit) = limits::get(Resource::As).ok().and_then(|limit| limit.current) {
        return format!("the address space is limited to {} MiB; raise ulimit -v", limit >> 20);
    }
    "the operating system has refused it; brigade doctor shows the limits".to_owned()
}

/// The error to report for a shortage of descriptors where the kernel only hints at one. [`remedy`]
/// has advice for it.
pub fn of_descriptors() -> io::Error {
    Errno::MFILE.into()
}

/// Like [`of_descriptors`], for a shortage of memory.
pub fn of_memory() -> io::Error {
    Errno::NOMEM.into()
}

/// Advice on an error of the operating system, to be appended to its message; empty if there is no
/// advice.
pub fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; raise ulimit -n, or use fewer --workers",
        Some(Errno::NFILE) => "; raise sysctl fs.file-max",
        // A thread needs address space for its stack; without it, the kernel returns the same
        // error.
        Some(Errno::AGAIN) if is_address_space_limited() => {
            "; raise ulimit -v or ulimit -u, or use fewer --workers"
        }
        Some(Errno::NOMEM) if is_address_space_limited() => {
            "; raise ulimit -v, or use fewer --workers or smaller jobs"
        }
        Some(Errno::AGAIN) => {
            "; raise ulimit -u or the container's limit of processes, or use fewer --workers"
        }
        Some(Errno::NOMEM) => "; there is no memory left: use fewer --workers or smaller jobs",
        _ => "",
    }
}

/// Whether an error of the operating system reports a shortage, which may pass.
pub fn is_one(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

fn is_address_space_limited() -> bool {
    limits::get(Resource::As).is_ok_and(|limit| limit.current.is_some())
}

/// How many descriptors this process has open, and how many it may have; `None` if either is
/// unknown or there is no limit.
pub fn descriptors() -> Option<(u64, u64)> {
    let limit = limits::get(Resource::Nofile).ok()?.current?;
    let directory = "/proc/self/fd";
    let open = match fs::metadata(directory).ok()?.len() {
        // Linux before 6.2 does not report the number. One of the entries found is the directory
        // itself.
        0 => fs::read_dir(directory).ok()?.count().saturating_sub(1) as u64,
        count => count,
    };
    Some((open, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_read_in_bytes() {
        let text = "MemTotal:       24684000 kB\nMemAvailable:   1024 kB\nBuffers: 1 kB\n";
        assert_eq!(mem_available(text), Some(1 << 20));
        assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
        assert_eq!(mem_available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn the_tighter_limit_counts() {
        assert_eq!(less(Some(5), Some(3)), Some(3));
        assert_eq!(less(None, Some(3)), Some(3));
        assert_eq!(less(Some(5), None), Some(5));
        assert_eq!(less(None, None), None);
    }

    #[test]
    fn there_is_room_for_little_and_none_for_everything() {
        assert!(has_room(1));
        assert!(has_room(WORTH_A_LOOK) || available().unwrap() < WORTH_A_LOOK);
        assert!(!has_room(u64::MAX));
    }

    #[test]
    fn a_shortage_is_named_with_what_helps() {
        assert!(of_shared_memory(u64::MAX).contains("--workers"));
        assert!(remedy(&io::Error::from(Errno::MFILE)).contains("ulimit -n"));
        assert_eq!(remedy(&io::Error::other("something else")), "");
    }

    #[test]
    fn open_descriptors_are_counted() {
        let (before, limit) = descriptors().unwrap();
        assert!(before < limit);
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close descriptors at the same time, but not as many.
        let (open, _) = descriptors().unwrap();
        assert!((before + 25..before + 75).contains(&open), "{before}, {open}");
        drop(files);
    }
}
