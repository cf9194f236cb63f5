//! Cores and memory that this process may use.
//!
//! A container often sees all cores of its machine but may use only one and a half of them. As many
//! workers as there are cores would then take turns, be throttled together, and spoil every
//! measurement. Three things determine what is allowed: the affinity mask (which a cpuset narrows
//! too), the processor quota of the control group, and the quota of each of its ancestors.

mod cgroup;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use cgroup::{Groups, MemoryLevel};
use rustix::thread::{CpuSet, sched_getaffinity};

/// The cores of the machine and of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cores {
    /// Cores of the machine that are online.
    pub present: usize,
    /// Cores that the calling thread may run on.
    pub affinity: usize,
    /// The processor quota of the control group, in cores; `None` if there is no quota.
    pub quota: Option<f64>,
    /// Number of workers that each get a core: `affinity`, or `quota` rounded down if that is less,
    /// but at least 1.
    pub usable: usize,
}

impl Cores {
    fn new(present: Option<usize>, affinity: usize, quota: Option<f64>) -> Self {
        let affinity = affinity.max(1);
        // Round down: with 1.5 cores, two workers would be stopped for a quarter of the time, both
        // of them and at any moment.
        let whole = quota.map_or(affinity, |quota| quota.floor().max(1.0) as usize);
        let present = present.unwrap_or(affinity).max(affinity);
        Self { present, affinity, quota, usable: affinity.min(whole) }
    }
}

/// Limits read from files. Read only once, because that takes longer than starting a thread and
/// each pool asks.
struct Limits {
    online: Option<usize>,
    cpu_quota: Option<f64>,
    memory: Option<u64>,
    /// Control groups that have a memory limit.
    memory_levels: Vec<MemoryLevel>,
}

fn limits() -> &'static Limits {
    static LIMITS: OnceLock<Limits> = OnceLock::new();
    LIMITS.get_or_init(|| {
        let root = Path::new("/");
        let groups = Groups::read(root);
        let (cpu_quota, memory) = (groups.cpu_quota(), groups.memory_limit());
        let memory_levels = groups.memory_levels();
        Limits { online: online(root), cpu_quota, memory, memory_levels }
    })
}

/// The cores that this process may use. Each call queries the affinity; the limits of the control
/// group are read once per process.
///
/// ```
/// let cores = brigade_sys::cores::usable();
/// assert!((1..=cores.affinity).contains(&cores.usable));
/// ```
pub fn usable() -> Cores {
    let limits = limits();
    Cores::new(limits.online, affinity(Path::new("/")), limits.cpu_quota)
}

/// The memory limit of this process's control group, in bytes, as it was when this process first
/// asked; `None` if there is no limit.
pub fn memory_limit() -> Option<u64> {
    limits().memory
}

/// How much memory this process may use, in bytes: the memory of the machine, or the limit of its
/// control group if that is less.
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(info.mem_unit.into());
    memory_limit().map_or(machine, |limit| limit.min(machine))
}

/// How much more memory, in bytes, this process's control group and all its ancestors let it use
/// now; `None` if none of them has a limit.
pub fn memory_left() -> Option<u64> {
    limits().memory_levels.iter().filter_map(MemoryLevel::left).min()
}

/// How many processes the OOM killer has killed: in this process's control group if that counts
/// them, otherwise on the whole machine. `None` if the count is not available.
pub fn memory_kills() -> Option<u64> {
    let root = Path::new("/");
    Groups::read(root).memory_kills().or_else(|| cgroup::oom_kills(&root.join("proc/vmstat")))
}

/// How much shared memory a pool uses for payloads by default, in bytes: a quarter of [`memory`].
pub fn arena_share() -> u64 {
    memory() / 4
}

/// How many processes and threads this process's control group may hold; `None` if there is no such
/// limit.
pub fn task_limit() -> Option<u64> {
    Groups::read(Path::new("/")).task_limit()
}

fn online(root: &Path) -> Option<usize> {
    list_len(&fs::read_to_string(root.join("sys/devices/system/cpu/online")).ok()?)
}

fn affinity(root: &Path) -> usize {
    if let Ok(set) = sched_getaffinity(None) {
        return (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).count();
    }
    // The call fails where the machine has more cores than the set can hold.
    fs::read_to_string(root.join("proc/thread-self/status"))
        .ok()
        .and_then(|status| {
            list_len(status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:"))?)
        })
        .unwrap_or(1)
}

/// How many numbers a kernel list such as `0-3,8` contains; `None` if the text is not a list.
fn list_len(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0usize, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        let cases = [
            ("0-1\n", Some(2)),
            ("0", Some(1)),
            ("\t0-3,8,10-11", Some(7)),
            ("", None),
            ("3-1", None),
            ("0-", None),
            ("many", None),
            ("0-18446744073709551615", None),
        ];
        for (list, len) in cases {
            assert_eq!(list_len(list), len, "{list:?}");
        }
    }

    #[test]
    fn the_tightest_of_affinity_and_quota_counts() {
        let usable = |affinity, quota| Cores::new(Some(8), affinity, quota).usable;
        assert_eq!(usable(8, None), 8);
        assert_eq!(usable(2, None), 2);
        assert_eq!(usable(8, Some(3.0)), 3);
        assert_eq!(usable(8, Some(2.99)), 2);
        assert_eq!(usable(8, Some(0.25)), 1);
        assert_eq!(usable(2, Some(6.0)), 2);
        assert_eq!(usable(0, Some(0.0)), 1);
    }

    #[test]
    fn never_more_cores_allowed_than_present() {
        assert_eq!(Cores::new(None, 4, None).present, 4);
        assert_eq!(Cores::new(Some(2), 4, None).present, 4);
        assert_eq!(Cores::new(Some(8), 4, None).present, 8);
    }

    #[test]
    fn this_machine_has_cores() {
        let cores = usable();
        assert!(cores.usable >= 1 && cores.usable <= cores.affinity, "{cores:?}");
        assert!(cores.affinity <= cores.present, "{cores:?}");
        if cores.quota.is_none() {
            assert_eq!(cores.usable, cores.affinity);
        }
    }
}
