//! Limits that a worker process sets for itself, and how close it is to them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use brigade_proto::limits::MAX_BUFFER_BYTES;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::sandbox;

/// The signal that ends a process that has used up its processor time, see [`CpuTimer`].
const CPU_SIGNAL: i32 = libc::SIGPROF;

/// Descriptors that a worker may have: for all regions that an arena can have, and for the job
/// itself.
const DESCRIPTORS: u64 = 1024;

/// Bounds the harm that a fault of this process can do to others: limits its descriptors and the
/// bytes in one file. Without `core_dumps`, the kernel does not write the memory of this process to
/// disk when it dies.
///
/// # Errors
/// When the operating system refuses.
pub fn bound_files(core_dumps: bool) -> io::Result<()> {
    lower(Resource::Nofile, DESCRIPTORS)?;
    // A job's largest output may be a memory file of its own. So allow files of the largest size
    // that a job may ask for, even if the soft limit (`ulimit -Sf`) is lower.
    let most =
        get(Resource::Fsize)?.maximum.map_or(MAX_BUFFER_BYTES, |max| max.min(MAX_BUFFER_BYTES));
    setrlimit(Resource::Fsize, Rlimit { current: Some(most), maximum: Some(most) })?;
    if !core_dumps {
        lower(Resource::Core, 0)?;
    }
    Ok(())
}

/// Reads a limit of this process. Not through rustix, which panics where a container forbids the
/// call.
///
/// # Errors
/// When the operating system refuses, or this function does not know the resource.
pub fn get(resource: Resource) -> io::Result<Rlimit> {
    let number = match resource {
        Resource::As => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and of the type that is written.
    if unsafe { libc::getrlimit(number, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let finite = |value: libc::rlim_t| (value != libc::RLIM_INFINITY).then_some(value);
    Ok(Rlimit { current: finite(limit.rlim_cur), maximum: finite(limit.rlim_max) })
}

/// Sets the soft and the hard limit for good. Keeps a limit that is already lower.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = get(resource)?;
    let most = [current, maximum].into_iter().flatten().fold(most, u64::min);
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Calls `make`, which creates shared memory, with the file size limit (`ulimit -f`) raised as high
/// as possible. The limit counts memory files too, although it is not meant for them. For that
/// moment, the kernel lets other threads write files beyond the limit; those threads check
/// [`file_size`] themselves.
pub fn with_large_files<T>(make: impl FnOnce() -> T) -> T {
    if sandbox::is_entered() {
        // The sandbox forbids the calls. The limit is at its maximum already, see `bound_files`.
        return make();
    }
    let Ok(before) = get(Resource::Fsize) else { return make() };
    if before.current == before.maximum {
        return make();
    }
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(before) = get(Resource::Fsize) else { return make() };
    let _ = setrlimit(Resource::Fsize, Rlimit { current: before.maximum, ..before });
    let made = make();
    let _ = setrlimit(Resource::Fsize, before);
    made
}

/// Held while the file size limit is raised.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The file size limit of this process (`ulimit -f`), in bytes, as it was at the first call of this
/// function. Not the limit that [`with_large_files`] sets for a moment.
pub fn file_size() -> Option<u64> {
    static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        get(Resource::Fsize).ok()?.current
    })
}

/// The private memory of this process: heap, stacks and private mappings, used or not, as
/// `RLIMIT_DATA` counts them. It includes neither shared memory nor the program itself.
#[derive(Debug)]
pub struct PrivateMemory {
    /// Kept open, because a process in a sandbox cannot open it.
    statm: File,
    page: u64,
}

impl PrivateMemory {
    /// Opens the kernel's figures for this process.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn watch() -> io::Result<Self> {
        let page = rustix::param::page_size() as u64;
        Ok(Self { statm: File::open("/proc/self/statm")?, page })
    }

    /// The amount of private memory, in bytes.
    ///
    /// # Errors
    /// When the operating system does not give the figure.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut text = [0; 256];
        let len = self.statm.read_at(&mut text, 0)?;
        let pages = data_pages(&text[..len]).ok_or(io::ErrorKind::InvalidData)?;
        Ok(pages.saturating_mul(self.page))
    }

    /// Limits this process to `more` bytes beyond what it has now: further allocations fail.
    /// Returns the total, in bytes.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn limit(&self, more: u64) -> io::Result<u64> {
        let most = self.bytes()?.saturating_add(more);
        lower(Resource::Data, most)?;
        Ok(most)
    }
}

/// The sixth number of `/proc/PID/statm`: pages of data and stack.
fn data_pages(statm: &[u8]) -> Option<u64> {
    std::str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(5)?.parse().ok()
}

/// Whether a process ended because its [`CpuTimer`] ran out.
pub fn ran_out_of_time(status: ExitStatus) -> bool {
    status.signal() == Some(CPU_SIGNAL)
}

/// Whether a process ended because an allocation failed where the code does not expect that: Rust's
/// standard library prints a message and aborts.
pub fn ran_out_of_memory(status: ExitStatus, last_words: &str) -> bool {
    let says_so = |line: &str| line.starts_with("memory allocation of ") && line.contains("failed");
    status.signal() == Some(libc::SIGABRT) && last_words.lines().any(says_so)
}

/// A timer that ends this process with a signal when the process has used a span of processor time,
/// in user and system mode and in all its threads.
#[derive(Debug)]
pub struct CpuTimer(());

impl CpuTimer {
    /// A timer that is not running. A process has only one; a second value is the same timer.
    pub fn new() -> Self {
        // SAFETY: the default action needs no handler. The process that started this one may have
        // had the signal ignored, which would be inherited.
        unsafe { libc::signal(CPU_SIGNAL, libc::SIG_DFL) };
        Self(())
    }

    /// Starts the timer again from zero.
    pub fn start(&self, limit: Duration) {
        // Zero would stop the timer.
        self.set(limit.max(Duration::from_micros(1)));
    }

    /// Stops the timer.
    pub fn stop(&self) {
        self.set(Duration::ZERO);
    }

    fn set(&self, limit: Duration) {
        let never_again = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let limit = libc::timeval {
            tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_usec: limit.subsec_micros().into(),
        };
        let timer = libc::itimerval { it_interval: never_again, it_value: limit };
        // SAFETY: `timer` is live and only read; nothing is written back.
        let done = unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut()) };
        // The call fails only for an invalid time.
        debug_assert_eq!(done, 0);
    }
}

impl Default for CpuTimer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_that_the_limit_counts() {
        assert_eq!(data_pages(b"2305 512 400 30 0 777 0\n"), Some(777));
        assert_eq!(data_pages(b"2305 512"), None);
        assert_eq!(data_pages(b""), None);
    }

    #[test]
    fn deaths_of_hunger_are_told_from_others() {
        let said = "working\nmemory allocation of 4096 bytes failed\n";
        let abort = ExitStatus::from_raw(libc::SIGABRT);
        assert!(ran_out_of_memory(abort, said));
        assert!(!ran_out_of_memory(abort, "assertion failed"));
        assert!(!ran_out_of_memory(ExitStatus::from_raw(libc::SIGSEGV), said));
        assert!(!ran_out_of_memory(ExitStatus::from_raw(1 << 8), said));
        assert!(ran_out_of_time(ExitStatus::from_raw(CPU_SIGNAL)));
        assert!(!ran_out_of_time(abort));
    }

    #[test]
    fn private_memory_grows_with_what_is_allocated() {
        const MORE: usize = 64 << 20;
        let memory = PrivateMemory::watch().unwrap();
        let before = memory.bytes().unwrap();
        let block = std::hint::black_box(Vec::<u8>::with_capacity(MORE));
        // Other tests allocate and free at the same time, but not as much.
        assert!(memory.bytes().unwrap() > before + MORE as u64 / 2);
        drop(block);
    }
}
