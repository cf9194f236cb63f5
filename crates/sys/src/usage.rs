//! Processor time and memory that threads and processes have used.

use std::io::Read;
use std::mem::MaybeUninit;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of processor time that the calling thread has used.
pub fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of processor time that all threads of a living process have used; `None` if the
/// process is gone or the kernel does not say.
pub fn process_cpu_ns(pid: u32) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the pointer is to live, writable memory of the right type.
    let found = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid).ok()?, &mut clock) };
    if found != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above; a clock of a process that has ended meanwhile is an error.
    let read = unsafe { libc::clock_gettime(clock, &mut time) };
    (read == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// What a process and those of its children that it has reaped have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode, in nanoseconds.
    pub user_ns: u64,
    /// Processor time in system mode, in nanoseconds.
    pub system_ns: u64,
    /// Number of times that a thread gave up its core to wait.
    pub voluntary_switches: u64,
    /// Number of times that the scheduler took a thread off its core.
    pub involuntary_switches: u64,
    /// Page faults that needed no I/O.
    pub minor_faults: u64,
    /// Page faults that needed I/O.
    pub major_faults: u64,
    /// Largest resident set, in bytes.
    pub peak_rss_bytes: u64,
}

impl Usage {
    pub(crate) fn of(usage: &libc::rusage) -> Self {
        let nanos = |time: libc::timeval| {
            time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_usec.cast_unsigned() * 1000
        };
        Self {
            user_ns: nanos(usage.ru_utime),
            system_ns: nanos(usage.ru_stime),
            voluntary_switches: usage.ru_nvcsw.cast_unsigned(),
            involuntary_switches: usage.ru_nivcsw.cast_unsigned(),
            minor_faults: usage.ru_minflt.cast_unsigned(),
            major_faults: usage.ru_majflt.cast_unsigned(),
            peak_rss_bytes: usage.ru_maxrss.cast_unsigned() * 1024,
        }
    }
}

/// The usage of this process and of the children that it has reaped, over their whole lives.
pub fn with_children() -> Usage {
    let own = read(libc::RUSAGE_SELF);
    let children = read(libc::RUSAGE_CHILDREN);
    Usage {
        user_ns: own.user_ns + children.user_ns,
        system_ns: own.system_ns + children.system_ns,
        voluntary_switches: own.voluntary_switches + children.voluntary_switches,
        involuntary_switches: own.involuntary_switches + children.involuntary_switches,
        minor_faults: own.minor_faults + children.minor_faults,
        major_faults: own.major_faults + children.major_faults,
        peak_rss_bytes: own.peak_rss_bytes.max(children.peak_rss_bytes),
    }
}

/// Largest resident set of this process so far, in bytes.
pub fn peak_rss_bytes() -> u64 {
    read(libc::RUSAGE_SELF).peak_rss_bytes
}

/// Largest resident set of a living process, in bytes; `None` if the kernel does not say. For a
/// child, the figure in [`Usage`] is at least that of its parent at the child's start: Linux keeps
/// the figure across `execve`, and until then the child has its parent's memory.
pub fn peak_rss_bytes_of(pid: u32) -> Option<u64> {
    // Larger than the file: the standard library would begin with 32 bytes and read ten times.
    let mut status = String::with_capacity(8192);
    std::fs::File::open(format!("/proc/{pid}/status")).ok()?.read_to_string(&mut status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn read(who: libc::c_int) -> Usage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to live, writable memory of the right type.
    let done = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    // The call fails only for an invalid `who` or address.
    debug_assert_eq!(done, 0);
    // SAFETY: `rusage` is plain integers, for which zeroes are valid.
    Usage::of(&unsafe { usage.assume_init() })
}

/// Gives free memory that this process's allocator keeps back to the operating system, where the C
/// library has a call for that.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointer, and touches free memory of the allocator only, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_that_of_its_threads() {
        let own = std::process::id();
        let before = process_cpu_ns(own).unwrap();
        let spin = || while thread_cpu_ns() < 3_000_000 {};
        std::thread::spawn(spin).join().unwrap();
        assert!(process_cpu_ns(own).unwrap() >= before + 3_000_000);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(process_cpu_ns(child.id()), None, "it is gone");
    }
}
