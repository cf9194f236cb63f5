//! Performance counters of the processor and the kernel (`perf_event_open(2)`).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What to count, in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerfEvent {
    /// Instructions that were executed. Virtual machines often have no such counter.
    Instructions,
    /// Nanoseconds on a processor. The kernel counts these, so the counter always exists.
    TaskClock,
}

/// Counts in the programs that the calling thread starts after this, and in the programs that those
/// start, from their exec on. Does not count in this process.
#[derive(Debug)]
pub struct Counter(OwnedFd);

/// `struct perf_event_attr`, in the length of its first published version (`PERF_ATTR_SIZE_VER0`),
/// which every kernel accepts.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample: u64,
    sample_kind: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_kind: u32,
    breakpoint: u64,
}

const DISABLED: u64 = 1;
const INHERIT: u64 = 1 << 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const ENABLE_ON_EXEC: u64 = 1 << 12;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOEXEC: libc::c_ulong = 1 << 3;

impl Counter {
    /// Opens a counter at 0.
    ///
    /// # Errors
    /// When the machine has no such counter, or this process may not use it
    /// (`/proc/sys/kernel/perf_event_paranoid`).
    pub fn open(event: PerfEvent) -> io::Result<Self> {
        let (kind, config) = match event {
            // PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS
            PerfEvent::Instructions => (0, 1),
            // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK
            PerfEvent::TaskClock => (1, 1),
        };
        let attributes = PerfEventAttributes {
            kind,
            size: size_of::<PerfEventAttributes>() as u32,
            config,
            flags: DISABLED | INHERIT | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR | ENABLE_ON_EXEC,
            ..PerfEventAttributes::default()
        };
        // The calling thread, on any core, in no group.
        let (thread, core, group) = (0, -1, -1);
        // SAFETY: `attributes` is live and has the size that it names; the call writes no
        // memory.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                thread,
                core,
                group,
                CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// The count of all programs that have ended.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn count(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let got = rustix::io::read(&self.0, &mut bytes)?;
        match got {
            8 => Ok(u64::from_ne_bytes(bytes)),
            _ => Err(io::Error::other(format!("{} gave {got} bytes", self.0.as_raw_fd()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn programs_are_counted_and_this_process_is_not() {
        let counter = match Counter::open(PerfEvent::TaskClock) {
            Ok(counter) => counter,
            // Containers often forbid counters. The test then checks that the error says so.
            Err(error) => {
                let known =
                    [libc::EACCES, libc::EPERM, libc::ENOENT, libc::ENOSYS, libc::EOPNOTSUPP];
                assert!(error.raw_os_error().is_some_and(|code| known.contains(&code)), "{error}");
                crate::skip::skip("counters", &format!("no counter of processor time: {error}"));
                return;
            }
        };
        assert_eq!(counter.count().unwrap(), 0);
        let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
        let once = counter.count().unwrap();
        assert!(once > 0);
        let mut sum = 0_u64;
        (0..1_000_000).for_each(|i| sum = std::hint::black_box(sum + i));
        assert_eq!(counter.count().unwrap(), once, "{sum}");
    }
}
